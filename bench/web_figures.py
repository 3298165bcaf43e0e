"""What the web app costs a browser: `make web-figures`, a real Chromium, a real server, a folder of 100,000 files.

Beside each figure of the app stands the same of a bare picture of the same server in the same browser: what the machine
and its load make of it is in both. Figures: milliseconds from the navigation until the first rows stand (warm: the
median of some), the longest frame while the folder is scrolled from top to bottom, and the script's memory after a
collection, at the start, after the first part of some minutes of use, and at their end.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.browser import running_browser, visiting
from tests.support.server import PASSWORD, RunningServer, Session, User, ask, running_server
from tests.support.wire import Wire

from satchel.core.limits import COMMIT_OPS_MAX

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

BARE = "/icon.svg"
STARTS = 7
SCROLLED_FRAMES = 600
FIRST_PAGE_MS_MAX = 300.0
FRAME_MS_MAX = 50.0
GROWTH_MAX = 1.2
"""Of memory; a browser's own collection leaves so much to chance."""
MB = 1e6

USABLE = """() => new Promise(done => {
  const look = () => document.querySelector('[role=grid] [role=row][aria-rowindex="2"]')
    ? requestAnimationFrame(() => done(performance.now())) : requestAnimationFrame(look);
  look();
})"""
PAINTED = "() => new Promise(done => requestAnimationFrame(() => done(performance.now())))"
FRAMES = """frames => new Promise(done => {
  const list = document.querySelector('[role=grid]');
  const step = list ? (list.scrollHeight - list.clientHeight) / frames : 0;
  const took = [];
  let last = 0;
  const next = now => {
    if (last) took.push(now - last);
    last = now;
    if (list) list.scrollTop += step;
    if (took.length < frames) requestAnimationFrame(next);
    else done(took);
  };
  requestAnimationFrame(next);
})"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. bare: the same of a bare page, 0 for none; most: what it may be, 0 for no limit."""

    name: str
    unit: str
    app: float
    bare: float
    most: float = 0.0

    def line(self) -> str:
        """Return the line."""
        ratio = f"{self.app / self.bare:8.2f}" if self.bare else " " * 8
        kept = "" if not self.most else "kept" if self.app <= self.most else "MISSED"
        most = f"{self.most:8.1f}" if self.most else " " * 8
        return f"{self.name:44} {self.unit:4} {self.app:10.1f} {self.bare:10.1f} {ratio} {most} {kept}"


def prepared(server: RunningServer, files: int) -> Session:
    """Make the account and its folder."""
    asked = {"code": server.setup_code, "user": "ann", "password": PASSWORD}
    assert ask(server.url, "POST", "/api/v1/setup", asked).status == 201
    session = User(server.url, "ann", PASSWORD).sign_in("bench")
    folder = bytes.fromhex(session.ask("POST", "/api/v1/folders", {"path": "/long"}).json()["id"])
    with Wire(session) as wire:
        for first in range(0, files, COMMIT_OPS_MAX):
            last = min(files, first + COMMIT_OPS_MAX)
            wire.commit(*[wire.create(f"file {at:06}.txt", parent=folder) for at in range(first, last)])
    for number in range(20):
        session.ask("PUT", "/api/v1/content", b"text\n" * number, path=f"/note {number}.md")
    return session


def first_page(page: Page) -> Figure:
    """Measure how soon the first page can be used, with all that a browser keeps of an earlier visit."""

    def median(address: str, until: str) -> float:
        taken = []
        for _ in range(STARTS + 1):
            page.goto(address, wait_until="commit")
            taken.append(float(page.evaluate(until)))
        return statistics.median(taken[1:])

    return Figure("first page usable, warm", "ms", median("/files", USABLE), median(BARE, PAINTED), FIRST_PAGE_MS_MAX)


def scrolling(page: Page, files: int) -> list[Figure]:
    """Measure the frames while the whole folder passes."""
    page.goto(BARE)
    bare = sorted(page.evaluate(FRAMES, SCROLLED_FRAMES))
    page.goto("/files/long")
    begun = time.perf_counter()
    page.get_by_text(f"{files:,} items").wait_for()
    whole_ms = (time.perf_counter() - begun) * 1e3
    frames = sorted(page.evaluate(FRAMES, SCROLLED_FRAMES))
    at = SCROLLED_FRAMES * 99 // 100
    return [
        Figure(f"folder of {files:,} files read whole", "ms", whole_ms, 0),
        Figure("longest frame, scrolled from top to bottom", "ms", frames[-1], bare[-1], FRAME_MS_MAX),
        Figure("99 of 100 frames are shorter than", "ms", frames[at], bare[at]),
    ]


def heap_bytes(page: Page) -> float:
    """Return what the page's script holds, after a collection."""
    line = page.context.new_cdp_session(page)
    line.send("HeapProfiler.collectGarbage")
    used = float(line.send("Runtime.getHeapUsage")["usedSize"])
    line.detach()
    return used


def use(page: Page) -> None:
    """Do once what people do: look around in the long folder, sort, find, preview, go elsewhere."""
    page.get_by_role("link", name="Files").first.click()
    page.get_by_role("button", name="note 7.md", exact=True).click()
    page.get_by_role("dialog").get_by_text("note 7.md").last.wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="long", exact=True).click()
    page.get_by_label("Select all").wait_for()
    page.get_by_text("items").wait_for()
    page.get_by_role("button", name="Size").click()
    page.get_by_label("Find in this folder").fill("0421")
    page.get_by_role("button", name="file 000421.txt", exact=True).wait_for()
    page.get_by_role("link", name="Trash").click()
    page.get_by_role("heading", name="Trash").wait_for()


def memory(page: Page, minutes: float) -> list[Figure]:
    """Measure what the script holds at the start, after a tenth of some minutes of use, and after all of them.

    In the first part of it every page is loaded once, and what is kept of each fills; from then on it has to be flat.
    """
    page.goto("/files")
    use(page)
    start = heap_bytes(page)
    begun, rounds = time.monotonic(), 0
    first, first_rounds = 0.0, 0
    while time.monotonic() < begun + minutes * 60 or rounds < 2:
        use(page)
        rounds += 1
        if not first and time.monotonic() >= begun + minutes * 6:
            first, first_rounds = heap_bytes(page), rounds
    after = heap_bytes(page)
    return [
        Figure(f"memory after {first_rounds} rounds, beside the start", "MB", first / MB, start / MB),
        Figure(f"memory after {rounds} rounds in {minutes:g} min, beside those", "MB", after / MB, first / MB),
        Figure("growth of it", "x", after / first, 1.0, GROWTH_MAX),
    ]


def run(context: BrowserContext, files: int, minutes: float) -> Iterator[Figure]:
    """Yield all figures, each as soon as it is taken."""
    page = context.new_page()
    yield first_page(page)
    yield from scrolling(page, files)
    yield from memory(page, minutes)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=10.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as data, running_browser() as browser, running_server(Path(data)) as server:
        prepared(server, asked.files)
        with visiting(browser, server.url, locale="en-GB") as context:
            signed_in = context.request.post("/api/v1/sessions", data={"user": "ann", "password": PASSWORD})
            assert signed_in.status == 201
            print(f"{'':44} {'':4} {'app':>10} {'bare':>10} {'ratio':>8} {'most':>8}")
            for figure in run(context, asked.files, asked.minutes):
                print(figure.line(), flush=True)


if __name__ == "__main__":
    main()
