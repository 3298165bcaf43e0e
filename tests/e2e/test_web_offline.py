"""The web app without its server, in a real Chromium: what is kept is read, what is changed waits, who leaves leaves
nothing."""

from __future__ import annotations

import io
import json
import os
import subprocess
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from satchel.core.limits import MIB
from tests.browser.shots import PICTURE
from tests.support.browser import ROOT, browser, node, visiting
from tests.support.offline import AWAY, back, counted, held, keep, menu, offline, ready, saying, stopped, until
from tests.support.pages import OVERFLOWING, ann, clean, context, folder_of, gone, names, server, shown, signed_in
from tests.support.server import PASSWORD, RunningServer, Session, ask

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

__all__ = ["ann", "browser", "context", "server"]

EDITS = """
import {{ withEdits, pathAtService, isMadeHere }} from '{folder}/edits.js';
const item = (id, name) => ({{ id, name, kind: 'file' }});
const edit = (kind, path, to, item, problem = '') => ({{ kind, path, to, item, problem }});
const names = (items) => items.map((one) => one.name);
const a = item('a', 'a.txt');
const plans = item('p', 'plans');
const moved = [
  edit('move', '/a.txt', '/b.txt', a),
  edit('move', '/plans', '/old', plans),
  edit('move', '/b.txt', '/old/b.txt', {{ ...a, name: 'b.txt' }}),
  edit('delete', '/old/x.txt', '', item('x', 'x.txt')),
  edit('folder', '', '/old/new', item('new-1', 'new')),
  edit('delete', '/kept.txt', '', item('k', 'kept.txt'), 'precondition_failed'),
];
console.log(JSON.stringify([
  names(withEdits([a, plans, item('k', 'kept.txt')], '/', moved)),
  names(withEdits([item('x', 'x.txt'), item('y', 'y.txt')], '/old', moved)),
  pathAtService('/old/deep', moved),
  isMadeHere('/old/new', moved),
  isMadeHere('/old', moved),
  names(withEdits([item('z', 'b.txt'), plans, a], '/', moved.slice(0, 1))),
]));
"""


def opened(context: BrowserContext, address: str, name: str) -> Page:
    """Open a folder whose page the worker answers for."""
    page = context.new_page()
    page.goto(address)
    shown(page, name)
    ready(page)
    return page


def filled(ann: Session, name: str) -> str:
    """Make a folder with a note, a picture, a folder in it and a file of several blocks; return its page's address."""
    address = folder_of(ann, name, "note.md", "todo.txt")
    assert ann.ask("POST", "/api/v1/folders", {"path": f"/{name}/deep"}).status == 201
    for path, body in {"dot.png": PICTURE, "deep/inside.txt": b"far inside", "film.bin": os.urandom(5 * MIB)}.items():
        assert ann.ask("PUT", "/api/v1/content", body, path=f"/{name}/{path}").status == 200
    return address


def test_folders_with_edits_that_wait_look_as_they_will(tmp_path: Path) -> None:
    bundler = ROOT / "web/node_modules/rolldown/bin/cli.mjs"
    command = [node(), bundler, ROOT / "web/src/offline/edits.ts", "-o", tmp_path / "edits.js"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    (tmp_path / "told.mjs").write_text(EDITS.format(folder=tmp_path))
    told = subprocess.run([node(), tmp_path / "told.mjs"], check=True, capture_output=True, timeout=60).stdout
    assert json.loads(told) == [
        ["kept.txt", "old"],
        ["y.txt", "b.txt", "new"],
        "/plans/deep",
        True,
        False,
        ["b.txt", "plans"],
    ]


def test_a_kept_folder_is_read_while_the_server_is_stopped(
    context: BrowserContext, ann: Session, server: RunningServer
) -> None:
    address = filled(ann, "kept")
    page = opened(context, "/files", "kept")
    keep(page, "kept")
    page.get_by_role("row").filter(has_text="kept").get_by_text("Kept offline").first.wait_for(state="attached")
    with stopped(server):
        # All pages are new ones: nothing of them was read while there was a server.
        page.goto(address)
        page.get_by_text(AWAY).wait_for()
        page.get_by_text("Offline: only what this browser keeps is shown.").wait_for()
        page.get_by_role("button", name="note.md", exact=True).click()
        page.get_by_role("dialog").get_by_text("note.md").nth(1).wait_for()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        page.get_by_role("dialog").get_by_role("img", name="dot.png").wait_for()
        with page.expect_download() as download:
            page.get_by_role("dialog").get_by_role("link", name="Download").click()
        assert download.value.path().read_bytes() == PICTURE
        page.keyboard.press("Escape")
        page.get_by_role("button", name="deep", exact=True).click()
        page.get_by_role("button", name="inside.txt", exact=True).click()
        page.get_by_text("far inside").wait_for()
        page.keyboard.press("Escape")
        clean(page)
        # What is not kept says so, and the way to what is kept is found from the root.
        page.goto("/files/nothing")
        page.get_by_text("This folder is not kept offline.").wait_for()
        page.goto("/")
        shown(page, "kept")
        page.goto("/offline")
        page.get_by_text("5 files").wait_for()
        clean(page)
    back(page)
    page.get_by_role("button", name="Bring up to date").wait_for()


def test_a_kept_recording_is_played_without_a_network(context: BrowserContext, ann: Session) -> None:
    address = folder_of(ann, "played")
    raw = io.BytesIO()
    with wave.open(raw, "wb") as sound:
        sound.setparams((1, 1, 8_000, 0, "NONE", ""))
        sound.writeframes(bytes(16_000))
    assert ann.ask("PUT", "/api/v1/content", raw.getvalue(), path="/played/two seconds.wav").status == 200
    page = opened(context, address, "two seconds.wav")
    page.get_by_role("button", name="More for this folder").click()
    page.get_by_role("menuitem", name="Keep offline").click()
    page.get_by_text("“played” can be read offline now.").wait_for()
    with offline(context, page):
        page.goto(address)
        page.get_by_role("button", name="two seconds.wav", exact=True).click()
        page.wait_for_function("() => document.querySelector('dialog audio')?.duration === 2")


def test_what_is_changed_offline_waits_and_goes(context: BrowserContext, ann: Session) -> None:
    address = filled(ann, "changed")
    page = opened(context, "/files", "changed")
    keep(page, "changed")
    page.goto(address)
    shown(page, "note.md")
    with offline(context, page):
        menu(page, "note.md", "Rename")
        page.get_by_role("textbox", name="Name").fill("letter.md")
        page.keyboard.press("Enter")
        shown(page, "letter.md")
        menu(page, "todo.txt", "Delete")
        gone(page, "todo.txt")
        page.get_by_role("button", name="New folder").click()
        page.get_by_role("textbox", name="Name").fill("later")
        page.keyboard.press("Enter")
        shown(page, "later")
        menu(page, "dot.png", "Move")
        page.get_by_role("dialog").get_by_role("button", name="deep").click()
        page.get_by_role("button", name="Move here").click()
        gone(page, "dot.png")
        menu(page, "deep", "Delete")
        page.get_by_text("A folder can be deleted when you are online").wait_for()
        page.get_by_label("Upload files").set_input_files(
            [{"name": "sent.txt", "mimeType": "text/plain", "buffer": b"written on the way"}]  # type: ignore[list-item]
        )
        page.get_by_text("1 file waits until you are online").wait_for()
        page.get_by_role("link", name="5 changes wait").wait_for()
        # A page that is loaded anew shows the same.
        until(page, counted("satchel.uploads", "uploads", 1))
        page.reload()
        page.get_by_text(AWAY).wait_for()
        for name in ("letter.md", "later", "deep"):
            shown(page, name)
        gone(page, "todo.txt")
        gone(page, "dot.png")
        assert set(names(ann, "/changed")) == {"note.md", "todo.txt", "deep", "dot.png", "film.bin"}
        page.get_by_role("link", name="changes wait").click()
        page.get_by_text("Rename to “letter.md”").wait_for()
        page.get_by_role("button", name="Do not do it: todo.txt").click()
        page.get_by_text("Put into the trash").wait_for(state="detached")
        clean(page)
    back(page)
    page.get_by_text("3 changes that waited are made.").wait_for()
    page.get_by_text("1 file is uploaded").wait_for()
    assert set(names(ann, "/changed")) == {"letter.md", "todo.txt", "deep", "film.bin", "later", "sent.txt"}
    assert names(ann, "/changed/deep") == ["dot.png", "inside.txt"]
    assert ann.ask("GET", "/api/v1/content", path="/changed/sent.txt").body == b"written on the way"
    page.goto(address)
    shown(page, "letter.md")


def test_an_edit_that_meets_a_change_of_elsewhere_is_asked_about(context: BrowserContext, ann: Session) -> None:
    address = folder_of(ann, "met", "plan.txt", "list.txt")
    page = opened(context, "/files", "met")
    keep(page, "met")
    page.goto(address)
    shown(page, "plan.txt")
    with offline(context, page):
        menu(page, "plan.txt", "Delete")
        gone(page, "plan.txt")
        menu(page, "list.txt", "Rename")
        page.get_by_role("textbox", name="Name").fill("lists.txt")
        page.keyboard.press("Enter")
        shown(page, "lists.txt")
        for name in ("plan", "list"):
            assert ann.ask("PUT", "/api/v1/content", b"new words", path=f"/met/{name}.txt").status == 200
    back(page)
    # A new name does no harm to what another one wrote; a deletion would.
    page.get_by_text("1 change that waited is made.").wait_for()
    assert set(names(ann, "/met")) == {"plan.txt", "lists.txt"}
    assert ann.ask("GET", "/api/v1/content", path="/met/lists.txt").body == b"new words"
    shown(page, "plan.txt")
    page.goto("/offline")
    page.get_by_text("Somebody changed it meanwhile.").wait_for()
    page.get_by_text("Needs you").wait_for()
    clean(page)
    page.get_by_role("button", name="Try again: plan.txt").click()
    page.get_by_text("Changes that wait").wait_for(state="detached")
    assert names(ann, "/met") == ["lists.txt"]


def test_what_is_kept_follows_what_happens_elsewhere(context: BrowserContext, ann: Session) -> None:
    folder_of(ann, "followed", "a.txt", "b.txt")
    page = opened(context, "/files", "followed")
    keep(page, "followed")
    page.goto("/offline")
    page.get_by_text("2 files").wait_for()
    assert ann.ask("PUT", "/api/v1/content", b"the newest", path="/followed/a.txt").status == 200
    assert ann.ask("PUT", "/api/v1/content", b"one more", path="/followed/c.txt").status == 200
    assert ann.ask("POST", "/api/v1/move", {"from": "/followed", "to": "/led"}).status == 200
    page.get_by_role("link", name="led", exact=True).wait_for()
    page.get_by_text("3 files").wait_for()
    # It is led elsewhere while no page is open, and found there.
    page.goto("about:blank")
    assert ann.ask("POST", "/api/v1/folders", {"path": "/above"}).status == 201
    assert ann.ask("POST", "/api/v1/move", {"from": "/led", "to": "/above/led"}).status == 200
    page.goto("/offline")
    page.get_by_text("/above").wait_for()
    with offline(context, page):
        page.goto("/files")
        page.get_by_role("button", name="above", exact=True).click()
        page.get_by_role("button", name="led", exact=True).click()
        page.get_by_role("button", name="a.txt", exact=True).click()
        page.get_by_text("the newest").wait_for()
    page.goto("/offline")
    assert ann.ask("POST", "/api/v1/delete", {"path": "/above"}).status == 204
    page.get_by_text("It is not there any more.").wait_for()
    page.get_by_role("button", name="Remove led").click()
    page.get_by_text("Nothing is kept offline yet").wait_for()


def test_what_is_not_what_its_hash_says_is_not_kept(context: BrowserContext, ann: Session) -> None:
    folder_of(ann, "checked", "good.txt", "bad.txt")
    bad = ann.ask("GET", "/api/v1/entry", path="/checked/bad.txt").json()["id"]
    page = opened(context, "/files", "checked")
    page.route(f"**/api/v1/content?id={bad}*", lambda route: route.fulfill(body=b"bad.tx!"))
    menu(page, "checked", "Keep offline")
    page.get_by_text("Some of it could not be fetched and checked.").wait_for()
    page.goto("/files/checked")
    shown(page, "bad.txt")
    with offline(context, page):
        page.reload()
        shown(page, "good.txt")
        gone(page, "bad.txt")


def test_what_the_browser_has_no_room_for_is_told(context: BrowserContext, ann: Session, server: RunningServer) -> None:
    folder_of(ann, "large")
    assert ann.ask("PUT", "/api/v1/content", os.urandom(5 * MIB), path="/large/film.bin").status == 200
    page = opened(context, "/files", "large")
    line = context.new_cdp_session(page)
    line.send("Storage.overrideQuotaForOrigin", {"origin": server.url, "quotaSize": 4 * MIB})
    menu(page, "large", "Keep offline")
    page.get_by_text("It takes 5.2 MB, and this browser has").wait_for()
    page.goto("/offline")
    page.get_by_text("It takes 5.2 MB, and this browser has").first.wait_for()
    line.send("Storage.overrideQuotaForOrigin", {"origin": server.url})
    page.get_by_role("button", name="Bring up to date").click()
    page.get_by_text("Up to date", exact=True).wait_for()


@pytest.mark.parametrize("is_online", [True, False])
def test_who_signs_out_leaves_nothing(
    browser: Browser, context: BrowserContext, ann: Session, server: RunningServer, is_online: bool
) -> None:
    address = folder_of(ann, f"left {is_online}", "secret.txt")
    page = opened(context, "/files", f"left {is_online}")
    keep(page, f"left {is_online}")
    page.goto(address)
    shown(page, "secret.txt")
    beside = opened(context, address, "secret.txt")
    files = set(held(page)["urls"])
    assert held(page)["databases"] == ["satchel.offline", "satchel.uploads"]
    context.set_offline(True)
    page.get_by_text(AWAY).wait_for()
    menu(page, "secret.txt", "Rename")
    page.get_by_role("textbox", name="Name").fill("told.txt")
    page.keyboard.press("Enter")
    shown(page, "told.txt")
    if is_online:
        # Either of them may be the one that makes it; who looks at the other one is told as well.
        with saying("1 change that waited is made.", page, beside):
            context.set_offline(False)
            back(page)
            back(beside)
    page.get_by_role("button", name="Account and appearance").click()
    page.get_by_role("button", name="Sign out").click()
    if not is_online:
        page.get_by_text("1 change or upload is not done yet. It is let go of.").wait_for()
        page.get_by_role("dialog").get_by_role("button", name="Sign out").click()
    for one in (page, beside):
        one.get_by_role("heading", name="Sign in").wait_for()
    assert held(page)["databases"] == []
    # What stays answers the app's own files, which everybody gets from the server.
    assert set(held(page)["urls"]) == files
    assert all(path.startswith("/assets/") or "/" not in path[1:] for path in files)
    page.goto("/files")
    page.get_by_text("secret.txt").or_(page.get_by_text("told.txt")).wait_for(state="detached")
    if not is_online:
        page.get_by_text("The server cannot be reached.").wait_for()
        context.set_offline(False)
        page.get_by_role("button", name="Try again").click()
    # The service knows of it too, as soon as it is reached.
    page.get_by_role("heading", name="Sign in").wait_for()
    assert context.request.get("/api/v1/account").status == 401
    assert names(ann, f"/left {is_online}") == (["told.txt"] if is_online else ["secret.txt"])


def test_another_account_sees_nothing_of_the_one_before(
    context: BrowserContext, ann: Session, server: RunningServer
) -> None:
    folder_of(ann, "mine", "diary.txt")
    page = opened(context, "/files", "mine")
    keep(page, "mine")
    token = ann.ask("POST", "/api/v1/invitations", {}).json()["token"]
    taken = {"token": token, "user": "eve", "password": PASSWORD}
    assert ask(server.url, "POST", "/api/v1/invitations/accept", taken).status == 201
    # The session is over without a word of the person: another one signs in at the same browser.
    assert page.evaluate("fetch('/api/v1/logout', { method: 'POST' }).then((answer) => answer.status)") == 204
    assert context.request.post("/api/v1/sessions", data={"user": "eve", "password": PASSWORD}).status == 201
    page.goto("/offline")
    page.get_by_text("Nothing is kept offline yet").wait_for()
    with offline(context, page):
        page.goto("/files")
        page.get_by_text("Nothing is kept offline yet").wait_for()
        assert page.get_by_text("diary.txt").or_(page.get_by_text("mine")).count() == 0
    context.clear_cookies()
    signed_in(context)


def test_a_session_that_was_ended_elsewhere_takes_the_copies_along(context: BrowserContext, ann: Session) -> None:
    folder_of(ann, "lost", "note.txt")
    page = opened(context, "/files", "lost")
    keep(page, "lost")
    told = ann.ask("POST", "/api/v1/logout-others")
    assert told.status == 204, told.body
    page.get_by_role("heading", name="Sign in").wait_for()
    until(page, counted("satchel.offline", "contents", 0))
    context.set_offline(True)
    page.goto("/files/lost")
    page.get_by_text("The server cannot be reached.").wait_for()
    assert page.get_by_text("note.txt").count() == 0
    context.set_offline(False)


def test_the_offline_pages_fit_a_narrow_screen_in_the_longer_language(
    browser: Browser, ann: Session, server: RunningServer
) -> None:
    address = filled(ann, "schmal")
    with visiting(browser, server.url, locale="de-DE", viewport={"width": 360, "height": 740}) as made:
        signed_in(made)
        page = opened(made, "/files", "schmal")
        page.get_by_role("button", name="Mehr zu schmal").click()
        page.get_by_role("menuitem", name="Offline behalten").click()
        page.get_by_text("„schmal“ ist jetzt auch offline lesbar.").wait_for()
        made.set_offline(True)
        for place in (address, "/offline", "/files", "/files/anderswo"):
            page.goto(place)
            page.get_by_text("Sie sind offline.").wait_for()
            page.get_by_text("Wird geladen").first.wait_for(state="detached")
            assert page.evaluate(OVERFLOWING) == [], place
            clean(page)
        made.set_offline(False)
