"""Pictures of search, settings, invitations and administration: a part of `shots`."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from satchel.server.accounts.second_factor import STEP_S, code_at
from tests.support.pages import loaded
from tests.support.server import PASSWORD, Session, ask

if TYPE_CHECKING:
    from playwright.sync_api import Page

Take = Callable[["Page", str], None]


def fill(session: Session) -> None:
    """Make what these pages show: people, groups, invitations, app passwords, a webhook."""
    for name in ("ann", "ben"):
        token = session.ask("POST", "/api/v1/invitations", {"note": f"for {name}"}).json()["token"]
        accepted = {"token": token, "user": name, "password": PASSWORD}
        assert ask(session.url, "POST", "/api/v1/invitations/accept", accepted).status == 201
    assert session.ask("POST", "/api/v1/invitations", {"note": "for Zoe", "quota_bytes": 5_000_000_000}).status == 201
    ids = {one["account"]: one["account_id"] for one in session.ask("GET", "/api/v1/admin/accounts").json()["items"]}
    assert session.ask("PATCH", f"/api/v1/admin/accounts/{ids['ben']}", {"is_disabled": True}).status == 204
    group = session.ask("POST", "/api/v1/groups", {"name": "Family"}).json()["id"]
    assert session.ask("PUT", f"/api/v1/groups/{group}/members/{ids['ann']}").status == 204
    assert session.ask("POST", "/api/v1/app-passwords", {"name": "Scanner in the office"}).status == 201


def signed_out(page: Page, take: Take) -> None:
    """Take the picture of an invitation's page."""
    page.goto("/invitation")
    page.get_by_label("Invitation").wait_for()
    take(page, "invitation")


def signed_in(page: Page, take: Take) -> None:
    """Take the pictures of an administrator's pages."""
    page.goto("/search?q=plan")
    page.get_by_role("button", name="plan.md").first.wait_for()
    take(page, "search")
    page.goto("/search?q=nowhere")
    page.get_by_text("Nothing fits").wait_for()
    take(page, "search-none")
    for part in ("", "/security", "/programs"):
        page.goto(f"/settings{part}")
        page.get_by_role("heading", name="Settings").wait_for()
        loaded(page)
        take(page, f"settings{part.replace('/', '-')}")
    page.get_by_role("button", name="New app password").first.click()
    page.get_by_label("For what").fill("Phone")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="I have kept it").wait_for()
    take(page, "app-password")
    page.goto("/settings/security")
    page.get_by_role("button", name="Set up").click()
    page.get_by_label("Your password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("img", name="QR code").wait_for()
    take(page, "second-factor")
    secret = base64.b32decode(page.get_by_label("Secret", exact=True).input_value())
    page.get_by_label("Code of your app").fill(code_at(secret, int(time.time()) // STEP_S))
    page.keyboard.press("Enter")
    page.get_by_role("dialog", name="Recovery codes").wait_for()
    take(page, "recovery-codes")
    page.get_by_role("button", name="I have kept them").click()
    page.get_by_role("button", name="Turn it off").click()
    page.get_by_label("Your password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_text("The second factor is off.").wait_for()
    for part in ("accounts", "groups", "storage", "health", "audit", "configuration"):
        page.goto(f"/admin/{part}")
        page.get_by_role("heading", name="Administration").wait_for()
        loaded(page)
        take(page, f"admin-{part}")
    page.goto("/admin")
    page.get_by_role("button", name="Invite somebody").click()
    take(page, "admin-invite")
    page.keyboard.press("Escape")
    more = page.get_by_role("button", name="More", exact=True)
    if more.is_visible():
        more.click()
        take(page, "more")
        page.keyboard.press("Escape")
