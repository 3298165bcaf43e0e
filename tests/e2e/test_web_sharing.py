"""Sharing in the web app, in a real Chromium against a real server: with another account, by links that a signed-out
browser opens, and by requests for files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import browser, visiting
from tests.support.pages import (
    OVERFLOWING,
    ann,
    clean,
    context,
    folder_of,
    names,
    press,
    server,
    shown,
    signed_in,
)
from tests.support.server import PASSWORD, RunningServer, Session, User, ask

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, FilePayload, Page

__all__ = ["ann", "browser", "context", "server"]
WORD = "a word for friends"


@pytest.fixture(scope="module")
def ben(server: RunningServer, ann: Session) -> Session:
    token = ann.ask("POST", "/api/v1/invitations", {}).json()["token"]
    taken = {"token": token, "user": "ben", "password": PASSWORD}
    assert ask(server.url, "POST", "/api/v1/invitations/accept", taken).status == 201
    return User(server.url, "ben", PASSWORD).sign_in("phone")


@pytest.fixture
def bens(browser: Browser, ben: Session) -> Iterator[BrowserContext]:
    with visiting(browser, ben.url, locale="en-GB") as made:
        login = {"user": "ben", "password": PASSWORD}
        assert made.request.post("/api/v1/sessions", data=login).status == 201
        yield made


@pytest.fixture
def stranger(browser: Browser, server: RunningServer) -> Iterator[BrowserContext]:
    with visiting(browser, server.url, locale="en-GB") as made:
        yield made


def decline_all(ben: Session) -> None:
    """Answer what other tests of this file left open: a worker may run them in any order."""
    for one in ben.ask("GET", "/api/v1/share-invitations").json()["items"]:
        assert ben.ask("POST", f"/api/v1/share-invitations/{one['id']}/decline").status == 204


def linked(ann: Session, path: str, **terms: object) -> str:
    """Make a link over REST; return its address."""
    made = ann.ask("POST", "/api/v1/links", {"path": path, **terms})
    assert made.status == 201
    return f"/s/{made.json()['token']}"


def note(name: str, text: str = "a note") -> FilePayload:
    return {"name": name, "mimeType": "text/plain", "buffer": text.encode()}


def made_address(page: Page) -> str:
    """Return the address that the dialog shows this once."""
    field = page.get_by_label("Your new link")
    field.wait_for()
    return field.input_value()


def test_by_keys_alone_a_folder_is_linked_with_a_password_and_opened_by_a_stranger(
    context: BrowserContext, stranger: BrowserContext, ann: Session
) -> None:
    address = folder_of(ann, "trip", "day.txt")
    assert ann.ask("POST", "/api/v1/folders", {"path": "/trip/photos"}).status == 201
    assert ann.ask("PUT", "/api/v1/content", b"sea", path="/trip/photos/sea.txt").status == 200
    page = context.new_page()
    page.goto("/files")
    shown(page, "trip")
    page.get_by_label("Select trip").check()
    page.get_by_role("grid").focus()
    press(page, "s")
    page.get_by_label("Invite by name").wait_for()
    page.get_by_role("button", name="Make a link").focus()
    press(page, "Enter")
    page.get_by_label("Ask for a password").focus()
    press(page, "Space", "Tab")
    page.keyboard.type(WORD)
    press(page, "Enter")
    link = made_address(page)
    page.get_by_text("Password · ").wait_for()
    press(page, "Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "grid"

    visit = stranger.new_page()
    visit.goto(link)
    visit.get_by_label("Password").fill("not that one")
    press(visit, "Enter")
    visit.get_by_text("That is not the password.").wait_for()
    visit.get_by_label("Password").fill(WORD)
    press(visit, "Enter")
    shown(visit, "photos")
    visit.get_by_role("button", name="photos").click()
    visit.get_by_role("button", name="sea.txt").click()
    visit.get_by_role("dialog").get_by_text("sea", exact=True).wait_for()
    press(visit, "Escape")
    with visit.expect_download() as begun:
        visit.get_by_role("link", name="Download sea.txt").click()
    assert begun.value.path().read_bytes() == b"sea"
    with visit.expect_download() as begun:
        visit.get_by_role("link", name="Download all").click()
    assert begun.value.suggested_filename == "photos.zip"
    visit.go_back()
    shown(visit, "day.txt")
    visit.reload()
    shown(visit, "day.txt")
    assert all(cookie["name"].startswith("__Host-satchel-link") for cookie in stranger.cookies())

    page.goto("/shared")
    page.get_by_role("button", name="Revoke the link: trip").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    page.get_by_text("The link is revoked.").wait_for()
    for path in (link, "/s/there-never-was-one"):
        visit.goto(path)
        visit.get_by_role("heading", name="This link is not available").wait_for()
    assert address == "/files/trip"


def test_a_folder_is_shared_accepted_changed_by_both_and_left(
    context: BrowserContext, bens: BrowserContext, ann: Session, ben: Session
) -> None:
    decline_all(ben)
    address = folder_of(ann, "team", "plan.txt")
    page, there = context.new_page(), bens.new_page()
    page.goto(address)
    page.get_by_role("button", name="Share", exact=True).click()
    page.get_by_label("Invite by name").fill("nobody")
    press(page, "Enter")
    page.get_by_text("There is nobody called “nobody” here.").wait_for()
    page.get_by_label("Invite by name").fill("ben")
    press(page, "Enter")
    page.get_by_text("Invited, has not answered yet").wait_for()
    assert ben.ask("POST", "/api/v1/folders", {"path": "/work"}).status == 201
    there.goto("/files")
    there.get_by_role("link", name="Shared 1 invitation").click()
    there.get_by_role("button", name="Choose a place for team").click()
    there.get_by_role("dialog").get_by_role("button", name="work").click()
    there.get_by_role("button", name="Accept here").click()
    there.get_by_role("button", name="Open", exact=True).click()
    shown(there, "plan.txt")

    press(page, "Escape")
    there.get_by_label("Upload files").set_input_files([note("bens.txt")])
    shown(page, "bens.txt")
    page.get_by_label("Upload files").set_input_files([note("anns.txt")])
    shown(there, "anns.txt")

    page.get_by_role("button", name="Share", exact=True).click()
    page.get_by_label("What ben can do").select_option("Can view")
    page.get_by_text("“ben” can now look").wait_for()
    there.reload()
    there.get_by_text("You can look, not change").wait_for()
    there.get_by_role("button", name="More for plan.txt").click()
    there.get_by_role("menuitem", name="Details and versions").wait_for()
    offered = ["Open\nEnter", "Details and versions\ni", "Keep offline", "Download"]
    assert there.get_by_role("menuitem").all_inner_texts() == offered
    press(there, "Escape")
    assert there.get_by_role("button", name="Upload").count() == 0

    there.goto("/shared")
    there.get_by_role("button", name="Leave team").click()
    there.get_by_role("dialog").get_by_role("button", name="Leave").click()
    there.get_by_text("You left “team”.").wait_for()
    there.get_by_role("button", name="Leave team").wait_for(state="detached")
    assert names(ben, "/work") == []
    assert names(ann, "/team") == ["anns.txt", "bens.txt", "plan.txt"]


def test_a_member_becomes_the_owner_and_the_new_owner_stops_the_sharing(
    context: BrowserContext, bens: BrowserContext, ann: Session, ben: Session
) -> None:
    folder_of(ann, "estate", "will.txt")
    made = ann.ask("POST", "/api/v1/shares", {"path": "/estate", "with": [{"user": "ben"}]})
    there = bens.new_page()
    there.goto("/shared")
    there.get_by_role("button", name="Accept estate").click()
    there.get_by_role("button", name="Leave estate").wait_for()
    page = context.new_page()
    page.goto("/shared")
    page.get_by_role("button", name="Manage estate").click()
    page.get_by_role("button", name="Make ben the owner").click()
    page.get_by_role("button", name="Hand over").click()
    page.get_by_text("“ben” is the owner now.").wait_for()
    there.reload()
    there.get_by_role("button", name="Manage estate").click()
    there.get_by_role("button", name="Stop sharing").click()
    there.get_by_role("dialog").last.get_by_role("button", name="Stop sharing").click()
    there.get_by_text("“estate” is yours alone again.").wait_for()
    assert ann.ask("GET", f"/api/v1/shares/{made.json()['id']}").status == 404
    assert names(ben, "/estate") == ["will.txt"]


def test_a_file_request_takes_files_and_folders_shows_nothing_and_ends(
    context: BrowserContext, stranger: BrowserContext, ann: Session
) -> None:
    folder_of(ann, "inbox", "secret.txt")
    page = context.new_page()
    page.goto("/shared")
    page.get_by_role("button", name="Ask for files").click()
    page.get_by_role("dialog").get_by_role("button", name="inbox").click()
    page.get_by_role("button", name="Ask for files here").click()
    page.get_by_role("button", name="Make it").click()
    visit = stranger.new_page()
    visit.clock.install()
    visit.goto(made_address(page))
    visit.get_by_role("heading", name="ann asks for files").wait_for()
    visit.evaluate(
        """() => {
        const data = new DataTransfer();
        for (const name of ['one.txt', 'secret.txt']) data.items.add(new File([name], name));
        const drop = new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true });
        document.querySelector('main').dispatchEvent(drop);
    }"""
    )
    visit.get_by_role("heading", name="Thank you").wait_for()
    assert "secret (2)" not in visit.content()
    assert names(ann, "/inbox") == ["one.txt", "secret (2).txt", "secret.txt"]
    visit.get_by_role("button", name="Send more").click()
    visit.get_by_role("button", name="Choose files").wait_for()
    visit.clock.fast_forward(31 * 24 * 3_600_000)
    visit.get_by_role("heading", name="The time is over").wait_for()


def test_an_edit_link_lets_a_stranger_add_rename_replace_and_delete(stranger: BrowserContext, ann: Session) -> None:
    folder_of(ann, "minutes", "may.txt", "june.txt")
    visit = stranger.new_page()
    visit.goto(linked(ann, "/minutes", permission="edit", password=WORD))
    visit.get_by_label("Password").fill(WORD)
    press(visit, "Enter")
    shown(visit, "may.txt")
    visit.get_by_role("button", name="New folder").click()
    visit.get_by_role("dialog").get_by_label("Name").fill("old")
    press(visit, "Enter")
    visit.get_by_role("button", name="old", exact=True).click()
    visit.get_by_text("Nothing in here").wait_for()
    visit.get_by_label("Upload files").set_input_files([note("april.txt")])
    shown(visit, "april.txt")
    visit.get_by_role("button", name="minutes", exact=True).click()
    visit.get_by_role("button", name="More for may.txt").click()
    visit.get_by_role("menuitem", name="Rename").click()
    visit.get_by_role("dialog").get_by_label("Name").fill("May.md")
    press(visit, "Enter")
    shown(visit, "May.md")
    visit.get_by_role("button", name="More for May.md").click()
    with visit.expect_file_chooser() as chooser:
        visit.get_by_role("menuitem", name="Replace with another file").click()
    chooser.value.set_files([note("other.txt", "new")])
    visit.get_by_text("“May.md” is replaced").wait_for()
    visit.get_by_role("button", name="More for june.txt").click()
    visit.get_by_role("menuitem", name="Delete").click()
    visit.get_by_role("dialog").get_by_role("button", name="Delete").click()
    visit.get_by_role("button", name="june.txt", exact=True).wait_for(state="detached")
    assert names(ann, "/minutes") == ["May.md", "old"]
    assert names(ann, "/minutes/old") == ["april.txt"]
    assert ann.ask("GET", "/api/v1/content", path="/minutes/May.md").body == b"new"


def test_the_terms_of_a_link_change_and_a_lost_address_is_replaced(
    context: BrowserContext, stranger: BrowserContext, ann: Session
) -> None:
    address = folder_of(ann, "terms", "film.txt", "photo.txt")
    old = linked(ann, "/terms/film.txt", is_no_download=True)
    visit = stranger.new_page()
    visit.goto(linked(ann, "/terms/photo.txt", is_no_download=True))
    visit.get_by_role("button", name="Look at it").click()
    visit.get_by_role("dialog").get_by_text("photo.txt").last.wait_for()
    assert visit.get_by_role("link", name="Download").count() == 0
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="Share film.txt").click()
    page.get_by_role("button", name="Change the link: Look only").click()
    page.get_by_label("Look only, without a download").uncheck()
    page.get_by_label("Limit the downloads").check()
    page.get_by_role("button", name="Save").click()
    page.get_by_text("0 of 1 downloads").wait_for()
    visit.goto(old)
    visit.get_by_text("1 download left.").wait_for()
    with visit.expect_download() as begun:
        visit.get_by_role("link", name="Download").click()
    assert begun.value.path().read_bytes() == b"film.txt"
    visit.reload()
    visit.get_by_role("heading", name="This link is not available").wait_for()
    page.get_by_role("button", name="New address: Look and download").click()
    page.get_by_text("only a fingerprint of it").wait_for()
    page.get_by_role("button", name="Make it").click()
    visit.goto(made_address(page))
    visit.get_by_role("heading", name="film.txt").wait_for()


def test_the_page_of_links_is_the_same_for_every_token_and_for_browsers_alone(ann: Session) -> None:
    folder_of(ann, "plain")
    browsers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    known, unknown = (ask(ann.url, "GET", path, headers=browsers) for path in (linked(ann, "/plain"), "/s/nothing"))
    assert (known.status, known.body) == (unknown.status, unknown.body)
    assert known.headers["vary"] == "accept, accept-encoding"
    assert "default-src 'self'" in known.headers["content-security-policy"]
    assert ask(ann.url, "GET", linked(ann, "/plain")).json()["name"] == "plain"
    assert ask(ann.url, "GET", "/s/nothing/list", headers=browsers).status == 404


def test_axe_finds_nothing_where_something_is_shared(browser: Browser, ann: Session, ben: Session) -> None:
    folder = "axe"
    folder_of(ann, folder, "a.txt", "b.bin")
    invited = ben.ask("POST", "/api/v1/folders", {"path": "/from ben"})
    assert invited.status == 201
    ben.ask("POST", "/api/v1/shares", {"path": "/from ben", "with": [{"user": "ann"}]})
    ann.ask("POST", "/api/v1/shares", {"path": f"/{folder}", "with": [{"user": "ben"}]})
    request, edited = (linked(ann, f"/{folder}", permission=right) for right in ("upload", "edit"))
    with visiting(browser, ann.url, locale="en-GB") as context:
        page = context.new_page()
        page.goto(request)
        page.get_by_role("heading", name="asks for files").wait_for()
        clean(page)
        page.get_by_label("Upload files").set_input_files([note("sent.txt")])
        page.get_by_role("heading", name="Thank you").wait_for()
        clean(page)
        page.goto(edited)
        shown(page, "a.txt")
        clean(page)
        signed_in(context)
        page.goto("/shared")
        page.get_by_role("button", name="Accept from ben").wait_for()
        clean(page)
        page.get_by_role("button", name=f"Manage {folder}").click()
        page.get_by_text("Invited, has not answered yet").wait_for()
        page.get_by_role("button", name="Make a link").click()
        page.get_by_role("button", name="Make it").click()
        made_address(page)
        page.get_by_role("button", name="Make a link").click()
        page.get_by_label("Look only, without a download").check()
        clean(page)


def test_axe_finds_nothing_on_the_small_pages_of_links(stranger: BrowserContext, ann: Session) -> None:
    """They are made of parts whose colours in the dark are looked at above."""
    folder_of(ann, "axe small", "a.txt")
    path = "/axe small/a.txt"
    links = {"has a password": linked(ann, path, password=WORD), "a.txt": linked(ann, path, downloads_max=2)}
    page = stranger.new_page()
    for heading, link in {"not available": "/s/nothing", **links}.items():
        page.goto(link)
        page.get_by_role("heading", name=heading).wait_for()
        clean(page)


def test_nothing_of_it_is_wider_than_a_narrow_screen_in_the_longer_language(
    browser: Browser, ann: Session, ben: Session
) -> None:
    folder_of(
        ann, "a shared folder with rather a long name as people have them", "and_a_file_without_any_space_in_it.txt"
    )
    path = "/a shared folder with rather a long name as people have them"
    ann.ask("POST", "/api/v1/shares", {"path": path, "with": [{"user": "ben"}]})
    links = [linked(ann, path, permission=right) for right in ("view", "edit", "upload")]
    with visiting(browser, ann.url, locale="de-DE", viewport={"width": 360, "height": 740}) as context:
        page = context.new_page()
        for link in links:
            page.goto(link)
            page.get_by_role("heading").first.wait_for()
            assert page.evaluate(OVERFLOWING) == []
        signed_in(context)
        page.goto("/shared")
        page.get_by_role("button", name=f"{path[1:]} verwalten").click()
        page.get_by_text("Eingeladen, noch ohne Antwort").wait_for()
        page.get_by_role("button", name="Link erstellen").click()
        page.get_by_label("Nach einem Passwort fragen").check()
        assert page.evaluate(OVERFLOWING) == []
