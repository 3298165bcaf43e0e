"""Pictures of the pages of history, of an account that has one: python -m tests.browser.shots_history FOLDER."""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser.shots import PICTURE, SCHEMES, SIZES, first_account, take
from tests.support import warm
from tests.support.browser import running_browser, visiting
from tests.support.server import PASSWORD, RunningServer, Session, User, ask, running_server

if TYPE_CHECKING:
    from playwright.sync_api import Page

LINES = [f"{number}. something that was said on this day, in a line of some length" for number in range(1, 60)]
COPY = "({}'s conflicted copy 2026-11-22)"


def fill(session: Session, ben: Session) -> None:
    """Make a past: versions by two people on two devices, things deleted and moved, conflicted copies, a rewind."""
    for path in ("/Team", "/Documents", "/Documents/Letters"):
        assert session.ask("POST", "/api/v1/folders", {"path": path}).status == 201
    with_ben = {"path": "/Team", "with": [{"user": "ben", "role": "editor"}]}
    ns = session.ask("POST", "/api/v1/shares", with_ben).json()["id"]
    assert ben.ask("POST", f"/api/v1/share-invitations/{ns}/accept").status == 200
    for number in range(5):
        lines = [*LINES[: 50 + number]]
        lines[3] = f"4. what was said in version {number}"
        lines[30:31] = [] if number == 3 else ["31. in between", f"{number} times"]
        who = ben if number % 2 else session
        put(who, "/Team/Minutes.md", "\n".join(lines).encode())
    for number in range(12):
        put(session, f"/Documents/Note {number + 1}.txt", b"note")
    put(session, "/Documents/Plan.txt", "\n".join(LINES[:12]).encode())
    put(session, f"/Documents/Plan {COPY.format('laptop')}.txt", "\n".join([*LINES[:5], "Mine", *LINES[7:12]]).encode())
    put(ben, f"/Team/Minutes {COPY.format('Desk')}.md", "\n".join(LINES).encode())
    put(session, f"/Documents/dot {COPY.format('phone')}.png", PICTURE)
    for path in ("/Documents/Note 3.txt", "/Documents/Letters"):
        assert session.ask("POST", "/api/v1/delete", {"path": path}).status == 204
    moved = {"from": "/Documents/Note 5.txt", "to": "/Documents/A better name.txt"}
    assert session.ask("POST", "/api/v1/move", moved).status == 200


def put(session: Session, path: str, data: bytes) -> None:
    assert session.ask("PUT", "/api/v1/content", data, path=path).status == 200


def history(page: Page, folder: Path, mark: str) -> None:
    """Take pictures of the pages of history."""
    page.goto("/files/Team")
    page.get_by_role("button", name="More for Minutes.md").click()
    page.get_by_role("menuitem", name="Details and versions").click()
    page.get_by_text("Version 1").wait_for()
    take(page, folder, f"details-{mark}")
    page.get_by_role("button", name="Compare versions").click()
    page.get_by_text("lines added").wait_for()
    take(page, folder, f"versions-{mark}")
    page.get_by_role("button", name="Version 2").click()
    page.get_by_role("button", name="Preview").click()
    page.get_by_text("in between").wait_for()
    take(page, folder, f"version-preview-{mark}")
    page.keyboard.press("Escape")
    page.goto("/activity")
    page.get_by_role("heading", name="Today").wait_for()
    take(page, folder, f"activity-{mark}")
    page.get_by_role("button", name="Show all").first.click()
    page.get_by_role("button", name="Show less").wait_for()
    page.get_by_role("button", name="More for").nth(1).click()
    take(page, folder, f"activity-menu-{mark}")
    page.keyboard.press("Escape")
    page.goto("/rewind/Documents")
    page.get_by_text("Choose a time").wait_for()
    take(page, folder, f"rewind-{mark}")
    page.goto("/activity/Documents")
    page.get_by_role("listitem").filter(has_text="bob deleted").first.get_by_role("button", name="More for").click()
    page.get_by_role("menuitem", name="Rewind to just before this").click()
    page.get_by_role("heading", name="What would change").wait_for()
    take(page, folder, f"rewind-preview-{mark}")
    page.goto("/conflicts")
    page.get_by_role("button", name="Compare Minutes.md").click()
    page.get_by_text("lines added").wait_for()
    page.get_by_label("Select Plan").check()
    take(page, folder, f"conflicts-{mark}")
    page.get_by_role("button", name="Compare dot.png").click()
    page.get_by_role("img").first.wait_for()
    take(page, folder, f"conflicts-picture-{mark}")
    page.goto("/files/Documents")
    page.get_by_role("button", name="More for this folder").click()
    take(page, folder, f"files-more-{mark}")


def second_account(server: RunningServer, session: Session) -> Session:
    """Invite ben, and sign him in."""
    token = session.ask("POST", "/api/v1/invitations", {}).json()["token"]
    asked = {"token": token, "user": "ben", "password": PASSWORD}
    assert ask(server.url, "POST", "/api/v1/invitations/accept", asked).status == 201
    return User(server.url, "ben", PASSWORD).sign_in("Ben's desktop")


def run(folder: Path) -> None:
    """Take all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    # The browser first: the app is built with it, and the service reads it when it starts.
    with running_browser() as browser, tempfile.TemporaryDirectory() as data, running_server(Path(data)) as server:
        first_account(server)
        bob = User(server.url, "bob", PASSWORD).sign_in("Bob's laptop")
        fill(bob, second_account(server, bob))
        for width, scheme in itertools.product(SIZES, SCHEMES):
            size = {"width": width, "height": SIZES[width]}
            with visiting(browser, server.url, locale="en-GB", viewport=size, color_scheme=scheme) as context:
                asked = {"user": "bob", "password": PASSWORD}
                assert context.request.post("/api/v1/sessions", data=asked).status == 201
                history(context.new_page(), folder, f"{width}-{scheme}")


if __name__ == "__main__":
    warm.begin()
    run(Path(sys.argv[1]))
