"""Files that try to run something, shown in a real Chromium: none runs in our origin, nothing loads from elsewhere.

The browser's own space fails on a request elsewhere, on a report of the policy and on a script's error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.active_content import active_files
from tests.support.browser import browser, visiting
from tests.support.pages import ann, context, folder_of, loaded, press, server, shown
from tests.support.server import RunningServer, Session, ask

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

__all__ = ["ann", "browser", "context", "server"]

SHOWN_AS = frozenset(
    {"text/plain; charset=utf-8", "application/pdf", "image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp"}
)
"""As what the service lets a browser show one of these files by itself."""
ACTIVE = "iframe, object, embed, base, form, meta[http-equiv], a[href^=javascript], a[href^=vbscript], a[href^=data]"


@pytest.fixture
def stranger(browser: Browser, server: RunningServer) -> Iterator[BrowserContext]:
    with visiting(browser, server.url, locale="en-GB") as made:
        yield made


def heard(page: Page) -> list[str]:
    """Return the list, which goes on growing, of what the page's alerts say."""
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    return alerts


def still(page: Page, around: Locator, name: str) -> None:
    """Wait until what is shown of a file is there; fail with what could run in it."""
    loaded(page)
    assert around.locator(ACTIVE).count() == 0, name
    assert page.evaluate("window.ran") is None, name


def test_no_file_runs_where_it_is_previewed_or_asked_for(context: BrowserContext, ann: Session) -> None:
    address, files = folder_of(ann, "active files"), active_files()
    for name, data in files.items():
        assert ann.ask("PUT", "/api/v1/content", data, path=f"/active files/{name}").status == 200, name
        told = ann.ask("GET", "/api/v1/content", path=f"/active files/{name}")
        assert told.body == data
        assert told.headers["content-disposition"].startswith("attachment"), name
        assert told.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in told.headers["content-security-policy"]
        assert told.headers["content-type"] == "application/octet-stream", name
    page = context.new_page()
    alerts = heard(page)
    page.goto(address)
    page.get_by_text("60 items").wait_for()
    order = [item["name"] for item in ann.ask("GET", "/api/v1/files", path="/active files").json()["items"]]
    assert sorted(order) == sorted(files)
    shown(page, order[0])
    page.get_by_role("grid").focus()
    press(page, "Home", "Enter")
    assert looked_through(page, len(order)) == set(files)
    assert alerts == []


def looked_through(page: Page, count: int) -> set[str]:
    """Step through the previews of so many files; return their names."""
    seen = set()
    dialog = page.get_by_role("dialog")
    while True:
        name = dialog.get_by_role("heading", level=2).inner_text()
        seen.add(name)
        still(page, dialog, name)
        if len(seen) == count:
            return seen
        press(page, "ArrowRight")
        page.wait_for_function("was => document.querySelector('dialog h2').innerText !== was", arg=name)


def test_no_file_runs_where_it_is_behind_a_link(browser: Browser, stranger: BrowserContext, ann: Session) -> None:
    folder_of(ann, "lent files")
    files = active_files()
    for name, data in files.items():
        assert ann.ask("PUT", "/api/v1/content", data, path=f"/lent files/{name}").status == 200, name
    page = stranger.new_page()
    # Where the policy holds something back as it shows a file by itself, that is told; nothing more may happen.
    alone, elsewhere = browser.new_context(base_url=ann.url).new_page(), list[str]()
    alone.on("request", lambda request: request.url.startswith(ann.url) or elsewhere.append(request.url))
    alerts, more = heard(page), heard(alone)
    looks = 0
    for name in files:
        link = ann.ask("POST", "/api/v1/links", {"path": f"/lent files/{name}"}).json()["token"]
        page.goto(f"/s/{link}")
        # A name is shown as it is, and means nothing beside: neither to the page nor to its title.
        page.get_by_role("heading", level=1, name=name, exact=True).wait_for()
        assert name in page.title(), name
        look = page.get_by_role("button", name="Look at it")
        if look.count():
            looks += 1
            look.click()
            still(page, page.get_by_role("dialog"), name)
        still(page, page.locator("body"), name)
        by_itself(alone, ann, f"/api/v1/public/{link}/content", name)
    assert looks >= 30
    token = ann.ask("POST", "/api/v1/links", {"path": "/lent files"}).json()["token"]
    page.goto(f"/s/{token}")
    rows = page.get_by_role("list", name="Files in lent files").get_by_role("listitem")
    page.wait_for_function("count => document.querySelectorAll('main li .words').length === count", arg=len(files))
    rows.get_by_role("button").first.click()
    assert len(looked_through(page, looks)) == looks
    alone.context.close()
    assert alerts == more == elsewhere == []


def by_itself(page: Page, ann: Session, address: str, name: str) -> None:
    """Ask for a file's bytes as a person does who types the address, to save them and to see them."""
    for query in ({}, {"preview": "true"}):
        told = ask(ann.url, "GET", address, query=query)
        assert told.status == 200, name
        assert told.headers["x-content-type-options"] == "nosniff", name
        assert "sandbox" in told.headers["content-security-policy"], name
        assert "default-src 'none'" in told.headers["content-security-policy"], name
        if told.headers["content-disposition"].startswith("attachment"):
            assert told.headers["content-type"] == "application/octet-stream", name
            continue
        assert told.headers["content-type"] in SHOWN_AS, name
        # What cannot be shown after all is saved, which ends the going there.
        with contextlib.suppress(Exception):
            page.goto(f"{address}?preview=true")
        assert page.evaluate("window.ran") is None, name
