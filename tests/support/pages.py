"""A server with one person, browsers that she is signed in with, and what is looked for on its pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import AXE, browser, visiting
from tests.support.server import PASSWORD, RunningServer, Session, User, ask, running_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

__all__ = ["browser"]

RULES = {"light": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"], "dark": ["color-contrast"]}
"""In the dark nothing differs but the colours, which need no page of their own."""

LOADING = re.compile("Loading…|Wird geladen")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("server")) as running:
        asked = {"code": running.setup_code, "user": "ann", "password": PASSWORD}
        assert ask(running.url, "POST", "/api/v1/setup", asked).status == 201
        yield running


@pytest.fixture(scope="module")
def ann(server: RunningServer) -> Session:
    return User(server.url, "ann", PASSWORD).sign_in("laptop")


@pytest.fixture
def context(browser: Browser, server: RunningServer) -> Iterator[BrowserContext]:
    with visiting(browser, server.url, locale="en-GB") as made:
        signed_in(made)
        yield made


OVERFLOWING = """[...document.querySelectorAll('html, body, main, dialog, .body, [role=grid]')]
    .filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.outerHTML.slice(0, 80))"""


def signed_in(context: BrowserContext) -> None:
    """Sign a browser in without its page."""
    assert context.request.post("/api/v1/sessions", data={"user": "ann", "password": PASSWORD}).status == 201


def folder_of(ann: Session, name: str, *files: str) -> str:
    """Make a folder with small files; return the address of its page."""
    assert ann.ask("POST", "/api/v1/folders", {"path": f"/{name}"}).status == 201
    for file in files:
        assert ann.ask("PUT", "/api/v1/content", file.encode(), path=f"/{name}/{file}").status == 200
    return f"/files/{name}"


def names(ann: Session, folder: str) -> list[str]:
    """Return the names in a folder as the service knows them."""
    return [item["name"] for item in ann.ask("GET", "/api/v1/files", path=folder).json()["items"]]


def shown(page: Page, name: str) -> None:
    """Wait until a row is there."""
    page.get_by_role("button", name=name, exact=True).wait_for()


def gone(page: Page, name: str) -> None:
    """Wait until no row is called so."""
    page.get_by_role("row").filter(has_text=name).wait_for(state="detached")


def loaded(page: Page) -> None:
    """Wait until no part of the page is still being asked for."""
    page.get_by_text(LOADING).first.wait_for(state="detached")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def clean(page: Page) -> None:
    """Fail with what axe finds on the page as it stands, light and dark."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        found = page.evaluate("rules => axe.run(document, { runOnly: rules })", RULES[scheme])
        told = [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found["violations"]]
        assert told == [], (scheme, told)
