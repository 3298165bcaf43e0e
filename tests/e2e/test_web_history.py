"""What was, in the web app: versions compared and brought back, folders rewound, activity, and conflicts resolved; each
of it taken back again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.browser import browser, visiting
from tests.support.pages import (
    OVERFLOWING,
    ann,
    clean,
    context,
    folder_of,
    loaded,
    names,
    press,
    server,
    shown,
    signed_in,
)
from tests.support.server import PASSWORD, RunningServer, Session, User, ask

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

__all__ = ["ann", "browser", "context", "server"]


def put(session: Session, path: str, text: str) -> None:
    assert session.ask("PUT", "/api/v1/content", text.encode(), path=path).status == 200


def got(session: Session, path: str) -> str:
    return session.ask("GET", "/api/v1/content", path=path).body.decode()


def test_versions_are_compared_restored_and_taken_back_by_keys(context: BrowserContext, ann: Session) -> None:
    address = folder_of(ann, "past", "plan.txt")
    first, second = "Buy apples\nSell pears\nRest\n", "Buy apples\nSell plums\nRest\nSleep\n"
    put(ann, "/past/plan.txt", first)
    put(ann, "/past/plan.txt", second)
    page = context.new_page()
    page.goto(address)
    shown(page, "plan.txt")
    page.get_by_role("grid").focus()
    press(page, "Home", "i")
    page.get_by_role("button", name="Compare versions").focus()
    press(page, "Enter")
    view = page.get_by_role("dialog", name="Versions of plan.txt")
    view.get_by_text("2 lines added · 1 line removed").wait_for()
    # What was added and removed is said, not only coloured.
    cells = {name: view.get_by_role("cell", name=name).all_text_contents() for name in ("Removed:", "Added:")}
    assert [text.strip() for text in cells["Removed:"]] == ["Removed:−Sell pears"]
    assert [text.strip() for text in cells["Added:"]] == ["Added:+Sell plums", "Added:+Sleep"]
    clean(page)
    view.get_by_role("button", name="Version 3").focus()
    press(page, "ArrowDown")
    view.get_by_text("3 lines added · 1 line removed").wait_for()
    view.get_by_role("button", name="Preview").click()
    view.get_by_text("Sell pears").wait_for()
    view.get_by_role("button", name="Restore", exact=True).focus()
    press(page, "Enter")
    view.get_by_text("as version 2").wait_for()
    assert got(ann, "/past/plan.txt") == first
    view.get_by_role("button", name="As a copy").click()
    page.get_by_text("The version is beside it as").wait_for()
    assert len(names(ann, "/past")) == 2
    page.get_by_role("button", name="Undo").first.click()
    view.get_by_text("as version 3").wait_for()
    assert got(ann, "/past/plan.txt") == second
    with page.expect_download() as told:
        view.get_by_role("link", name="Download: Version").click()
    assert told.value.suggested_filename == "plan.txt"
    press(page, "Escape")
    page.get_by_role("dialog", name="plan.txt", exact=True).get_by_text("Version 5").wait_for()


def test_a_folder_is_rewound_and_that_is_undone(context: BrowserContext, ann: Session) -> None:
    folder_of(ann, "earlier")
    folder_of(ann, "rewound", "kept.txt")
    before = ann.ask("GET", "/api/v1/activity/days").json()["head_seq"]
    put(ann, "/rewound/kept.txt", "later")
    put(ann, "/rewound/new.txt", "new")
    page = context.new_page()
    page.goto("/files/rewound")
    page.get_by_role("button", name="More for this folder").click()
    page.get_by_role("menuitem", name="Rewind this folder").click()
    page.get_by_role("heading", name="Rewind rewound").wait_for()
    page.get_by_text("Choose a time").wait_for()
    clean(page)
    # By keys: a day back, when it was not there.
    slider = page.get_by_role("slider", name="Back to this time")
    slider.focus()
    press(page, "PageDown")
    page.get_by_text("This folder was not there then").wait_for()
    page.get_by_role("link", name="Rewind All files").wait_for()
    # From the activity, to just before what was done last.
    page.goto(f"/rewind/rewound?before={before + 1}")
    page.get_by_text("1 gets its earlier content").wait_for()
    page.get_by_text("1 goes into the trash").wait_for()
    clean(page)
    page.get_by_role("button", name="Rewind 2 items").focus()
    press(page, "Enter")
    page.get_by_text("“rewound” is as it was on").wait_for()
    assert names(ann, "/rewound") == ["kept.txt"]
    assert got(ann, "/rewound/kept.txt") == "kept.txt"
    page.get_by_role("button", name="Undo this rewind").first.click()
    page.get_by_text("The rewind was undone.").wait_for()
    assert names(ann, "/rewound") == ["kept.txt", "new.txt"]
    assert got(ann, "/rewound/kept.txt") == "later"
    page.get_by_text("undone", exact=False).first.wait_for()


def test_activity_tells_what_two_people_did(context: BrowserContext, ann: Session, server: RunningServer) -> None:
    invited = ann.ask("POST", "/api/v1/invitations", {}).json()["token"]
    asked = {"token": invited, "user": "ben", "password": PASSWORD}
    assert ask(server.url, "POST", "/api/v1/invitations/accept", asked).status == 201
    ben = User(server.url, "ben", PASSWORD).sign_in("Ben's desktop")
    folder_of(ann, "team")
    with_ben = {"path": "/team", "with": [{"user": "ben", "role": "editor"}]}
    ns = ann.ask("POST", "/api/v1/shares", with_ben).json()["id"]
    assert ben.ask("POST", f"/api/v1/share-invitations/{ns}/accept").status == 200
    put(ben, "/team/minutes.txt", "one")
    put(ann, "/team/minutes.txt", "two")
    folder_of(ann, "alone", "mine.txt")
    page = context.new_page()
    page.goto("/activity")
    page.get_by_role("heading", name="Today").wait_for()
    page.get_by_role("listitem").filter(has_text="mine.txt").filter(has_text="laptop").first.wait_for()
    theirs = page.get_by_role("listitem").filter(has_text="ben added").filter(has_text="Ben's desktop")
    theirs.get_by_role("button", name="minutes.txt", exact=True).wait_for()
    clean(page)
    who = page.get_by_label("Who", exact=True)
    # The service looks for it: what is rare is found in a long history as well.
    with page.expect_request(lambda asked: "person=ben" in asked.url):
        who.select_option("ben")
    page.get_by_role("listitem").filter(has_text="mine.txt").first.wait_for(state="detached")
    theirs.get_by_role("button", name="More for minutes.txt").click()
    page.get_by_role("menuitem", name="Versions").click()
    page.get_by_role("dialog", name="Versions of minutes.txt").get_by_text("Version 2").first.wait_for()
    press(page, "Escape")
    page.get_by_label("What", exact=True).select_option("delete")
    page.get_by_text("Nothing like that was done.").wait_for()
    # Whoever was told of before can still be chosen.
    assert {"ann", "ben"} <= set(who.get_by_role("option").all_inner_texts())
    page.goto("/activity/team")
    page.get_by_role("heading", name="Activity in team").wait_for()
    page.get_by_role("listitem").filter(has_text="ann edited").get_by_role(
        "button", name="More for minutes.txt"
    ).click()
    page.get_by_role("menuitem", name="Rewind to just before this").click()
    page.get_by_text("1 gets its earlier content").wait_for()


def test_conflicts_are_answered_and_each_answer_is_taken_back(context: BrowserContext, ann: Session) -> None:
    folder_of(ann, "torn", "plan.txt")
    copy = "plan (phone's conflicted copy 2026-11-22).txt"
    put(ann, "/torn/plan.txt", "one\ntwo\n")
    page = context.new_page()
    page.goto("/conflicts")
    page.get_by_text("No conflicts").wait_for()
    put(ann, f"/torn/{copy}", "one\nthree\n")
    # It is told of by itself, here and in the navigation.
    page.get_by_role("link", name="1 conflicted copy").click()
    page.get_by_role("button", name="Compare plan.txt").focus()
    press(page, "Enter")
    page.get_by_text("1 line added · 1 line removed").wait_for()
    page.get_by_text("“plan.txt” was changed on phone").wait_for()
    clean(page)
    page.get_by_role("button", name="Take the copy from phone").focus()
    press(page, "Enter")
    page.get_by_text("No conflicts").wait_for()
    assert got(ann, "/torn/plan.txt") == "one\nthree\n"
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Close plan.txt").wait_for()
    assert got(ann, "/torn/plan.txt") == "one\ntwo\n"
    page.get_by_label(f"Select {copy}").check()
    page.get_by_role("button", name="Keep both").first.click()
    page.get_by_text("No conflicts").wait_for()
    assert names(ann, "/torn") == ["plan (phone, 2026-11-22).txt", "plan.txt"]
    page.get_by_role("button", name="Undo").last.click()
    page.get_by_role("button", name="Keep the file", exact=True).click()
    page.get_by_text("No conflicts").wait_for()
    assert names(ann, "/torn") == ["plan.txt"]
    page.get_by_role("button", name="Undo").last.click()
    page.get_by_label(f"Select {copy}").wait_for()
    assert names(ann, "/torn") == [copy, "plan.txt"]


def test_no_page_of_history_is_wider_than_a_narrow_screen(browser: Browser, ann: Session) -> None:
    folder_of(ann, "schmal", "ein recht langer Name, wie ihn Leute vergeben.txt")
    with visiting(browser, ann.url, locale="de-DE", viewport={"width": 360, "height": 740}) as context:
        signed_in(context)
        page = context.new_page()
        for place in ("/activity", "/rewind/schmal", "/conflicts"):
            page.goto(place)
            page.get_by_role("heading").first.wait_for()
            loaded(page)
            assert page.evaluate(OVERFLOWING) == []
