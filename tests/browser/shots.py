"""Pictures of every page of the web app, wide and narrow, light and dark: to be looked at by people.

python -m tests.browser.shots FOLDER
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser import shots_settings
from tests.browser.sharing import opened, share, sharing
from tests.support import warm
from tests.support.browser import running_browser, visiting
from tests.support.server import PASSWORD, RunningServer, Session, User, ask, running_server

if TYPE_CHECKING:
    from playwright.sync_api import Page

SIZES = {1440: 900, 390: 844}
SCHEMES = ("light", "dark")
README = (
    "# Plan\n\nWhat we **do** next, and `why`:\n\n- the garden\n- the roof, see [the offer](https://example.org)"
    "\n\n> Soon.\n\n```\n1 + 1\n```\n"
)
PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63689a7a0e00035c01e1b3b3f1d50000000049454e44ae426082"
)


def first_account(server: RunningServer) -> Session:
    """Make the first account over HTTP, as the page does, and give it a small quota."""
    asked = {"code": server.setup_code, "user": "bob", "password": PASSWORD}
    assert ask(server.url, "POST", "/api/v1/setup", asked).status == 201
    session = User(server.url, "bob", PASSWORD).sign_in("laptop")
    route = f"/api/v1/admin/accounts/{session.account_id.hex()}"
    assert session.ask("PATCH", route, {"quota_bytes": 20_000_000}).status < 300
    return session


def fill(session: Session) -> None:
    """Put into an account what a person may have."""
    for path in ("/Documents", "/Documents/Letters", "/Pictures", "/Music and more"):
        assert session.ask("POST", "/api/v1/folders", {"path": path}).status == 201
    files = {
        **{"/plan.md": README, "/old.txt": "old", "/Budget 2026.csv": "a,b\n" * 900},
        "/Notes of a very long evening in which much was said and little was written down.txt": "a\n" * 4,
    }
    for path, text in files.items():
        for number in range(3 if path == "/plan.md" else 1):
            body = (text + "\n" * number).encode()
            put = session.ask("PUT", "/api/v1/content", body, path=path, mtime_ns=1_790_000_000_000_000_000)
            assert put.status == 200
    assert session.ask("PUT", "/api/v1/content", PICTURE, path="/dot.png").status == 200
    assert session.ask("PUT", "/api/v1/content", b"x" * 4_000_000, path="/film.mkv").status == 200
    for path in ("/old.txt", "/Documents/Letters"):
        assert session.ask("POST", "/api/v1/delete", {"path": path}).status == 204


def take(page: Page, folder: Path, label: str) -> None:
    """Take one picture."""
    page.wait_for_load_state()
    page.screenshot(path=folder / f"{label}.png")


def uploads(page: Page, folder: Path, mark: str) -> None:
    """Take pictures of uploads under way, and of those that a reload left unfinished."""
    page.route(
        "**/api/v1/uploads/*", lambda route: route.abort() if "PATCH" in route.request.method else route.continue_()
    )
    with tempfile.TemporaryDirectory() as data:
        film, notes = Path(data) / "holiday.mov", [Path(data) / f"note {number}.txt" for number in range(3)]
        film.write_bytes(bytes(9_000_000))
        for note in notes:
            note.write_text("a note")
        page.get_by_label("Upload files").set_input_files([film, *notes])
        page.get_by_role("button", name="Skip all").or_(page.get_by_role("button", name="Skip")).or_(
            page.get_by_text("Interrupted")
        ).first.wait_for()
        take(page, folder, f"uploads-under-way-{mark}")
        page.wait_for_timeout(600)
        page.reload()
        page.get_by_text("not finished").first.wait_for()
        take(page, folder, f"uploads-left-{mark}")
    page.get_by_role("button", name="Stop all uploads").click()
    take(page, folder, f"uploads-stop-{mark}")
    page.get_by_role("dialog").get_by_role("button", name="Stop all uploads").click()
    page.get_by_role("dialog").wait_for(state="detached")
    page.unroute_all()


def signed_in(page: Page, folder: Path, mark: str, server: RunningServer) -> None:
    """Take pictures of what a person who is signed in sees."""
    page.get_by_role("grid").wait_for()
    take(page, folder, f"files-{mark}")
    page.get_by_label("Select plan.md").check()
    page.get_by_label("Select film.mkv").check()
    take(page, folder, f"files-chosen-{mark}")
    page.get_by_role("button", name="More for plan.md").click()
    take(page, folder, f"files-menu-{mark}")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="New folder").click()
    take(page, folder, f"new-folder-{mark}")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="plan.md", exact=True).click()
    page.get_by_text("the garden").wait_for()
    take(page, folder, f"preview-{mark}")
    page.get_by_role("button", name="Details and versions").click()
    page.get_by_text("Version 1").wait_for()
    take(page, folder, f"details-{mark}")
    page.keyboard.press("Escape")
    page.get_by_label("Upload files").set_input_files(
        [{"name": name, "mimeType": "text/plain", "buffer": b"x" * 1000} for name in ("plan.md", f"{mark}.txt")]
    )
    page.get_by_text("Keep both").wait_for()
    take(page, folder, f"uploads-{mark}")
    page.get_by_role("button", name="Skip").click()
    page.get_by_role("button", name="Clear", exact=True).click()
    uploads(page, folder, mark)
    page.keyboard.press("?")
    take(page, folder, f"keys-{mark}")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Account and appearance").click()
    take(page, folder, f"account-{mark}")
    page.keyboard.press("Escape")
    page.goto("/files/Pictures")
    page.get_by_text("Nothing here yet").wait_for()
    take(page, folder, f"empty-{mark}")
    page.goto("/trash")
    page.get_by_role("button", name="Restore old.txt").wait_for()
    take(page, folder, f"trash-{mark}")
    page.goto("/devices")
    page.get_by_text("This browser").first.wait_for()
    take(page, folder, f"devices-{mark}")
    code = ask(server.url, "POST", "/api/v1/device-codes", {"device_name": "laptop"}).json()["user_code"]
    page.goto("/device")
    page.get_by_label("Code", exact=True).fill(code)
    take(page, folder, f"device-code-{mark}")
    page.get_by_role("button", name="Look it up").click()
    page.get_by_text("Sign “laptop” in?").wait_for()
    take(page, folder, f"device-{mark}")
    shots_settings.signed_in(page, lambda page, label: take(page, folder, f"{label}-{mark}"))


def run(folder: Path) -> None:
    """Take all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    # The browser first: it builds the app, which a server reads once when it starts.
    with tempfile.TemporaryDirectory() as data, running_browser() as browser, running_server(Path(data)) as server:
        looks = [
            (f"{width}-{scheme}", {"viewport": {"width": width, "height": SIZES[width]}, "color_scheme": scheme})
            for width, scheme in itertools.product(SIZES, SCHEMES)
        ]
        for mark, options in looks:
            with visiting(browser, server.url, locale="en-GB", **options) as context:
                page = context.new_page()
                page.goto("/")
                page.get_by_label("Set-up code").wait_for()
                take(page, folder, f"setup-{mark}")
        session = first_account(server)
        fill(session)
        shots_settings.fill(session)
        links = share(session, server)
        for mark, options in looks:
            with visiting(browser, server.url, locale="en-GB", **options) as context:
                page = context.new_page()
                opened(page, folder, mark, links)
                shots_settings.signed_out(page, lambda page, label, mark=mark: take(page, folder, f"{label}-{mark}"))
                page.goto("/")
                page.get_by_label("Name").fill("bob")
                page.get_by_role("button", name="Sign in").click()
                take(page, folder, f"sign-in-{mark}")
                page.get_by_label("Password").fill(PASSWORD)
                page.get_by_role("button", name="Sign in").click()
                signed_in(page, folder, mark, server)
                sharing(page, folder, mark)


if __name__ == "__main__":
    from tests.browser import shots_history, shots_offline

    warm.begin()
    run(Path(sys.argv[1]))
    shots_history.run(Path(sys.argv[1]) / "history")
    shots_offline.run(Path(sys.argv[1]) / "offline")
