"""Uploads of the web app in a real Chromium: large files, whole folders, what breaks off and what is in the way."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satchel.core.cutting import cut
from satchel.core.hashing import block_hash, content_hash
from satchel.core.limits import KIB, MIB
from tests.support.browser import ROOT, browser, node
from tests.support.devices import wait_for
from tests.support.pages import OVERFLOWING, ann, clean, context, folder_of, names, press, server, shown
from tests.support.server import PASSWORD, Session, User, ask
from tests.support.streams import counter_stream, low_entropy

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Request, Response, Route

__all__ = ["ann", "browser", "context", "server"]

THOUSAND_MS = 400_000
"""For a thousand files, on a machine that does much else."""
CUT = """
import {{ cut }} from '{folder}/cutting.js';
import {{ digestOf, sha256 }} from '{folder}/hashing.js';
import {{ readFileSync }} from 'node:fs';
const told = [];
for (const name of process.argv.slice(2)) {{
  const bytes = new Uint8Array(readFileSync(name));
  const plain = Buffer.from(digestOf(bytes)).toString('hex');
  told.push([cut(bytes, bytes.length, true), plain, await sha256(bytes)]);
}}
console.log(JSON.stringify(told));
"""


def opened(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(address)
    page.get_by_text("Nothing here yet").wait_for()
    return page


def choose(page: Page, *paths: Path) -> None:
    page.get_by_label("Upload files").set_input_files(paths)


def dropped(page: Page, *paths: Path) -> None:
    """Drop files and folders of the disk, as a person does with a mouse."""
    box = page.get_by_role("main").bounding_box()
    assert box is not None
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    line = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 200}
        line.send("Input.dispatchDragEvent", {"type": kind, **at, "data": data})


def stored(ann: Session, path: str) -> bytes:
    told = ann.ask("GET", "/api/v1/content", path=path)
    assert told.status == 200, told.body
    return told.body


class Sent:
    """What the pages of a browser sent of files' bytes. After `parts` of them the network is gone, until `mend`."""

    def __init__(self, context: BrowserContext, parts: int = 1_000_000) -> None:
        self.sizes: list[int] = []
        self.left = parts
        context.route("**/api/v1/uploads/*", self._asked)
        context.on("response", self._answered)

    def _answered(self, response: Response) -> None:
        if response.request.method == "PATCH" and response.status == 204:
            begun = int(response.request.headers["upload-offset"])
            self.sizes.append(int(response.headers["upload-offset"]) - begun)

    def _asked(self, route: Route, request: Request) -> None:
        if request.method != "PATCH":
            route.continue_()
        elif self.left > 0:
            self.left -= 1
            route.continue_()
        else:
            route.abort()

    def mend(self) -> None:
        self.left = 1_000_000


def broken_off(context: BrowserContext, ann: Session, folder: str, file: Path) -> tuple[Page, Sent]:
    """Begin an upload whose network goes away after its first part; return when the service has that part."""
    address = folder_of(ann, folder)
    sent = Sent(context, parts=1)
    page = opened(context, address)
    with page.expect_request_finished(lambda request: request.method == "PATCH"):
        choose(page, file)
    page.get_by_text("Interrupted. It goes on by itself.").wait_for()
    return page, sent


def nothing_begun(ann: Session) -> None:
    """Wait until the service has no upload that was begun: the page tells it, and does not wait for the answer."""
    wait_for(lambda: ann.ask("GET", "/api/v1/uploads").json()["items"] == [], "an upload is still there")


def test_the_page_cuts_and_hashes_as_the_service_does(tmp_path: Path) -> None:
    made = [counter_stream("page", size) for size in (0, 1, 55, 56, 64, 512 * KIB, 512 * KIB + 1, 5 * MIB + 3)]
    made += [low_entropy("page", 6 * MIB), bytes(9 * MIB + 1)]
    for number, data in enumerate(made):
        (tmp_path / str(number)).write_bytes(data)
    bundler = ROOT / "web/node_modules/rolldown/bin/cli.mjs"
    for name in ("cutting", "hashing"):
        command = [node(), bundler, ROOT / f"web/src/uploading/{name}.ts", "-o", tmp_path / f"{name}.js"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    (tmp_path / "told.mjs").write_text(CUT.format(folder=tmp_path))
    command = [node(), tmp_path / "told.mjs", *[tmp_path / str(number) for number in range(len(made))]]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    for data, (lengths, plain, native) in zip(made, told, strict=True):
        assert lengths == cut(data)
        assert plain == native == hashlib.sha256(data).hexdigest()


def test_only_what_is_new_of_a_file_is_sent(context: BrowserContext, ann: Session, tmp_path: Path) -> None:
    address = folder_of(ann, "versions")
    old = os.urandom(20 * MIB)
    assert ann.ask("PUT", "/api/v1/content", old, path="/film.bin").status == 200
    data = old[: 9 * MIB] + b"a scene more" + old[9 * MIB :]
    (tmp_path / "film.bin").write_bytes(data)
    sent = Sent(context)
    page = opened(context, address)
    choose(page, tmp_path / "film.bin")
    page.get_by_text("1 file is uploaded").wait_for()
    assert stored(ann, "/versions/film.bin") == data
    assert 0 < sum(sent.sizes) < 6 * MIB
    lengths, at, hashes = cut(data), 0, []
    for length in lengths:
        hashes.append(block_hash(data[at : at + length]))
        at += length
    item = ann.ask("GET", "/api/v1/entry", path="/versions/film.bin").json()
    assert item["content_hash"] == content_hash(hashes).hex()
    assert item["mtime_ns"] == (tmp_path / "film.bin").stat().st_mtime_ns // 1_000_000 * 1_000_000


def test_an_upload_goes_on_after_a_reload_from_what_the_service_has(
    context: BrowserContext, ann: Session, tmp_path: Path
) -> None:
    data = os.urandom(18 * MIB)
    (tmp_path / "film.bin").write_bytes(data)
    page, sent = broken_off(context, ann, "reload", tmp_path / "film.bin")
    before = sum(sent.sizes)
    page.reload()
    page.get_by_text("1 upload was not finished when the page was left.").wait_for()
    sent.mend()
    page.get_by_label("Choose the files again").set_input_files(tmp_path / "film.bin")
    page.get_by_text("1 file is uploaded").wait_for()
    assert stored(ann, "/reload/film.bin") == data
    assert before > 8 * MIB
    assert sum(sent.sizes) == len(data)
    page.reload()
    shown(page, "film.bin")
    page.get_by_text("not finished").wait_for(state="detached")
    nothing_begun(ann)


def test_a_file_that_changed_meanwhile_begins_anew(context: BrowserContext, ann: Session, tmp_path: Path) -> None:
    (tmp_path / "film.bin").write_bytes(os.urandom(18 * MIB))
    page, sent = broken_off(context, ann, "changed", tmp_path / "film.bin")
    page.reload()
    page.get_by_role("button", name="Choose the file again").wait_for()
    later = os.urandom(18 * MIB)
    (tmp_path / "film.bin").write_bytes(later)
    sent.mend()
    page.get_by_label("Choose the files again").set_input_files(tmp_path / "film.bin")
    page.get_by_text("1 file is uploaded").wait_for()
    assert stored(ann, "/changed/film.bin") == later
    nothing_begun(ann)


def test_a_short_file_goes_on_by_itself_after_a_reload(context: BrowserContext, ann: Session, tmp_path: Path) -> None:
    address = folder_of(ann, "kept by itself")
    data = os.urandom(3 * MIB)
    (tmp_path / "song.bin").write_bytes(data)
    sent = Sent(context, parts=0)
    page = opened(context, address)
    choose(page, tmp_path / "song.bin")
    page.get_by_text("Interrupted. It goes on by itself.").wait_for()
    page.wait_for_function(
        """() => new Promise(done => {
          const asked = indexedDB.open('satchel.uploads');
          asked.onsuccess = () => {
            const count = asked.result.transaction('uploads').objectStore('uploads').count();
            count.onsuccess = () => { asked.result.close(); done(count.result === 1); };
          };
        })"""
    )
    sent.mend()
    page.reload()
    page.get_by_text("1 file is uploaded").wait_for()
    assert stored(ann, "/kept by itself/song.bin") == data


def test_an_upload_of_one_account_never_goes_on_for_the_next(
    context: BrowserContext, ann: Session, tmp_path: Path
) -> None:
    (tmp_path / "film.bin").write_bytes(os.urandom(18 * MIB))
    token = ann.ask("POST", "/api/v1/invitations", {}).json()["token"]
    taken = {"token": token, "user": "eve", "password": PASSWORD}
    assert ask(ann.url, "POST", "/api/v1/invitations/accept", taken).status == 201
    page, sent = broken_off(context, ann, "unfinished", tmp_path / "film.bin")
    page.get_by_role("button", name="Account and appearance").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("dialog").get_by_role("button", name="Sign out").click()
    # In the same page: nothing is loaded anew between the two.
    page.get_by_label("Name").fill("eve")
    page.get_by_label("Password").fill(PASSWORD)
    press(page, "Enter")
    page.get_by_text("Nothing here yet").wait_for()
    sent.mend()
    (tmp_path / "hers.bin").write_bytes(os.urandom(6 * MIB))
    choose(page, tmp_path / "hers.bin")
    page.get_by_text("1 file is uploaded").wait_for()
    eve = User(ann.url, "eve", PASSWORD).sign_in("phone")
    assert names(eve, "/") == ["hers.bin"]
    for left in ann.ask("GET", "/api/v1/uploads").json()["items"]:
        assert ann.ask("DELETE", f"/api/v1/uploads/{left['id']}").status == 204


def test_one_file_is_paused_while_others_go_on(context: BrowserContext, ann: Session, tmp_path: Path) -> None:
    data = os.urandom(18 * MIB)
    (tmp_path / "film.bin").write_bytes(data)
    page, sent = broken_off(context, ann, "paused", tmp_path / "film.bin")
    page.get_by_role("button", name="Pause film.bin").click()
    page.get_by_text("Paused,").wait_for()
    (tmp_path / "note.txt").write_text("note")
    choose(page, tmp_path / "note.txt")
    shown(page, "note.txt")
    assert names(ann, "/paused") == ["note.txt"]
    sent.mend()
    page.get_by_role("button", name="Resume film.bin").click()
    page.get_by_text("2 files are uploaded").wait_for()
    assert stored(ann, "/paused/film.bin") == data
    assert sum(sent.sizes) == len(data)


def test_a_service_that_is_busy_is_asked_again_when_it_said(
    context: BrowserContext, ann: Session, tmp_path: Path
) -> None:
    address = folder_of(ann, "busy")
    page = opened(context, address)
    fault = json.dumps({"error": {"code": "too_many_requests", "message": "", "hint": "", "id": ""}})
    refusals = [429, 503]

    def answered(route: Route) -> None:
        if refusals:
            route.fulfill(status=refusals.pop(0), body=fault, headers={"retry-after": "1"})
        else:
            route.continue_()

    page.route("**/api/v1/content?*", answered)
    (tmp_path / "note.txt").write_text("note")
    choose(page, tmp_path / "note.txt")
    page.get_by_text("1 file is uploaded").wait_for()
    assert (refusals, stored(ann, "/busy/note.txt")) == ([], b"note")


def test_a_folder_of_a_thousand_files_is_dropped(context: BrowserContext, ann: Session, tmp_path: Path) -> None:
    address = folder_of(ann, "album")
    tree = tmp_path / "pictures"
    wanted = {f"{part}/{number}.txt": f"{part} {number}" for part in ("a", "b/c") for number in range(500)}
    for path, text in wanted.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    (tree / "empty").mkdir()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
    page = opened(context, address)
    dropped(page, tree)
    page.get_by_text("1,001 files are uploaded").wait_for(timeout=THOUSAND_MS)
    assert page.get_by_role("listitem").count() < 100
    assert names(ann, "/album/pictures") == ["a", "b", "empty"]
    for folder in ("a", "b/c"):
        assert len(names(ann, f"/album/pictures/{folder}")) == 500
    assert stored(ann, "/album/pictures/b/c/499.txt") == b"b/c 499"
    assert len([one for one in asked if one.startswith("PUT")]) == 1_000
    assert len([one for one in asked if one.endswith("/api/v1/folders")]) == 5


def test_names_that_are_taken_are_asked_about_once(context: BrowserContext, ann: Session, tmp_path: Path) -> None:
    taken = [f"{number}.txt" for number in range(30)]
    address = folder_of(ann, "taken", *taken)
    (tmp_path / "new.txt").write_text("new")
    for name in taken:
        (tmp_path / name).write_text("mine")
    page = context.new_page()
    page.goto(address)
    shown(page, "0.txt")
    choose(page, *[tmp_path / name for name in (*taken, "new.txt")])
    page.get_by_text("30 files of these names are there already.").wait_for()
    page.get_by_text("31 items").wait_for()
    assert stored(ann, "/taken/7.txt") == b"7.txt"
    page.get_by_role("button", name="Replace all").click()
    page.get_by_text("31 files are uploaded").wait_for()
    assert {stored(ann, f"/taken/{name}") for name in taken} == {b"mine"}
    # And decided before all of them were seen: the others follow.
    choose(page, *[tmp_path / name for name in taken])
    page.get_by_role("button", name="Keep both").click()
    page.get_by_text("61 files are uploaded").wait_for()
    assert len(names(ann, "/taken")) == 61


def test_what_cannot_be_uploaded_says_why_and_the_others_go_on(
    context: BrowserContext, ann: Session, tmp_path: Path
) -> None:
    address = folder_of(ann, "odd")
    tree = tmp_path / "odd"
    for path in ("Plan.txt", "plan.txt", "good.txt"):
        tree.mkdir(exist_ok=True)
        (tree / path).write_text(path)
    page = opened(context, address)
    dropped(page, tree)
    page.get_by_text("in case alone.").wait_for()
    page.get_by_role("button", name="Keep both").click()
    page.get_by_text("3 files are uploaded").wait_for()
    first, second = sorted(name for name in names(ann, "/odd/odd") if name != "good.txt")
    assert {first.lower(), second.lower()} == {"plan.txt", "plan (2).txt"}
    many = [{"name": name, "mimeType": "text/plain", "buffer": b"x"} for name in ("x" * 300, "short.txt")]
    page.get_by_label("Upload files").set_input_files(many)  # type: ignore[arg-type]  # as playwright has it
    page.get_by_text("1 upload needs you").wait_for()
    page.get_by_text("This name cannot be used.").wait_for()
    assert names(ann, "/odd") == ["odd", "short.txt"]
    page.get_by_role("button", name="Stop all uploads").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop all uploads").click()
    page.get_by_text("4 files are uploaded").wait_for()


REMEMBERED = """() => new Promise((resolve) => {
    indexedDB.open('satchel.uploads').onsuccess = (event) => {
        const all = event.target.result.transaction('uploads').objectStore('uploads').getAll();
        all.onsuccess = () => resolve(all.result.length);
    };
})"""


def test_what_was_stopped_is_forgotten_by_a_page_that_is_left_at_once(context: BrowserContext, ann: Session) -> None:
    page = opened(context, folder_of(ann, "let go of"))
    page.route(
        "**/api/v1/content**", lambda route: route.abort() if "PUT" in route.request.method else route.continue_()
    )
    page.get_by_label("Upload files").set_input_files([{"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"}])
    page.get_by_text("Interrupted").wait_for()
    page.wait_for_function(f"async () => (await ({REMEMBERED})()) === 1")
    page.get_by_role("button", name="Stop all uploads").click()
    # In one turn: before what is written a little later would have been.
    page.evaluate(
        """() => {
            const all = [...document.querySelectorAll('dialog button')];
            all.find(one => one.innerText === 'Stop all uploads').click();
            location.reload();
        }"""
    )
    page.wait_for_load_state()
    page.get_by_text("Nothing here yet").wait_for()
    assert page.evaluate(REMEMBERED) == 0


def test_a_folder_and_a_selection_are_downloaded_as_archives(context: BrowserContext, ann: Session) -> None:
    address = folder_of(ann, "down", "a.txt", "b.txt", "c.txt")
    folder_of(ann, "down/deep", "d.txt")
    page = context.new_page()
    page.goto(address)
    shown(page, "a.txt")
    wanted: list[tuple[tuple[str, ...], Any]] = [
        (("deep",), ["deep/", "deep/d.txt"]),
        (("deep", "a.txt", "c.txt"), ["down/", "down/a.txt", "down/c.txt", "down/deep/", "down/deep/d.txt"]),
    ]
    for chosen, inside in wanted:
        for name in chosen:
            page.get_by_label(f"Select {name}").check()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            assert (archive.testzip(), sorted(archive.namelist())) == (None, inside)
        page.get_by_role("button", name="Clear the selection").click()


def test_the_tray_is_for_everybody(context: BrowserContext, ann: Session, tmp_path: Path) -> None:
    """Axe finds nothing, it is not too wide, and the question is answered by keys alone."""
    address = folder_of(ann, "tray", "a.txt")
    (tmp_path / "a.txt").write_text("mine")
    (tmp_path / "film.bin").write_bytes(os.urandom(1 * MIB))
    Sent(context, parts=0)
    page = context.new_page()
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(address)
    shown(page, "a.txt")
    choose(page, tmp_path / "a.txt", tmp_path / "film.bin")
    page.get_by_role("button", name="Keep both").wait_for()
    page.get_by_text("Interrupted").wait_for()
    clean(page)
    assert page.evaluate(OVERFLOWING) == []
    page.get_by_role("button", name="Keep both").focus()
    press(page, "Enter")
    shown(page, "a (2).txt")
    page.get_by_role("button", name="Do not upload film.bin").focus()
    press(page, "Enter")
    page.get_by_text("1 file is uploaded").wait_for()
    nothing_begun(ann)
