"""The web app in a real Chromium against a real server: what people do first, by hand, by keys alone, and together."""

from __future__ import annotations

import base64
import io
import time
import wave
from pathlib import Path
from typing import TYPE_CHECKING

from satchel.core.limits import COMMIT_OPS_MAX
from satchel.server.accounts.second_factor import STEP_S, code_at
from tests.support.browser import browser, visiting
from tests.support.pages import (
    OVERFLOWING,
    ann,
    clean,
    context,
    folder_of,
    gone,
    names,
    press,
    server,
    shown,
    signed_in,
)
from tests.support.server import PASSWORD, RunningServer, Session, User, ask, running_server
from tests.support.wire import Wire

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

__all__ = ["ann", "browser", "context", "server"]


def test_from_the_set_up_code_to_the_first_upload(browser: Browser, tmp_path: Path) -> None:
    with running_server(tmp_path) as fresh, visiting(browser, fresh.url, locale="en-GB") as context:
        page = context.new_page()
        page.goto("/")
        page.get_by_label("Set-up code").fill(fresh.setup_code)
        page.get_by_label("Your name").fill("zoe")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("Password again").fill(PASSWORD)
        page.get_by_role("button", name="Make the account").click()
        page.get_by_text("Nothing here yet").wait_for()
        note = {"name": "note.txt", "mimeType": "text/plain", "buffer": b"first"}
        page.get_by_label("Upload files").set_input_files([note])  # type: ignore[list-item]  # as playwright has it
        shown(page, "note.txt")
        page.get_by_text("1 file is uploaded").wait_for()
        session = User(fresh.url, "zoe", PASSWORD).sign_in()
        assert session.ask("GET", "/api/v1/content", path="/note.txt").body == b"first"


def test_signing_in_says_what_is_wrong_and_leads_to_the_page_that_was_opened(
    browser: Browser, server: RunningServer
) -> None:
    with visiting(browser, server.url, locale="en-GB") as context:
        page = context.new_page()
        page.goto("/trash")
        page.get_by_label("Name").fill("ann")
        page.get_by_label("Password").fill("wrong")
        press(page, "Enter")
        page.get_by_text("Name or password is wrong.").wait_for()
        page.get_by_label("Password").fill(PASSWORD)
        press(page, "Enter")
        page.get_by_role("heading", name="Trash").wait_for()
        assert page.evaluate("document.cookie") == ""
        page.get_by_role("button", name="Account and appearance").click()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("heading", name="Sign in").wait_for()
        assert context.cookies() == []


def test_an_account_with_a_second_factor_is_asked_for_its_code(browser: Browser, tmp_path: Path) -> None:
    with running_server(tmp_path) as fresh, visiting(browser, fresh.url, locale="en-GB") as context:
        asked = {"code": fresh.setup_code, "user": "zoe", "password": PASSWORD}
        assert ask(fresh.url, "POST", "/api/v1/setup", asked).status == 201
        session = User(fresh.url, "zoe", PASSWORD).sign_in()
        route = "/api/v1/account/second-factor"
        secret = base64.b32decode(session.ask("POST", route, {"password": PASSWORD}).json()["secret"])
        step = int(time.time()) // STEP_S
        told = session.ask("POST", f"{route}/confirm", {"code": code_at(secret, step)})
        page = context.new_page()
        page.goto("/")
        page.get_by_label("Name").fill("zoe")
        page.get_by_label("Password").fill(PASSWORD)
        press(page, "Enter")
        page.get_by_label("Code of your app").fill("000000")
        press(page, "Enter")
        page.get_by_text("That code is not right.").wait_for()
        # The app's own code was used up a moment ago.
        page.get_by_label("Code of your app").fill(told.json()["recovery_codes"][0])
        press(page, "Enter")
        page.get_by_text("Nothing here yet").wait_for()


def named(page: Page, name: str) -> None:
    """Wait until a name that was typed is in the list and its dialog gone: news may be there before the answer."""
    shown(page, name)
    page.get_by_role("dialog").wait_for(state="detached")


def test_files_by_keys_alone(context: BrowserContext, ann: Session) -> None:
    address = folder_of(ann, "keys", "a.txt", "b.txt", "c.txt", "d.txt")
    page = context.new_page()
    page.goto(address)
    shown(page, "a.txt")
    page.get_by_role("grid").focus()
    press(page, "n")
    page.keyboard.type("box")
    press(page, "Enter")
    named(page, "box")
    press(page, "Home", "ArrowDown", "F2")
    page.keyboard.type("first")
    press(page, "Enter")
    named(page, "first.txt")
    # From b through c, which are then deleted, and come back.
    page.get_by_role("grid").focus()
    press(page, "Home", "ArrowDown", "Shift+ArrowDown", "Delete")
    gone(page, "c.txt")
    assert names(ann, "/keys") == ["box", "d.txt", "first.txt"]
    page.get_by_role("button", name="Undo").last.focus()
    press(page, "Enter")
    shown(page, "c.txt")
    page.get_by_role("grid").focus()
    press(page, "End", "Enter")
    page.get_by_role("dialog").get_by_text("a.txt").last.wait_for()
    press(page, "Escape", "Home", "Enter")
    page.get_by_text("Nothing here yet").wait_for()
    press(page, "Backspace")
    shown(page, "first.txt")
    assert names(ann, "/keys") == ["b.txt", "box", "c.txt", "d.txt", "first.txt"]


def test_an_upload_never_replaces_a_file_unasked(context: BrowserContext, ann: Session) -> None:
    address = folder_of(ann, "kept", "plan.txt")
    page = context.new_page()
    page.goto(address)
    shown(page, "plan.txt")
    files = [{"name": name, "mimeType": "text/plain", "buffer": b"mine"} for name in ("plan.txt", "other.txt")]
    page.get_by_label("Upload files").set_input_files(files)  # type: ignore[arg-type]  # as playwright has it
    page.get_by_role("button", name="Keep both").click()
    shown(page, "plan (2).txt")
    assert names(ann, "/kept") == ["other.txt", "plan (2).txt", "plan.txt"]
    assert ann.ask("GET", "/api/v1/content", path="/kept/plan.txt").body == b"plan.txt"


def test_a_folder_is_uploaded_with_all_in_it_though_it_was_paused(
    context: BrowserContext, ann: Session, tmp_path: Path
) -> None:
    address = folder_of(ann, "tree")
    wanted = {f"/album/{part}/{number}.txt": f"{part} {number}" for part in "ab" for number in range(60)}
    for path, text in wanted.items():
        (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path[1:]).write_text(text)
    page = context.new_page()
    page.goto(address)
    page.get_by_text("Nothing here yet").wait_for()
    page.get_by_label("Upload a folder").set_input_files(tmp_path / "album")
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_text("Uploads are paused").wait_for()
    page.get_by_role("button", name="Resume", exact=True).click()
    page.get_by_text("120 files are uploaded").wait_for()
    for path in ("/album/a/0.txt", "/album/b/59.txt"):
        assert ann.ask("GET", "/api/v1/content", path=f"/tree{path}").body.decode() == wanted[path]
    assert [len(names(ann, f"/tree/album/{part}")) for part in "ab"] == [60, 60]


def test_an_upload_that_the_network_cut_is_tried_again(context: BrowserContext, ann: Session) -> None:
    address = folder_of(ann, "cut")
    page = context.new_page()
    page.route("**/api/v1/content?*", lambda route: route.abort(), times=1)
    page.goto(address)
    page.get_by_text("Nothing here yet").wait_for()
    note = {"name": "note.txt", "mimeType": "text/plain", "buffer": b"whole"}
    page.get_by_label("Upload files").set_input_files([note])  # type: ignore[list-item]  # as playwright has it
    page.get_by_text("1 file is uploaded").wait_for()
    assert ann.ask("GET", "/api/v1/content", path="/cut/note.txt").body == b"whole"


def test_moving_to_another_folder_can_be_undone(context: BrowserContext, ann: Session) -> None:
    address = folder_of(ann, "from", "a.txt")
    assert ann.ask("POST", "/api/v1/folders", {"path": "/from/to"}).status == 201
    page = context.new_page()
    page.goto(address)
    page.get_by_label("Select a.txt").check()
    page.get_by_role("button", name="Move", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="to", exact=True).click()
    page.get_by_role("button", name="Move here").click()
    gone(page, "a.txt")
    assert names(ann, "/from/to") == ["a.txt"]
    page.get_by_role("button", name="Undo").click()
    shown(page, "a.txt")
    assert names(ann, "/from/to") == []


def test_at_every_width_a_name_has_room_and_news_leave_the_tray_free(context: BrowserContext, ann: Session) -> None:
    name = "Minutes of the meeting.txt"
    address = folder_of(ann, "room", name, "gone.txt")
    page = context.new_page()
    page.goto(address)
    page.get_by_label("Upload files").set_input_files(
        [{"name": "sent.txt", "mimeType": "text/plain", "buffer": b"sent"}]  # type: ignore[list-item]
    )
    tray = page.get_by_text("1 file is uploaded")
    tray.wait_for()
    page.set_viewport_size({"width": 360, "height": 760})
    page.get_by_role("button", name="More for gone.txt").click()
    page.get_by_role("menuitem", name="Delete").click()
    news = page.get_by_text("“gone.txt” is in the trash.")
    for width in (360, 761, 1001, 1440):
        page.set_viewport_size({"width": width, "height": 760})
        row = page.get_by_role("button", name=name, exact=True)
        box, told, sent = (one.bounding_box() for one in (row, news, tray))
        assert box and told and sent
        assert box["width"] > 120, width
        is_beside = told["x"] + told["width"] < sent["x"]
        assert is_beside or told["y"] + told["height"] < sent["y"], width


def test_a_version_and_a_deleted_file_come_back(context: BrowserContext, ann: Session) -> None:
    address = folder_of(ann, "back", "note.txt", "lost.txt")
    assert ann.ask("PUT", "/api/v1/content", b"later", path="/back/note.txt").status == 200
    assert ann.ask("POST", "/api/v1/delete", {"path": "/back/lost.txt"}).status == 204
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="More for note.txt").click()
    page.get_by_role("menuitem", name="Details and versions").click()
    page.get_by_role("button", name="Restore", exact=True).click()
    page.get_by_text("Version 3").wait_for()
    assert ann.ask("GET", "/api/v1/content", path="/back/note.txt").body == b"note.txt"
    page.goto("/trash")
    page.get_by_role("button", name="Restore lost.txt").click()
    page.get_by_text("“lost.txt” is back.").wait_for()
    assert names(ann, "/back") == ["lost.txt", "note.txt"]


def test_two_browsers_show_the_same_without_a_reload(browser: Browser, context: BrowserContext, ann: Session) -> None:
    address = folder_of(ann, "live", "old.txt")
    here = context.new_page()
    with visiting(browser, ann.url, locale="de-DE") as other:
        signed_in(other)
        there = other.new_page()
        for page in (here, there):
            page.goto(address)
            shown(page, "old.txt")
        here.get_by_label("Upload files").set_input_files(
            [{"name": "new.txt", "mimeType": "text/plain", "buffer": b"new"}]  # type: ignore[list-item]
        )
        shown(there, "new.txt")
        there.get_by_label("old.txt auswählen").check()
        there.get_by_role("button", name="Löschen").click()
        gone(here, "old.txt")


def test_a_device_is_signed_in_by_its_code_and_out_again(context: BrowserContext, server: RunningServer) -> None:
    made = ask(server.url, "POST", "/api/v1/device-codes", {"device_name": "desk"}).json()
    page = context.new_page()
    page.goto("/device")
    page.get_by_label("Code", exact=True).fill(made["user_code"])
    press(page, "Enter")
    page.get_by_role("button", name="Sign it in").click()
    page.get_by_text("“desk” is signed in.").wait_for()
    token = _polled(server, made["device_code"])
    assert ask(server.url, "GET", "/api/v1/account", token=token).status == 200
    page.goto("/devices")
    page.get_by_role("button", name="Sign out desk").click()
    page.get_by_role("dialog").get_by_role("button", name="Sign out", exact=True).click()
    page.get_by_text("“desk” is signed out.").wait_for()
    assert ask(server.url, "GET", "/api/v1/account", token=token).status == 401


def _polled(server: RunningServer, device_code: str) -> str:
    told = ask(server.url, "POST", "/api/v1/device-codes/poll", {"device_code": device_code}).json()
    return str(told["signed_in"]["token"])


def test_what_is_in_a_file_runs_nowhere(context: BrowserContext, ann: Session) -> None:
    address = folder_of(ann, "active", "<img src=x onerror=alert(1)>.txt")
    nasty = (
        b"<script>alert(1)</script><img src=x onerror=alert(1)> [x](javascript:alert(1)) ![p](https://example.org/p)"
    )
    for name in ("page.html", "picture.svg", "text.md", "false.png"):
        assert ann.ask("PUT", "/api/v1/content", nasty, path=f"/active/{name}").status == 200
    page = context.new_page()
    alerts: list[str] = []
    page.on("dialog", lambda dialog: alerts.append(dialog.message))
    page.goto(address)
    for name in ("page.html", "picture.svg", "text.md"):
        page.get_by_role("button", name=name, exact=True).click()
        page.get_by_text("<script>alert(1)</script>").wait_for()
        press(page, "Escape")
    page.get_by_role("button", name="false.png", exact=True).click()
    page.get_by_text("No preview for this kind of file.").wait_for()
    assert page.locator("a[href^=javascript], iframe, object, embed").count() == 0
    assert alerts == []


def test_a_recording_is_played_where_it_is(context: BrowserContext, ann: Session) -> None:
    address = folder_of(ann, "heard")
    raw = io.BytesIO()
    with wave.open(raw, "wb") as sound:
        sound.setparams((1, 1, 8_000, 0, "NONE", ""))
        sound.writeframes(bytes(16_000))
    for name, data in (("two seconds.wav", raw.getvalue()), ("false.mp3", b"<script>alert(1)</script>")):
        assert ann.ask("PUT", "/api/v1/content", data, path=f"/heard/{name}").status == 200
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="two seconds.wav", exact=True).click()
    page.wait_for_function("() => document.querySelector('dialog audio')?.duration === 2")
    press(page, "Escape")
    page.get_by_role("button", name="false.mp3", exact=True).click()
    page.get_by_text("No preview for this kind of file.").wait_for()


def test_a_long_folder_is_shown_a_screen_at_a_time(context: BrowserContext, ann: Session) -> None:
    """Five pages of the list; how a hundred thousand rows scroll is a matter of figures."""
    address = folder_of(ann, "long")
    folder = bytes.fromhex(ann.ask("GET", "/api/v1/entry", path="/long").json()["id"])
    with Wire(ann) as wire:
        for first in range(0, 10_000, COMMIT_OPS_MAX):
            wire.commit(
                *[wire.create(f"file {at:05}.txt", parent=folder) for at in range(first, first + COMMIT_OPS_MAX)]
            )
    page = context.new_page()
    page.goto(address)
    page.get_by_text("10,000 items").wait_for()
    page.get_by_role("grid").focus()
    press(page, "End")
    shown(page, "file 09999.txt")
    assert page.get_by_role("row").count() < 100
    press(page, "Home")
    shown(page, "file 00000.txt")


def test_axe_finds_nothing_on_any_page(browser: Browser, ann: Session) -> None:
    address = folder_of(ann, "axe", "a.txt", "b.md")
    with visiting(browser, ann.url, locale="en-GB") as context:
        page = context.new_page()
        page.goto("/sign-in")
        page.get_by_label("Name").wait_for()
        clean(page)
        signed_in(context)
        for place, wait in (("/trash", "Trash"), ("/devices", "Devices and browsers"), ("/device", "Sign a device in")):
            page.goto(place)
            page.get_by_role("heading", name=wait, exact=True).wait_for()
            clean(page)
        page.goto(address)
        shown(page, "a.txt")
        page.get_by_label("Select a.txt").check()
        clean(page)
        page.get_by_role("button", name="More for b.md").click()
        clean(page)
        page.get_by_role("menuitem", name="Details and versions").click()
        page.get_by_text("Version 1").wait_for()
        clean(page)
        press(page, "Escape")
        page.get_by_role("button", name="b.md", exact=True).click()
        page.get_by_role("dialog").get_by_text("b.md").last.wait_for()
        clean(page)


def test_nothing_is_wider_than_a_narrow_screen_in_the_longer_language(browser: Browser, ann: Session) -> None:
    address = folder_of(ann, "narrow", "a file with rather a long name, as people have them.txt")
    with visiting(browser, ann.url, locale="de-DE", viewport={"width": 360, "height": 740}) as context:
        signed_in(context)
        page = context.new_page()
        for place in ("/trash", "/devices", "/device", address):
            page.goto(place)
            page.get_by_role("heading").first.wait_for()
            assert page.evaluate(OVERFLOWING) == []
        page.get_by_role("checkbox", name="a file with").check()
        assert page.evaluate(OVERFLOWING) == []
        page.get_by_role("button", name="Mehr zu").click()
        page.get_by_role("menuitem", name="Details und Versionen").click()
        page.get_by_text("Version 1").wait_for()
        assert page.evaluate(OVERFLOWING) == []
