"""The trash in the web app: what goes for good goes only after a word, and in a shared folder only at its owner's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.browser import browser, visiting
from tests.support.pages import ann, clean, context, folder_of, names, server, shown, signed_in
from tests.support.server import PASSWORD, RunningServer, Session, User, ask

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

__all__ = ["ann", "browser", "context", "server"]


def delete(session: Session, *paths: str) -> None:
    for path in paths:
        assert session.ask("POST", "/api/v1/delete", {"path": path}).status == 204


def trashed(session: Session, path: str = "") -> set[str]:
    """Return the paths in the trash, each within its namespace. path: of the shared folder that stands there."""
    return {item["path"] for item in session.ask("GET", "/api/v1/trash", path=path).json()["items"]}


def test_one_thing_and_then_all_go_for_good_after_a_word(context: BrowserContext, ann: Session) -> None:
    folder_of(ann, "old", "one.txt", "two.txt", "three.txt")
    delete(ann, "/old/one.txt", "/old/two.txt", "/old/three.txt")
    page = context.new_page()
    page.goto("/trash")
    page.get_by_role("button", name="Delete one.txt for good").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Nobody can bring it back.").wait_for()
    dialog.get_by_role("button", name="Cancel").click()
    assert trashed(ann) == {"/old/one.txt", "/old/two.txt", "/old/three.txt"}
    page.get_by_role("button", name="Delete one.txt for good").click()
    clean(page)
    dialog.get_by_role("button", name="Delete for good").click()
    page.get_by_text("1 item is gone for good.").wait_for()
    page.get_by_role("button", name="Restore one.txt").wait_for(state="detached")
    assert trashed(ann) == {"/old/two.txt", "/old/three.txt"}
    page.get_by_role("button", name="Empty the trash").click()
    dialog.get_by_role("button", name="Empty the trash").click()
    page.get_by_text("2 items are gone for good.").wait_for()
    page.get_by_text("The trash is empty").wait_for()
    page.get_by_role("button", name="Empty the trash").wait_for(state="detached")
    assert trashed(ann) == set()


def test_who_empties_the_trash_keeps_what_came_into_it_unseen(context: BrowserContext, ann: Session) -> None:
    folder_of(ann, "late", "seen.txt", "unseen.txt")
    delete(ann, "/late/seen.txt")
    page = context.new_page()
    page.goto("/trash")
    page.get_by_role("button", name="Restore seen.txt").wait_for()
    # The page knows of nothing that happens from here on.
    page.route("**/api/v1/trash?*", lambda route: route.abort())
    delete(ann, "/late/unseen.txt")
    page.get_by_role("button", name="Empty the trash").click()
    page.get_by_role("dialog").get_by_role("button", name="Empty the trash").click()
    page.get_by_text("1 item is gone for good.").wait_for()
    assert trashed(ann) == {"/late/unseen.txt"}
    delete(ann, "/late")
    page.unroute_all()
    page.reload()
    page.get_by_role("button", name="Restore late").wait_for()
    page.get_by_role("button", name="Empty the trash").click()
    page.get_by_role("dialog").get_by_role("button", name="Empty the trash").click()
    page.get_by_text("The trash is empty").wait_for()


def test_the_trash_of_a_shared_folder_is_shown_and_emptied_by_its_owner(
    browser: Browser, context: BrowserContext, ann: Session, server: RunningServer
) -> None:
    folder_of(ann, "team", "plan.txt", "list.txt", "note.txt")
    asked = {"token": ann.ask("POST", "/api/v1/invitations", {}).json()["token"], "user": "ben", "password": PASSWORD}
    assert ask(server.url, "POST", "/api/v1/invitations/accept", asked).status == 201
    ben = User(server.url, "ben", PASSWORD).sign_in("phone")
    terms = {"path": "/team", "with": [{"user": "ben", "role": "editor"}]}
    ns = ann.ask("POST", "/api/v1/shares", terms).json()["id"]
    assert ben.ask("POST", f"/api/v1/share-invitations/{ns}/accept").status == 200
    delete(ben, "/team/plan.txt", "/team/list.txt")
    delete(ann, "/team/note.txt")
    with visiting(browser, server.url, locale="en-GB") as bens:
        assert bens.request.post("/api/v1/sessions", data={"user": "ben", "password": PASSWORD}).status == 201
        page = bens.new_page()
        page.goto("/trash")
        page.get_by_text("The trash is empty").wait_for()
        page.get_by_label("Trash of").select_option("team")
        page.get_by_text("Was in /team").first.wait_for()
        clean(page)
        page.get_by_role("button", name="Restore plan.txt").click()
        page.get_by_text("“plan.txt” is back.").wait_for()
        assert names(ann, "/team") == ["plan.txt"]
        # What an owner keeps for all, another one does not take away for good.
        assert page.get_by_role("button", name="for good").count() == 0
        assert page.get_by_role("button", name="Empty the trash").count() == 0
    page = context.new_page()
    page.goto("/trash")
    page.get_by_label("Trash of").select_option("team")
    page.get_by_role("button", name="Delete list.txt for good").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete for good").click()
    page.get_by_role("button", name="Restore list.txt").wait_for(state="detached")
    assert trashed(ann, "/team") == {"/note.txt"}
    page.get_by_role("button", name="Restore note.txt").click()
    page.get_by_text("The trash is empty").wait_for()
    page.goto("/files/team")
    shown(page, "note.txt")


def test_nothing_in_the_german_trash_is_out_of_reach(browser: Browser, ann: Session) -> None:
    folder_of(ann, "alt", "brief.txt")
    delete(ann, "/alt/brief.txt")
    with visiting(browser, ann.url, locale="de-DE", viewport={"width": 360, "height": 740}) as phone:
        signed_in(phone)
        page = phone.new_page()
        page.goto("/trash")
        page.get_by_role("button", name="Papierkorb leeren").wait_for()
        clean(page)
        page.get_by_role("button", name="Endgültig löschen: brief.txt").click()
        page.get_by_role("dialog").get_by_role("button", name="Endgültig löschen").click()
        page.get_by_text("1 Element ist endgültig weg.").wait_for()
        assert trashed(ann) == set()
