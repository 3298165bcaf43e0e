"""A new release of the web app in a browser that has the one before: used at once, never mixed with it, and opened
without a network. The app can be installed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.browser import browser, visiting
from tests.support.offline import AWAY, held, ready, until
from tests.support.pages import folder_of, shown, signed_in
from tests.support.server import PASSWORD, RunningServer, Session, User, ask, running_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["browser"]

ROOT = Path(__file__).parents[2]
TAKEN_OVER = """await (async () => {
  const { installing, waiting, active } = await navigator.serviceWorker.ready;
  const isMade = (await caches.keys()).some((one) => !given.includes(one));
  return isMade && !installing && !waiting && active.state === 'activated';
})()"""


class Release(RunningServer):
    """The server of another release: a copy of the package whose app was built of other sources."""

    def __init__(self, data: Path, listen: str, package: Path) -> None:
        RunningServer.__init__(self, data, ("--listen", listen))
        self._package = package

    def start(self) -> None:
        """Start it from the copy, in a process that imported nothing before."""
        command = [sys.executable, "-m", "satchel.server", "--data", str(self.data), *self.arguments]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SATCHEL_")}
        with (self.data.parent / "release.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=clean | {"PYTHONPATH": str(self._package)}, stdout=subprocess.PIPE, stderr=log
            )
        assert self._first_line(), (self.data.parent / "release.log").read_text()


def release(folder: Path, mark: str) -> Path:
    """Make a release whose files all differ from ours in name and content; return where it is imported from."""
    shutil.copytree(
        ROOT / "src" / "satchel", folder / "satchel", ignore=shutil.ignore_patterns("__pycache__", "*.br", "*.gz")
    )
    static = folder / "satchel" / "server" / "gateway" / "static"
    texts = [path for path in static.rglob("*") if path.suffix in (".js", ".css", ".html")]
    renamed = {path.name: f"{path.stem}{mark}{path.suffix}" for path in texts if path.parent.name == "assets"}
    anywhere = re.compile("|".join(map(re.escape, sorted(renamed, key=len, reverse=True))))
    for path in texts:
        told = anywhere.sub(lambda found: renamed[found[0]], path.read_text())
        path.write_text(
            re.sub(r"satchel\.app \w{32}", f"satchel.app {hashlib.sha256(mark.encode()).hexdigest()[:32]}", told)
        )
        if path.name in renamed:
            path.rename(path.with_name(renamed[path.name]))
    return folder


@contextmanager
def replaced(server: RunningServer, package: Path) -> Iterator[None]:
    """Have another release serve the same data at the same address."""
    server.stop()
    other = Release(server.data, f"127.0.0.1:{server.port}", package)
    other.start()
    try:
        yield
    finally:
        other.stop()


def scripts(page: Page) -> list[str]:
    """Return the names of all scripts and styles that a page asked for."""
    asked: list[str] = page.evaluate("performance.getEntriesByType('resource').map(one => new URL(one.name).pathname)")
    return [path for path in asked if path.startswith("/assets/")]


def builds(page: Page) -> list[str]:
    found: list[str] = page.evaluate("caches.keys()")
    return found


def prepared(server: RunningServer) -> Session:
    asked = {"code": server.setup_code, "user": "ann", "password": PASSWORD}
    assert ask(server.url, "POST", "/api/v1/setup", asked).status == 201
    ann = User(server.url, "ann", PASSWORD).sign_in("laptop")
    folder_of(ann, "kept", "note.txt")
    return ann


def test_a_new_release_takes_over_and_none_is_mixed_with_another(browser: Browser, tmp_path: Path) -> None:
    packages = {mark: release(tmp_path / mark, mark) for mark in ("NEXT", "LAST")}
    with running_server(tmp_path) as server, visiting(browser, server.url, locale="en-GB") as context:
        prepared(server)
        signed_in(context)
        first = context.new_page()
        first.goto("/files")
        shown(first, "kept")
        ready(first)
        before = builds(first)
        assert len(before) == 1
        for mark, package in packages.items():
            with replaced(server, package):
                page = context.new_page()
                page.goto("/files")
                shown(page, "kept")
                assert scripts(page), "the page asked for nothing"
                assert [path for path in scripts(page) if mark not in path] == []
                until(page, TAKEN_OVER, before)
                if mark == "NEXT":
                    # The page of before is whole still, with what it had not asked for when its release went.
                    first.get_by_role("link", name="Trash").click()
                    first.get_by_role("heading", name="Trash").wait_for()
                    assert not [path for path in scripts(first) if mark in path]
                context.set_offline(True)
                page.goto("/files")
                page.get_by_text(AWAY).wait_for()
                assert [path for path in scripts(page) if mark not in path] == []
                context.set_offline(False)
                after = builds(page)
                # Its own, and the one before for pages that are open.
                assert len(after) == 2
                assert before[-1] in after
                before = sorted(after, key=lambda one: one in before, reverse=True)
        # What was stopped is started once more for the block's end.
        server.start()


def test_a_page_that_is_open_for_hours_knows_of_a_new_release_without_a_visit(browser: Browser, tmp_path: Path) -> None:
    package = release(tmp_path / "NEXT", "NEXT")
    with running_server(tmp_path) as server, visiting(browser, server.url, locale="en-GB") as context:
        prepared(server)
        signed_in(context)
        page = context.new_page()
        page.clock.install()
        page.goto("/files")
        shown(page, "kept")
        ready(page)
        before = builds(page)
        with replaced(server, package):
            page.clock.fast_forward("01:01:00")
            until(page, TAKEN_OVER, before)
        server.start()


def test_the_app_is_installed_as_the_manifest_says(browser: Browser, tmp_path: Path) -> None:
    with running_server(tmp_path) as server, visiting(browser, server.url, locale="en-GB") as context:
        prepared(server)
        signed_in(context)
        page = context.new_page()
        page.goto("/files")
        ready(page)
        line = context.new_cdp_session(page)
        told = line.send("Page.getAppManifest")
        assert told["errors"] == []
        assert told["url"] == f"{server.url}/app.webmanifest"
        errors = line.send("Page.getInstallabilityErrors")["installabilityErrors"]
        # A test's browser has a space of its own, which it calls incognito.
        assert {one["errorId"] for one in errors} <= {"in-incognito"}
        page.goto(
            page.evaluate("fetch('/app.webmanifest').then((answer) => answer.json()).then((all) => all.start_url)")
        )
        shown(page, "kept")
        assert {"/index.html", "/icon.svg"} <= set(held(page)["urls"])
        assert not [path for path in held(page)["urls"] if path.startswith("/api/")]
        # What the worker leaves to the network is asked for once: a provider's answer is good for one time.
        preload = "navigator.serviceWorker.ready.then((one) => one.navigationPreload.getState())"
        assert page.evaluate(preload)["enabled"] is False
