"""Search, settings, sign-in by a provider, and administration in a real Chromium against a real server."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from satchel.server.accounts.second_factor import STEP_S, code_at
from tests.support.browser import browser, visiting
from tests.support.oidc import free_port, running_provider
from tests.support.pages import OVERFLOWING, ann, clean, context, folder_of, loaded, press, server, signed_in
from tests.support.server import ANSWER_TIMEOUT_S, PASSWORD, RunningServer, Session, User, ask, running_server
from tests.support.webdav import basic

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

__all__ = ["ann", "browser", "context", "server"]

ADMIN = ("accounts", "groups", "storage", "health", "audit", "configuration")
LOOKS = "https://cdn.jsdelivr.net/"
SETTINGS = ("/settings", "/settings/security", "/settings/programs")


@pytest.fixture
def zoe(browser: Browser, ann: Session) -> Iterator[Page]:
    """A page of somebody who changes what opens her account."""
    person(ann, "zoe")
    with visiting(browser, ann.url, locale="en-GB") as made:
        yield made.new_page()


def person(ann: Session, name: str) -> User:
    """Make an account, over HTTP: a browser holds this thread's loop."""
    token = ann.ask("POST", "/api/v1/invitations", {}).json()["token"]
    accepted = {"token": token, "user": name, "password": PASSWORD}
    assert ask(ann.url, "POST", "/api/v1/invitations/accept", accepted).status == 201
    return User(ann.url, name, PASSWORD)


def first(server: RunningServer) -> Session:
    """Make a server's first account."""
    asked = {"code": server.setup_code, "user": "root", "password": PASSWORD}
    assert ask(server.url, "POST", "/api/v1/setup", asked).status == 201
    return User(server.url, "root", PASSWORD).sign_in()


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.goto("/sign-in")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    press(page, "Enter")


def test_what_is_looked_for_is_found_by_name_and_in_texts(
    context: BrowserContext, server: RunningServer, ann: Session
) -> None:
    folder_of(ann, "found", "harvest plan.txt", "harvest.csv")
    with ThreadPoolExecutor(1) as other:
        # A browser holds this thread's loop. Otherwise documents are read within a minute.
        other.submit(server.admin, "search.rebuild").result(ANSWER_TIMEOUT_S)
    page = context.new_page()
    page.goto("/files")
    page.get_by_role("heading", name="All files").wait_for()
    press(page, "/")
    page.keyboard.type("harv")
    press(page, "Enter")
    page.get_by_role("listitem").filter(has_text="harvest plan.txt").locator("mark", has_text="harv").first.wait_for()
    page.get_by_role("region", name="In the text").get_by_role("button", name="harvest.csv").wait_for()
    # By keys alone: into the list, to the first, open, and back.
    press(page, "ArrowDown", "Enter")
    page.get_by_role("dialog").wait_for()
    press(page, "Escape")
    page.get_by_label("Kind").select_option("table")
    page.get_by_role("button", name="harvest plan.txt", exact=True).first.wait_for(state="detached")
    assert "kind=table" in page.url
    page.get_by_label("Owner").select_option("others")
    page.get_by_text("Nothing fits “harv”").wait_for()


def test_the_second_factor_is_set_up_and_asked_for(zoe: Page) -> None:
    sign_in(zoe, "zoe")
    zoe.get_by_text("Nothing here yet").wait_for()
    zoe.goto("/settings/security")
    zoe.get_by_role("button", name="Set up").click()
    zoe.get_by_label("Your password").fill("wrong")
    press(zoe, "Enter")
    zoe.get_by_text("The password is wrong.").wait_for()
    zoe.get_by_label("Your password").fill(PASSWORD)
    press(zoe, "Enter")
    zoe.get_by_role("img", name="QR code").wait_for()
    secret = zoe.get_by_label("Secret", exact=True).input_value()
    zoe.get_by_label("Code of your app").fill(code_at(_raw(secret), int(time.time()) // STEP_S))
    press(zoe, "Enter")
    zoe.get_by_role("dialog", name="Recovery codes").wait_for()
    codes = zoe.get_by_role("dialog").get_by_role("listitem").all_inner_texts()
    assert len(codes) == 10
    zoe.get_by_role("button", name="I have kept them").click()
    zoe.get_by_text("10 recovery codes are left.").wait_for()
    zoe.context.clear_cookies()
    sign_in(zoe, "zoe")
    # Of the step after: a code is taken once.
    zoe.get_by_label("Code of your app").fill(code_at(_raw(secret), int(time.time()) // STEP_S + 1))
    press(zoe, "Enter")
    zoe.get_by_text("Nothing here yet").wait_for()
    zoe.context.clear_cookies()
    sign_in(zoe, "zoe")
    zoe.get_by_label("Code of your app").fill(codes[0])
    press(zoe, "Enter")
    zoe.get_by_text("Nothing here yet").wait_for()
    zoe.goto("/settings/security")
    zoe.get_by_text("9 recovery codes are left.").wait_for()
    zoe.get_by_role("button", name="Turn it off").click()
    zoe.get_by_label("Your password").fill(PASSWORD)
    press(zoe, "Enter")
    zoe.get_by_text("The second factor is off.").wait_for()


def test_an_app_password_opens_webdav_until_it_is_taken_back(context: BrowserContext, ann: Session) -> None:
    page = context.new_page()
    page.goto("/settings/programs")
    page.get_by_role("button", name="New app password").first.click()
    page.get_by_label("For what").fill("Scanner")
    press(page, "Enter")
    secret = page.get_by_role("dialog").get_by_label("Password").input_value()
    page.get_by_role("button", name="I have kept it").click()
    header = {"Authorization": basic("ann", secret), "Depth": "0"}
    assert ask(ann.url, "PROPFIND", "/dav/", headers=header).status == 207
    page.get_by_role("button", name="Take Scanner back").click()
    page.get_by_role("dialog").get_by_role("button", name="Take back").click()
    page.get_by_text("“Scanner” opens nothing any more.").wait_for()
    assert ask(ann.url, "PROPFIND", "/dav/", headers=header).status == 401


def test_a_new_password_ends_other_browsers(browser: Browser, ann: Session) -> None:
    user = person(ann, "mia")
    with visiting(browser, ann.url, locale="en-GB") as context, visiting(browser, ann.url) as other:
        assert other.request.post("/api/v1/sessions", data={"user": "mia", "password": PASSWORD}).status == 201
        page = context.new_page()
        sign_in(page, "mia")
        page.get_by_text("Nothing here yet").wait_for()
        page.goto("/settings/security")
        page.get_by_label("Password until now").fill(PASSWORD)
        page.get_by_label("New password", exact=True).fill("another horse altogether")
        page.get_by_label("New password again").fill("another horse altogether")
        press(page, "Enter")
        page.get_by_text("Your password is changed.").wait_for()
        assert other.request.get("/api/v1/account").status == 401
        page.goto("/devices")
        page.get_by_text("This browser").first.wait_for()
    assert User(ann.url, user.name, "another horse altogether").sign_in().token


def test_a_browser_is_signed_out_from_another(browser: Browser, context: BrowserContext, server: RunningServer) -> None:
    with visiting(browser, server.url) as other:
        signed = {"user": "ann", "password": PASSWORD, "name": "the old one"}
        assert other.request.post("/api/v1/sessions", data=signed).status == 201
        page = context.new_page()
        page.goto("/settings/security")
        page.get_by_role("link", name="Devices and browsers").click()
        page.get_by_role("button", name="Sign out the old one").click()
        page.get_by_role("dialog").get_by_role("button", name="Sign out", exact=True).click()
        page.get_by_text("“the old one” is signed out.").wait_for()
        assert other.request.get("/api/v1/account").status == 401


def test_somebody_is_invited_comes_in_and_gets_a_limit(
    browser: Browser, context: BrowserContext, server: RunningServer
) -> None:
    page = context.new_page()
    page.goto("/admin")
    page.get_by_role("button", name="Invite somebody").click()
    page.get_by_label("Note").fill("for Ben")
    page.get_by_label("Limit in GB").fill("2,5")
    press(page, "Enter")
    address = page.get_by_label("Link of the invitation").input_value()
    page.get_by_role("button", name="I have kept it").click()
    page.get_by_text("for Ben").wait_for()
    with visiting(browser, server.url, locale="en-GB") as theirs:
        invited = theirs.new_page()
        invited.goto(address)
        invited.get_by_label("Your name").fill("ben")
        assert "#" not in invited.url
        invited.get_by_label("Password", exact=True).fill(PASSWORD)
        invited.get_by_label("Password again").fill(PASSWORD)
        press(invited, "Enter")
        invited.get_by_text("Nothing here yet").wait_for()
        invited.get_by_text("of 2.5 GB used").first.wait_for()
        # Who does not administer the server has no such page.
        assert invited.get_by_role("link", name="Administration").count() == 0
        invited.goto("/admin")
        invited.get_by_text("There is no such page.").wait_for()
        theirs.clear_cookies()
        invited.goto(address)
        invited.get_by_text("This invitation is not open any more.").wait_for()
    page.reload()
    page.get_by_role("button", name="More for ben").click()
    page.get_by_role("menuitem", name="Set the limit").click()
    page.get_by_label("Limit in GB").fill("")
    press(page, "Enter")
    page.get_by_text("“ben” is changed.").wait_for()
    page.goto("/admin/audit")
    page.get_by_text("Invitation made").last.wait_for()
    page.get_by_label("Log of").select_option(label="ben")
    page.get_by_role("listitem").filter(has_text="Limit changed").first.wait_for()
    page.get_by_label("Log of").select_option(label="All accounts and the server")
    page.get_by_role("listitem").filter(has_text="Limit changed").filter(has_text="log of ben").first.wait_for()
    page.get_by_role("listitem").filter(has_text="Invitation made").filter(has_text="The server").first.wait_for()
    page.get_by_role("button", name="Verify").click()
    page.get_by_text("The log is whole").wait_for()


def test_a_webhook_is_told_what_was_chosen(browser: Browser, tmp_path: Path) -> None:
    with running_server(tmp_path, environment={"SATCHEL_WEBHOOK_NETWORKS": "127.0.0.0/8"}) as server:
        first(server)
        with visiting(browser, server.url, locale="en-GB") as context:
            sign_in(page := context.new_page(), "root")
            page.get_by_text("Nothing here yet").wait_for()
            told = made_webhook(page)
            assert told == ["file.changed", "link.used"]


def made_webhook(page: Page) -> list[str]:
    """Make a webhook on the page of settings; return what it is told of."""
    page.goto("/settings/programs")
    page.get_by_role("button", name="New webhook").click()
    dialog = page.get_by_role("dialog")
    events = dialog.get_by_role("group", name="It is told when").get_by_role("checkbox")
    assert events.count() == 4
    dialog.get_by_label("Address").fill("http://127.0.0.1:9/hook")
    for event in events.all():
        event.uncheck()
    dialog.get_by_role("button", name="Make it").click()
    dialog.get_by_text("Choose at least one.").wait_for()
    dialog.get_by_label("a file or folder is new, changed or moved").check()
    dialog.get_by_label("a link of yours is opened").check()
    dialog.get_by_role("button", name="Make it").click()
    secret = dialog.get_by_label("Secret")
    secret.wait_for()
    assert len(secret.input_value()) == 64
    # All of it is to be seen: it is shown this once.
    assert secret.evaluate("field => field.scrollHeight <= field.clientHeight + 1")
    dialog.get_by_role("button", name="I have kept it").click()
    page.get_by_text("a file or folder is new, changed or moved · a link of yours is opened").wait_for()
    told = page.request.get("/api/v1/webhooks").json()["items"]
    assert len(told) == 1
    events_told: list[str] = told[0]["events"]
    return events_told


def test_a_group_is_made_and_somebody_put_in(context: BrowserContext, ann: Session) -> None:
    person(ann, "kim")
    page = context.new_page()
    page.goto("/admin/groups")
    page.get_by_role("button", name="New group").click()
    page.keyboard.type("Family")
    press(page, "Enter")
    page.get_by_role("button", name="Members of Family").click()
    page.get_by_label("Put an account in").select_option(label="kim")
    page.get_by_role("button", name="Put in").click()
    page.get_by_role("button", name="Take kim out").wait_for()
    press(page, "Escape")
    page.get_by_text("1 member", exact=True).wait_for()
    groups = ann.ask("GET", "/api/v1/groups").json()["items"]
    assert [(one["name"], one["members"]) for one in groups] == [("Family", 1)]


def test_what_the_server_knows_of_itself_is_shown(context: BrowserContext, ann: Session) -> None:
    folder_of(ann, "stored", "a.txt")
    told = ann.ask("GET", "/api/v1/admin/storage").json()
    assert told["files"] > 0
    assert told["logical_bytes"] >= told["file_bytes"] > 0
    health = ann.ask("GET", "/api/v1/admin/health").json()
    assert health["status"] == "ready"
    assert all(one["p50_ms"] <= one["p99_ms"] for one in health["routes"])
    settings = {one["name"]: one["value"] for one in ann.ask("GET", "/api/v1/admin/settings").json()["items"]}
    assert settings["trash_keep_days"] == "30"
    assert settings["oidc_client_secret"] == ""
    page = context.new_page()
    page.goto("/admin/storage")
    page.get_by_text("as much in all versions as is stored").wait_for()
    page.get_by_role("link", name="Health").click()
    page.get_by_text("All is well").wait_for()
    page.get_by_role("row", name="/api/v1/setup").wait_for()
    page.get_by_role("link", name="Configuration").click()
    page.get_by_text("database_url").wait_for()


def test_the_settings_in_view_hold_no_secret(tmp_path: Path) -> None:
    given = {"SATCHEL_SECRETS_KEY": "5e" * 32, "SATCHEL_TRACE_ENDPOINT": "", "SATCHEL_KAFKA_PASSWORD": "hush hush"}
    with running_server(tmp_path, environment=given) as server:
        root = first(server)
        told = root.ask("GET", "/api/v1/admin/settings")
        shown = {one["name"]: one["value"] for one in told.json()["items"]}
        assert (shown["secrets_key"], shown["kafka_password"]) == ("(set)", "(set)")
        assert b"5e5e" not in told.body
        assert b"hush" not in told.body


def test_people_come_in_by_the_provider_or_hear_why_not(browser: Browser, tmp_path: Path) -> None:
    with running_provider() as provider:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        given = {
            "SATCHEL_OIDC_ISSUER": provider.issuer,
            "SATCHEL_OIDC_CLIENT_ID": "satchel",
            "SATCHEL_OIDC_CLIENT_SECRET": "the client's own",
            "SATCHEL_OIDC_NEW_ACCOUNTS": "true",
            "SATCHEL_OIDC_DOMAINS": "example.org",
        }
        provider.person("eve", email="eve@example.org", email_verified=True, preferred_username="eve")
        provider.person("mallory", email="mallory@example.com", email_verified=True, preferred_username="mallory")
        given["SATCHEL_PUBLIC_URL"] = url
        with running_server(tmp_path, "--listen", f"127.0.0.1:{port}", environment=given) as server:
            first(server)
            with visiting(browser, url, also=(provider.issuer, LOOKS), locale="en-GB") as context:
                # The provider's own page wants its looks from elsewhere; it does without.
                context.route(f"{LOOKS}**", lambda route: route.abort())
                page = context.new_page()
                for who in ("mallory", "eve"):
                    page.goto("/sign-in")
                    page.get_by_role("link", name=f"Sign in with 127.0.0.1:{provider.port}").click()
                    page.locator("input[name=sub]").fill(who)
                    press(page, "Enter")
                    if who == "mallory":
                        page.get_by_text("The sign-in there did not open an account here.").wait_for()
                page.get_by_text("Nothing here yet").wait_for()
                page.goto("/settings/security")
                page.get_by_text("eve@example.org").wait_for()
                page.get_by_role("button", name="Account and appearance").click()
                page.get_by_role("button", name="Sign out", exact=True).click()
                there = page.get_by_role("link", name=f"Sign out at 127.0.0.1:{provider.port} too")
                there.wait_for()
                clean(page)
                there.click()
                page.locator("form[action*=confirm] button").first.click()
                page.get_by_label("Name").wait_for()
                assert page.url == f"{url}/sign-in"


def test_axe_finds_nothing_on_any_of_these_pages(browser: Browser, ann: Session) -> None:
    folder_of(ann, "axes", "axe.txt")
    with visiting(browser, ann.url, locale="en-GB") as context:
        page = context.new_page()
        page.goto("/invitation")
        page.get_by_label("Invitation").wait_for()
        clean(page)
        signed_in(context)
        page.goto("/search?q=axe")
        page.get_by_role("button", name="axe.txt").first.wait_for()
        clean(page)
        for place in SETTINGS:
            page.goto(place)
            page.get_by_role("heading", name="Settings").wait_for()
            loaded(page)
            clean(page)
        page.get_by_role("button", name="New app password").first.click()
        clean(page)
        for part in ADMIN:
            page.goto(f"/admin/{part}")
            page.get_by_role("heading", name="Administration").wait_for()
            loaded(page)
            clean(page)


def test_none_of_these_is_wider_than_a_narrow_screen(browser: Browser, ann: Session) -> None:
    folder_of(ann, "narrow too", "with a name that is rather long, as people have them.txt")
    with visiting(browser, ann.url, locale="de-DE", viewport={"width": 360, "height": 740}) as context:
        signed_in(context)
        page = context.new_page()
        for place in ("/search?q=name", *SETTINGS, *(f"/admin/{part}" for part in ADMIN)):
            page.goto(place)
            page.get_by_role("heading").first.wait_for()
            loaded(page)
            assert page.evaluate(OVERFLOWING) == [], place
        page.get_by_role("button", name="Mehr", exact=True).click()
        assert page.evaluate(OVERFLOWING) == []
        page.get_by_role("dialog").get_by_role("link", name="Verwaltung").focus()
        press(page, "Enter")
        page.get_by_role("heading", name="Konten").wait_for()


def _raw(secret: str) -> bytes:
    return base64.b32decode(secret)
