"""The daemon's own page in a real Chromium: what it shows and does, and whom it serves."""

from __future__ import annotations

import http.client
import json
import os
import stat
from urllib.parse import urlsplit

import pytest

from tests.support.browser import running_browser, visiting
from tests.support.devices import Device, wait_for
from tests.support.pages import OVERFLOWING, clean


def opened(laptop: Device) -> str:
    """Return the address of the page, with its code."""
    ran = laptop.cli("open", "--print")
    assert ran.code == 0, ran
    return ran.out.strip()


def asked(url: str, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, object]]:
    """Ask the page's own server without a browser."""
    where = urlsplit(url)
    line = http.client.HTTPConnection(where.hostname or "", where.port or 0, timeout=30)
    try:
        line.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = line.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw.startswith(b"{") else {}
    finally:
        line.close()


def conflict(laptop: Device) -> None:
    """Let the laptop and somebody else change one file."""
    session = laptop.user.sign_in("elsewhere")
    (laptop.folder / "plan.txt").write_text("base")
    assert laptop.wait_in_sync().state == "in_sync"
    laptop.stop()
    (laptop.folder / "plan.txt").write_text("the laptop's")
    assert session.ask("PUT", "/api/v1/content", b"the other's", path="/plan.txt").status == 200
    laptop.start()
    wait_for(lambda: laptop.wait_in_sync().conflicts == 1, laptop.told())


def test_the_page_shows_what_the_daemon_does_and_does_what_it_is_asked(laptop: Device) -> None:
    conflict(laptop)
    url = opened(laptop)
    with running_browser() as browser, visiting(browser, url.partition("/#")[0], locale="en-GB") as context:
        page = context.new_page()
        page.goto(url)
        page.get_by_role("heading", name="Satchel on laptop").wait_for()
        assert page.url.endswith("/")
        page.get_by_text("In sync", exact=True).wait_for()
        clean(page)
        page.get_by_role("button", name="Keep the copy").click()
        page.get_by_text("One conflict is resolved.").wait_for()
        assert (laptop.folder / "plan.txt").read_text() == "the laptop's"
        page.get_by_role("button", name="Keep the file").wait_for(state="detached")
        page.get_by_role("button", name="Undo").click()
        page.get_by_text("It is as it was before.").wait_for()
        page.get_by_role("button", name="Keep the file").wait_for()
        assert (laptop.folder / "plan.txt").read_text() == "the other's"
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Go on").click()
        page.get_by_text("In sync", exact=True).wait_for()
        page.get_by_label("Send at most").fill("300K")
        page.get_by_label("Send at most").press("Enter")
        page.get_by_text("The limits hold now.").wait_for()
        assert "up 300" in laptop.cli("limit").out
        page.get_by_label("Send at most").fill("a lot")
        page.get_by_label("Send at most").press("Enter")
        page.get_by_text("'up=a lot' is no limit").wait_for()
        assert laptop.cli("exclude", "add", str(laptop.folder / "plan.txt")).code == 0
        page.get_by_role("button", name="Bring back plan.txt").click()
        page.get_by_role("button", name="Bring back plan.txt").wait_for(state="detached")
        wait_for((laptop.folder / "plan.txt").exists, laptop.told())
        page.set_viewport_size({"width": 360, "height": 740})
        assert page.evaluate(OVERFLOWING) == []
        # A reload keeps the right; the daemon's end does not.
        page.reload()
        page.get_by_role("heading", name="Satchel on laptop").wait_for()
        laptop.stop()
        page.get_by_text("The daemon does not answer.").wait_for()


def test_the_page_serves_nobody_but_whom_it_was_opened_for(laptop: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER", "true")
    url = opened(laptop)
    code = url.partition("#")[2]
    here = url.partition("/#")[0]
    assert url.startswith("http://127.0.0.1:")
    assert asked(url, "GET", "/")[0] == 200
    assert asked(url, "GET", "/", Host="rebound.example")[0] == 404
    assert asked(url, "GET", "/../daemon.py")[0] == 404
    status = {"do": "status"}
    assert asked(url, "POST", "/ask", status)[0] == 401
    assert asked(url, "POST", "/ask", status, Authorization="Bearer " + code)[0] == 401
    for headers in ({"Host": "rebound.example"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": "null"}):
        assert asked(url, "POST", "/session", {"code": code}, **headers)[0] == 401
    found, told = asked(url, "POST", "/session", {"code": code}, Origin=here)
    assert found == 200
    token = told["value"]["token"]  # type: ignore[index]
    assert asked(url, "POST", "/session", {"code": code})[0] == 401
    right = {"Authorization": f"Bearer {token}"}
    assert asked(url, "POST", "/ask", status, **right)[0] == 200
    assert asked(url, "POST", "/ask", status, **right, Origin="http://127.0.0.1:1")[0] == 401
    for do in ("stop", "page", "exclude", "reload", "nonsense"):
        assert asked(url, "POST", "/ask", {"do": do}, **right)[0] == 400
    assert asked(url, "POST", "/ask", ["x" * 70_000], **right)[0] in (400, 413)
    # Another page ends no earlier one, and its address is told to nobody by the list of processes.
    ran = laptop.cli("--json", "open")
    assert ran.code == 0
    leading = laptop.home / "open.html"
    assert stat.S_IMODE(os.stat(leading).st_mode) == 0o600
    assert f"{here}/#" in leading.read_text()
    assert asked(url, "POST", "/ask", status, **right)[0] == 200
