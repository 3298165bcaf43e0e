"""A browser without its server, and what it holds then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.support.browser import TIMEOUT_MS
from tests.support.server import RunningServer

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

AWAY = "You are offline."
HELD = """async () => {
  const urls = [];
  for (const name of await caches.keys()) {
    for (const request of await (await caches.open(name)).keys()) urls.push(new URL(request.url).pathname);
  }
  return { databases: (await indexedDB.databases()).map((one) => one.name).toSorted(), urls };
}"""


@contextmanager
def stopped(server: RunningServer) -> Iterator[None]:
    """Stop the server for as long as the block lasts; it comes back at the same address."""
    server.arguments = ("--listen", f"127.0.0.1:{server.port}")
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def offline(context: BrowserContext, page: Page) -> Iterator[None]:
    """Take a browser's network away for as long as the block lasts; the page knows it when the block begins."""
    context.set_offline(True)
    page.get_by_text(AWAY).wait_for()
    try:
        yield
    finally:
        context.set_offline(False)


def ready(page: Page) -> None:
    """Wait until the page's worker answers for it."""
    until(page, "navigator.serviceWorker.controller !== null")


def until(page: Page, condition: str, given: object = None) -> None:
    """Wait until a condition holds on the page, whose policy evaluates no text by itself.

    given: what the condition calls so.
    """
    end = time.monotonic() + TIMEOUT_MS / 1_000
    while not page.evaluate(f"async (given) => {condition}", given):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


def counted(database: str, store: str, count: int) -> str:
    """Return the condition that so much stands in a store of one of the browser's databases."""
    return f"""await new Promise((done) => {{
      const asked = indexedDB.open('{database}');
      asked.onsuccess = () => {{
        const told = asked.result.transaction('{store}').objectStore('{store}').count();
        told.onsuccess = () => (done(told.result === {count}), asked.result.close());
      }};
    }})"""


def back(page: Page) -> None:
    """Have the page ask again, unless it did so by itself, until it knows that the server is there."""
    page.evaluate("[...document.querySelectorAll('button')].find(one => one.textContent === 'Try again')?.click()")
    page.get_by_text(AWAY).wait_for(state="detached")


@contextmanager
def saying(text: str, *pages: Page) -> Iterator[None]:
    """Do what is inside, and wait until each of the pages has said a text: what is said leaves by itself, also where
    nobody has looked yet."""
    for page in pages:
        page.evaluate(
            """text => new MutationObserver(() => { window.hasSaid ||= document.body.innerText.includes(text) })
            .observe(document.body, { childList: true, subtree: true, characterData: true })""",
            text,
        )
    yield
    for page in pages:
        until(page, "window.hasSaid")


def menu(page: Page, name: str, act: str) -> None:
    """Choose something in a row's menu."""
    page.get_by_role("button", name=f"More for {name}", exact=True).click()
    page.get_by_role("menuitem", name=act, exact=True).click()


def keep(page: Page, name: str) -> None:
    """Keep a row offline, and wait until it is."""
    menu(page, name, "Keep offline")
    page.get_by_text(f"“{name}” can be read offline now.").wait_for()


def held(page: Page) -> dict[str, Any]:
    """Return the names of the browser's databases, and the paths that its caches answer."""
    found: dict[str, Any] = page.evaluate(HELD)
    return found
