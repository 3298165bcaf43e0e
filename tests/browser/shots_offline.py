"""Pictures of the web app without its server: python -m tests.browser.shots_offline FOLDER."""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser.shots import SCHEMES, SIZES, fill, first_account, take
from tests.support import warm
from tests.support.browser import running_browser, visiting
from tests.support.offline import AWAY, keep, menu, offline, ready
from tests.support.pages import gone, shown
from tests.support.server import PASSWORD, Session, running_server

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page


def kept(page: Page, folder: Path, mark: str) -> None:
    """Keep some things offline, and take pictures of how."""
    page.goto("/files")
    shown(page, "plan.md")
    ready(page)
    page.goto("/offline")
    page.get_by_text("Nothing is kept offline yet").wait_for()
    take(page, folder, f"offline-nothing-{mark}")
    page.goto("/files")
    page.get_by_role("button", name="More for Documents").click()
    take(page, folder, f"offline-menu-{mark}")
    page.keyboard.press("Escape")
    for name in ("Documents", "plan.md", "dot.png"):
        keep(page, name)
    take(page, folder, f"offline-kept-{mark}")
    menu(page, "plan.md", "Details and versions")
    page.get_by_text("Version 1").wait_for()
    take(page, folder, f"offline-details-{mark}")
    page.keyboard.press("Escape")


def away(context: BrowserContext, page: Page, folder: Path, mark: str, session: Session) -> None:
    """Take pictures of what is there without a network, and of what meets a change of elsewhere when it is back."""
    with offline(context, page):
        take(page, folder, f"offline-away-{mark}")
        menu(page, "dot.png", "Delete")
        gone(page, "dot.png")
        menu(page, "plan.md", "Rename")
        page.get_by_role("textbox", name="Name").fill("plans.md")
        page.keyboard.press("Enter")
        shown(page, "plans.md")
        page.get_by_label("Upload files").set_input_files(
            [{"name": "on the way.txt", "mimeType": "text/plain", "buffer": b"x" * 1000}]  # type: ignore[list-item]
        )
        page.get_by_text("1 file waits until you are online").wait_for()
        take(page, folder, f"offline-waiting-{mark}")
        page.goto("/offline")
        page.get_by_text("Rename to “plans.md”").wait_for()
        take(page, folder, f"offline-page-{mark}")
        page.goto("/files/Pictures")
        page.get_by_text("This folder is not kept offline.").wait_for()
        take(page, folder, f"offline-not-kept-{mark}")
        page.get_by_role("button", name="Account and appearance").click()
        page.get_by_role("button", name="Sign out").click()
        take(page, folder, f"offline-leave-{mark}")
        page.keyboard.press("Escape")
        assert session.ask("PUT", "/api/v1/content", mark.encode(), path="/dot.png").status == 200
    page.get_by_text(AWAY).wait_for(state="detached")
    page.goto("/offline")
    page.get_by_text("Needs you").wait_for()
    take(page, folder, f"offline-stuck-{mark}")


def run(folder: Path) -> None:
    """Take all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for width, scheme in itertools.product(SIZES, SCHEMES):
        with (
            running_browser() as browser,
            tempfile.TemporaryDirectory() as data,
            running_server(Path(data)) as server,
            visiting(
                browser,
                server.url,
                locale="en-GB",
                viewport={"width": width, "height": SIZES[width]},
                color_scheme=scheme,
            ) as context,
        ):
            session = first_account(server)
            fill(session)
            asked = {"user": "bob", "password": PASSWORD}
            assert context.request.post("/api/v1/sessions", data=asked).status == 201
            page = context.new_page()
            kept(page, folder, f"{width}-{scheme}")
            away(context, page, folder, f"{width}-{scheme}", session)


if __name__ == "__main__":
    warm.begin()
    run(Path(sys.argv[1]))
