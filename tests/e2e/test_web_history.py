"""What was, in the web app: versions compared and brought back, folders rewound, activity, and conflicts resolved; each
of it taken back again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.pages import ann, browser, clean, context, folder_of, names, press, server, shown
from tests.support.server import Session

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

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
    clean(page, "light")
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
