"""The pages of a PDF in a real Chromium: as pictures, one after the other as they come near, for accounts and links."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.browser import browser, visiting
from tests.support.pages import OVERFLOWING, ann, clean, context, folder_of, press, server, shown
from tests.support.pdf import SCRIPT, pdf_of
from tests.support.server import RunningServer, Session

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

__all__ = ["ann", "browser", "context", "server"]
PAGES = 40
LONG = pdf_of(*((595, 842) for _ in range(PAGES)), script=SCRIPT)


@pytest.fixture
def stranger(browser: Browser, server: RunningServer) -> Iterator[BrowserContext]:
    with visiting(browser, server.url, locale="en-GB") as made:
        yield made


def put(ann: Session, path: str, data: bytes) -> None:
    assert ann.ask("PUT", "/api/v1/content", data, path=path).status == 200


def asked_pages(page: Page) -> set[int]:
    """Return the set, which goes on growing, of the pages whose pictures are asked for."""
    asked: set[int] = set()

    def note(url: str) -> None:
        if urlsplit(url).path.endswith("/content/page"):
            asked.add(int(parse_qs(urlsplit(url).query)["page"][0]))

    page.on("request", lambda request: note(request.url))
    return asked


def drawn(dialog: Locator, number: int, count: int = PAGES) -> None:
    """Wait until a page is to be seen."""
    picture = dialog.get_by_alt_text(f"Page {number} of {count}", exact=True)
    picture.wait_for()
    picture.evaluate("picture => picture.decode()")
    assert picture.evaluate("picture => picture.naturalWidth") >= 800


def test_pages_are_read_by_keys_and_asked_for_as_they_come_near(context: BrowserContext, ann: Session) -> None:
    address = folder_of(ann, "papers", "z.txt")
    put(ann, "/papers/long.pdf", LONG)
    page = context.new_page()
    asked = asked_pages(page)
    page.goto(address)
    shown(page, "long.pdf")
    page.get_by_role("grid").focus()
    press(page, "Home", "Enter")
    dialog = page.get_by_role("dialog")
    number = dialog.get_by_role("spinbutton", name="Page")
    drawn(dialog, 1)
    dialog.get_by_text(f"of {PAGES}", exact=True).wait_for()
    assert number.input_value() == "1"
    assert 1 in asked and max(asked) <= 5
    press(page, "PageDown", "PageDown")
    drawn(dialog, 3)
    page.wait_for_function("document.querySelector('dialog input[type=number]').value === '3'")
    press(page, "End")
    drawn(dialog, PAGES)
    page.wait_for_function(f"document.querySelector('dialog input[type=number]').value === '{PAGES}'")
    # What is only scrolled past is not drawn, and what is far is let go of.
    assert not asked & set(range(10, 30))
    dialog.get_by_alt_text("Page 1 of", exact=False).first.wait_for(state="detached")
    number.fill("20")
    press(page, "Enter")
    drawn(dialog, 20)
    clean(page)
    before = dialog.get_by_alt_text(f"Page 20 of {PAGES}").bounding_box()
    dialog.get_by_role("button", name="Fit to the width").click()
    page.wait_for_function(
        "was => document.querySelector('dialog [data-page=\"20\"] img')?.clientWidth > was + 100",
        arg=before["width"] if before else 0,
    )
    dialog.focus()
    press(page, "w", "-")
    page.wait_for_function(
        "was => document.querySelector('dialog [data-page=\"20\"] img')?.clientWidth < was",
        arg=before["width"] if before else 0,
    )
    press(page, "ArrowRight")
    dialog.get_by_role("heading", name="z.txt").wait_for()


def test_a_pdf_is_no_wider_than_a_narrow_screen(browser: Browser, ann: Session) -> None:
    folder_of(ann, "narrow")
    put(ann, "/narrow/long.pdf", LONG)
    with visiting(browser, ann.url, locale="de-DE", viewport={"width": 360, "height": 740}) as narrow:
        token = ann.ask("POST", "/api/v1/links", {"path": "/narrow/long.pdf"}).json()["token"]
        page = narrow.new_page()
        page.goto(f"/s/{token}")
        page.get_by_role("button", name="Ansehen").click()
        page.get_by_alt_text(f"Seite 1 von {PAGES}", exact=True).wait_for()
        assert page.evaluate(OVERFLOWING) == []


def test_what_cannot_be_drawn_says_so(context: BrowserContext, ann: Session) -> None:
    address = folder_of(ann, "broken")
    put(ann, "/broken/no.pdf", b"%PDF-1.4 but no more")
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="no.pdf", exact=True).click()
    page.get_by_role("dialog").get_by_text("it is damaged, or it asks for a password").wait_for()


def test_a_stranger_reads_through_a_link_until_it_is_revoked(stranger: BrowserContext, ann: Session) -> None:
    folder_of(ann, "lent")
    put(ann, "/lent/long.pdf", LONG)
    terms = {"path": "/lent/long.pdf", "is_no_download": True, "password": "a word for friends", "downloads_max": 1}
    link = ann.ask("POST", "/api/v1/links", terms).json()
    page = stranger.new_page()
    page.goto(f"/s/{link['token']}")
    page.get_by_label("Password").fill("a word for friends")
    press(page, "Enter")
    page.get_by_role("button", name="Look at it").click()
    dialog = page.get_by_role("dialog")
    drawn(dialog, 1)
    assert dialog.get_by_role("link").count() == 0
    clean(page)
    dialog.focus()
    press(page, "End")
    drawn(dialog, PAGES)
    assert ann.ask("DELETE", f"/api/v1/links/{link['id']}").status == 204
    dialog.get_by_role("spinbutton", name="Page").fill("20")
    press(page, "Enter")
    dialog.get_by_text(f"Page 20 of {PAGES} could not be shown.").wait_for()
    assert dialog.get_by_alt_text(f"Page 20 of {PAGES}").count() == 0
