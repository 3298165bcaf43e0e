"""Files that try to run something, shown in a real Chromium: none runs in our origin, nothing loads from elsewhere.

The browser's own space fails on a request elsewhere, on a report of the policy and on a script's error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.active_content import active_files
from tests.support.browser import browser
from tests.support.pages import ann, context, folder_of, press, server, shown
from tests.support.server import Session

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

__all__ = ["ann", "browser", "context", "server"]


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
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page.goto(address)
    page.get_by_text("60 items").wait_for()
    order = [item["name"] for item in ann.ask("GET", "/api/v1/files", path="/active files").json()["items"]]
    assert sorted(order) == sorted(files)
    shown(page, order[0])
    page.get_by_role("grid").focus()
    press(page, "Home", "Enter")
    seen = set()
    dialog = page.get_by_role("dialog")
    while True:
        title = dialog.get_by_role("heading", level=2)
        name = title.inner_text()
        seen.add(name)
        dialog.get_by_text("Loading…").wait_for(state="detached")
        assert dialog.locator("a[href^=javascript], a[href^=vbscript], a[href^=data]").count() == 0, name
        assert dialog.locator("iframe, object, embed, base, form, meta[http-equiv]").count() == 0, name
        if len(seen) == len(order):
            break
        press(page, "ArrowRight")
        page.wait_for_function("was => document.querySelector('dialog h2').innerText !== was", arg=name)
    assert len(seen) == len(files)
    assert page.evaluate("window.ran") is None
    assert alerts == []
