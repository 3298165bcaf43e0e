"""Accounts over REST, on a real server: set-up, invitations, browsers, passwords; another account tries everything."""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from satchel.core.ids import LinkId, NamespaceId, Tag
from satchel.core.messages import (
    PROTOCOL_VERSION,
    Hello,
    Position,
    StreamFrame,
    Welcome,
    decode_frame,
    encode_frame,
)
from satchel.server.accounts.second_factor import STEP_S, code_at
from tests.support.server import PASSWORD, Answer, RunningServer, Session, ask, running_server
from tests.support.spoiling import spoilt

_numbers = itertools.count()
COOKIE = "satchel"


@dataclass
class Browser:
    """What keeps a cookie, and names its page as browsers do."""

    url: str
    token: str = ""
    origin: str | None = None

    def sign_in(self, user: str, password: str = PASSWORD, **more: str) -> Answer:
        answer = self.ask("POST", "/api/v1/sessions", {"user": user, "password": password, "name": "Fox"} | more)
        if answer.status == 201:
            self.token = cookie_of(answer)
        return answer

    def ask(self, method: str, route: str, body: object = None) -> Answer:
        headers = {"Cookie": f"other=1; {COOKIE}={self.token}"} if self.token else {}
        headers["Origin"] = self.url if self.origin is None else self.origin
        return ask(self.url, method, route, body, headers={k: v for k, v in headers.items() if v})


def cookie_of(answer: Answer) -> str:
    name, _, value = answer.headers["set-cookie"].partition(";")[0].partition("=")
    assert name == COOKIE
    return value


@pytest.fixture(scope="module")
def admin(server: RunningServer) -> Session:
    return server.add_user("admin", is_admin=True).sign_in()


@pytest.fixture
def name(server: RunningServer) -> str:
    return server.add_user(f"user {next(_numbers)}").name


@pytest.fixture(scope="module")
def stranger(server: RunningServer) -> Session:
    return server.add_user("stranger").sign_in()


def same(answers: list[Answer]) -> bool:
    """Tell whether all say the same, but for the request's own id."""
    told = []
    for answer in answers:
        error = answer.json()["error"]
        told.append((answer.status, {**error, "id": ""}))
    return all(one == told[0] for one in told)


# -- set-up -----------------------------------------------------------------------------------------------------------


def set_up(server: RunningServer, code: str, user: str = "ann") -> Answer:
    return ask(server.url, "POST", "/api/v1/setup", {"code": code, "user": user, "password": PASSWORD})


def test_the_first_account_needs_the_code_that_was_printed_last_and_uses_it_up(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        assert ask(server.url, "GET", "/api/v1/setup").json() == {"is_needed": True}
        old = server.setup_code
        server.stop()
        server.start()
        code = server.setup_code
        wrong = [set_up(server, told) for told in ("", "x", old, code[:-1])]
        assert same(wrong) and wrong[0].status == 401
        assert (
            ask(server.url, "POST", "/api/v1/setup", {"code": code, "user": "a/b", "password": PASSWORD}).status == 400
        )
        made = set_up(server, code.upper())
        assert (made.status, made.json()["is_admin"]) == (201, True)
        assert same([wrong[0], set_up(server, code, "bob")])
        assert ask(server.url, "GET", "/api/v1/setup").json() == {"is_needed": False}
        login = {"user": "ann", "password": PASSWORD, "device_name": "laptop"}
        assert ask(server.url, "POST", "/api/v1/login", login).status == 200
        assert code not in server.log()
        assert [row["action"] for row in rows_of(server, is_store=True)] == [
            *("sign_in_failed", "set_up", *["sign_in_failed"] * 4),
        ]


def rows_of(server: RunningServer, **asked: object) -> list[dict[str, object]]:
    rows = server.admin("audit", **asked)
    assert isinstance(rows, list)
    return rows


# -- invitations ------------------------------------------------------------------------------------------------------


def test_an_invitation_makes_one_account_with_what_it_names(server: RunningServer, admin: Session) -> None:
    asked = {"note": "for Carl", "quota_bytes": 5_000, "days": 2}
    made = admin.ask("POST", "/api/v1/invitations", asked).json()
    token, shown = made["token"], made["invitation"]
    assert (shown["state"], shown["quota_bytes"], shown["is_admin"]) == ("open", 5_000, False)
    assert ask(server.url, "POST", "/api/v1/invitations/look", {"token": token}).json()["quota_bytes"] == 5_000
    taken = {"token": token, "user": "admin", "password": PASSWORD}
    assert ask(server.url, "POST", "/api/v1/invitations/accept", taken).status == 409
    accept = {"token": token, "user": "Carl", "password": PASSWORD}
    assert ask(server.url, "POST", "/api/v1/invitations/accept", accept).status == 201
    again = ask(server.url, "POST", "/api/v1/invitations/accept", {**accept, "user": "Dora"})
    unknown = ask(server.url, "POST", "/api/v1/invitations/accept", {**accept, "token": "A" * 64})
    assert same([again, unknown, ask(server.url, "POST", "/api/v1/invitations/look", {"token": spoilt(token)})])
    carl = Browser(server.url)
    assert carl.sign_in("Carl").status == 201
    assert carl.ask("GET", "/api/v1/account").json()["quota_bytes"] == 5_000
    listed = {one["id"]: one for one in admin.ask("GET", "/api/v1/invitations").json()["items"]}
    assert listed[shown["id"]]["state"] == "used"
    assert token not in str(listed)


def test_a_revoked_invitation_and_one_of_a_former_administrator_make_nothing(
    server: RunningServer, admin: Session
) -> None:
    other = server.add_user("short reign", is_admin=True).sign_in()
    made = [who.ask("POST", "/api/v1/invitations", {}).json() for who in (admin, other)]
    revoked = f"/api/v1/invitations/{made[0]['invitation']['id']}"
    assert admin.ask("DELETE", revoked).status == 204
    assert same([admin.ask("DELETE", revoked), admin.ask("DELETE", f"/api/v1/invitations/{'00' * 16}")])
    server.admin("user.disable", name="short reign")
    for at, one in enumerate(made):
        accept = {"token": one["token"], "user": f"never {at}", "password": PASSWORD}
        assert ask(server.url, "POST", "/api/v1/invitations/accept", accept).status == 404
    assert not {"never 0", "never 1"} & {one["name"] for one in server.admin("user.list")}  # type: ignore[attr-defined]


def test_invitations_are_paged_bounded_and_not_there_for_others(admin: Session, stranger: Session) -> None:
    for asked in ({"days": 0}, {"days": 31}, {"quota_bytes": -1}, {"note": "x" * 201}, {"note": "a\nb"}, {"more": 1}):
        assert admin.ask("POST", "/api/v1/invitations", asked).status == 400, asked
    ids = [admin.ask("POST", "/api/v1/invitations", {}).json()["invitation"]["id"] for _ in range(3)]
    seen, after = [], ""
    while not seen or after:
        page = admin.ask("GET", "/api/v1/invitations", limit=2, after=after).json()
        seen += [one["id"] for one in page["items"]]
        after = page["after"]
    assert seen == sorted(seen) and set(ids) <= set(seen)
    refused = [
        stranger.ask("POST", "/api/v1/invitations", {}),
        stranger.ask("GET", "/api/v1/invitations"),
        stranger.ask("DELETE", f"/api/v1/invitations/{ids[0]}"),
        stranger.ask("GET", "/api/v1/nothing"),
    ]
    assert same(refused) and refused[0].status == 404


# -- browsers ---------------------------------------------------------------------------------------------------------


def test_a_cookie_is_for_no_script_and_no_other_site(server: RunningServer, name: str) -> None:
    browser = Browser(server.url)
    told = browser.sign_in(name)
    parts = {part.strip() for part in told.headers["set-cookie"].split(";")[1:]}
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= parts and "Secure" not in parts
    assert browser.token not in told.body.decode()
    assert told.headers["cache-control"] == "no-store"
    shown = browser.ask("GET", "/api/v1/account").json()
    assert (shown["account"], shown["device"]) == (name, "Fox")


def test_a_cookie_counts_for_writes_of_our_own_page_alone(server: RunningServer, name: str) -> None:
    browser = Browser(server.url)
    browser.sign_in(name)
    for origin in ("", "null", "https://evil.example", f"{server.url}.evil.example", "http://127.0.0.1:1"):
        browser.origin = origin
        for method, route in (
            ("POST", "/api/v1/folders"),
            ("PUT", "/api/v1/content?path=/a"),
            ("DELETE", "/api/v1/devices/00"),
        ):
            assert browser.ask(method, route, {"path": "/made"}).status == 401, (origin, route)
        assert browser.ask("GET", "/api/v1/account").status == 200
    browser.origin = None
    assert browser.ask("POST", "/api/v1/folders", {"path": "/made"}).status == 201
    assert [one["name"] for one in browser.ask("GET", "/api/v1/files?path=/").json()["items"]] == ["made"]


def test_no_other_site_signs_a_browser_in(server: RunningServer, name: str) -> None:
    assert Browser(server.url, origin="https://evil.example").sign_in(name).status == 401
    assert Browser(server.url, origin="").sign_in(name).status == 201


def test_each_sign_in_gives_another_token_and_ends_the_one_before(server: RunningServer, name: str) -> None:
    browser = Browser(server.url)
    browser.sign_in(name)
    before = Browser(server.url, browser.token)
    planted = Browser(server.url, "planted" * 6)
    assert planted.sign_in(name).status == 201 and planted.token != "planted" * 6
    browser.sign_in(name)
    assert browser.token != before.token
    assert before.ask("GET", "/api/v1/account").status == 401
    shown = browser.ask("GET", "/api/v1/sessions").json()
    assert [one["is_this"] for one in shown] == [False, True]  # type: ignore[index]
    assert browser.ask("POST", "/api/v1/logout").headers["set-cookie"].startswith(f"{COOKIE}=; ")
    assert browser.ask("GET", "/api/v1/account").status == 401


def test_sessions_are_ended_by_their_own_account_alone(server: RunningServer, name: str, stranger: Session) -> None:
    browser, other = Browser(server.url), Browser(server.url)
    browser.sign_in(name)
    other.sign_in(name)
    one = next(one for one in browser.ask("GET", "/api/v1/sessions").json() if not one["is_this"])  # type: ignore[index]
    route = f"/api/v1/sessions/{one['id']}"
    assert same([stranger.ask("DELETE", route), stranger.ask("DELETE", f"/api/v1/sessions/{'00' * 16}")])
    assert stranger.ask("GET", "/api/v1/sessions").body == b"[]"
    assert browser.ask("DELETE", route).status == 204
    assert other.ask("GET", "/api/v1/account").status == 401
    assert browser.ask("GET", "/api/v1/account").status == 200


# -- the password -----------------------------------------------------------------------------------------------------


def test_a_new_password_ends_all_that_the_old_one_opened_but_this(server: RunningServer, name: str) -> None:
    browser, other = Browser(server.url), Browser(server.url)
    browser.sign_in(name)
    other.sign_in(name)
    login = {"user": name, "password": PASSWORD, "device_name": "laptop"}
    device = ask(server.url, "POST", "/api/v1/login", login).json()["token"]
    assert browser.ask("POST", "/api/v1/app-passwords", {"name": "phone"}).status == 201
    before = browser.token
    for old, status in (("", 401), (PASSWORD + " ", 401)):
        assert browser.ask("POST", "/api/v1/account/password", {"old": old, "new": "another one"}).status == status
    assert browser.ask("POST", "/api/v1/account/password", {"old": PASSWORD, "new": "short"}).status == 400
    changed = browser.ask("POST", "/api/v1/account/password", {"old": PASSWORD, "new": "another one"})
    assert changed.status == 204
    browser.token = cookie_of(changed)
    assert browser.ask("GET", "/api/v1/account").status == 200
    assert browser.ask("GET", "/api/v1/app-passwords").body == b"[]"
    for token in (before, other.token):
        assert Browser(server.url, token).ask("GET", "/api/v1/account").status == 401
    assert ask(server.url, "GET", "/api/v1/account", token=device).status == 401
    assert ask(server.url, "POST", "/api/v1/login", login).status == 401
    assert ask(server.url, "POST", "/api/v1/login", {**login, "password": "another one"}).status == 200


def test_others_go_on_where_that_is_said_and_end_where_that_is(server: RunningServer, name: str) -> None:
    login = {"user": name, "password": PASSWORD, "device_name": "laptop"}
    mine, other = (ask(server.url, "POST", "/api/v1/login", login).json()["token"] for _ in range(2))
    asked = {"old": PASSWORD, "new": "another one", "keep_others": True}
    assert ask(server.url, "POST", "/api/v1/account/password", asked, token=mine).status == 204
    assert ask(server.url, "GET", "/api/v1/account", token=other).status == 200
    assert ask(server.url, "POST", "/api/v1/logout-others", token=mine).status == 204
    assert ask(server.url, "GET", "/api/v1/account", token=other).status == 401
    assert ask(server.url, "GET", "/api/v1/account", token=mine).status == 200


# -- app passwords ----------------------------------------------------------------------------------------------------


def test_app_passwords_are_shown_once_and_open_no_rest(server: RunningServer, name: str, stranger: Session) -> None:
    browser = Browser(server.url)
    browser.sign_in(name)
    made = browser.ask("POST", "/api/v1/app-passwords", {"name": "phone", "may_write": False}).json()
    secret, shown = made["secret"], made["app_password"]
    assert (shown["name"], shown["may_write"], shown["seen_ms"]) == ("phone", False, 0)
    assert secret not in browser.ask("GET", "/api/v1/app-passwords").body.decode()
    assert ask(server.url, "GET", "/api/v1/account", token=secret).status == 401
    assert Browser(server.url).sign_in(name, secret).status == 401
    route = f"/api/v1/app-passwords/{shown['id']}"
    assert same([stranger.ask("DELETE", route), stranger.ask("DELETE", f"/api/v1/app-passwords/{'00' * 16}")])
    assert browser.ask("DELETE", route).status == 204
    assert browser.ask("DELETE", route).status == 404


# -- the second factor ------------------------------------------------------------------------------------------------


def test_a_browser_that_sets_up_codes_signs_the_others_out(server: RunningServer, name: str) -> None:
    browser, other = Browser(server.url), Browser(server.url)
    browser.sign_in(name)
    other.sign_in(name)
    route = "/api/v1/account/second-factor"
    assert browser.ask("POST", route, {"password": "wrong one"}).status == 401
    secret = base64.b32decode(browser.ask("POST", route, {"password": PASSWORD}).json()["secret"])
    confirmed = browser.ask("POST", f"{route}/confirm", {"code": code_now(secret)})
    assert confirmed.status == 200
    before, browser.token = browser.token, cookie_of(confirmed)
    assert browser.ask("GET", route).json() == {"is_enabled": True, "recovery_codes": 10}
    for token in (before, other.token):
        assert Browser(server.url, token).ask("GET", route).status == 401
    login = {"user": name, "password": PASSWORD, "device_name": "laptop"}
    for way, asked in (("/api/v1/login", login), ("/api/v1/sessions", {"user": name, "password": PASSWORD})):
        told = ask(server.url, "POST", way, asked)
        assert (told.status, told.json()["error"]["code"]) == (401, "second_factor_required")
    one = confirmed.json()["recovery_codes"][0]
    assert ask(server.url, "POST", "/api/v1/login", {**login, "code": one}).status == 200
    assert other.sign_in(name, code=one).status == 401
    assert browser.ask("POST", f"{route}/disable", {"password": PASSWORD}).status == 204
    assert other.sign_in(name).status == 201


def code_now(secret: bytes) -> str:
    return code_at(secret, int(time.time()) // STEP_S)


# -- streams ----------------------------------------------------------------------------------------------------------


def test_a_stream_opens_by_cookie_for_our_own_page_and_ends_with_the_session(server: RunningServer, name: str) -> None:
    browser, other = Browser(server.url), Browser(server.url)
    made = browser.sign_in(name).json()
    other.sign_in(name)
    hello = Hello(
        PROTOCOL_VERSION, b"", LinkId(b"page"), 1, (Position(NamespaceId(bytes.fromhex(made["root_ns"])), 0, Tag(b"")),)
    )

    def opened(origin: str | None) -> connect:
        headers = {"Cookie": f"{COOKIE}={browser.token}"} | ({"Origin": origin} if origin else {})
        return connect(
            f"{server.url.replace('http', 'ws')}/sync/v1/stream", additional_headers=headers, compression=None
        )

    async def main() -> None:
        for origin in (None, "null", "https://evil.example"):
            with pytest.raises(InvalidStatus) as refused:
                await opened(origin)
            assert refused.value.response.status_code == 401
        async with asyncio.timeout(60), opened(server.url) as stream:
            await stream.send(b"".join(bytes(part) for part in encode_frame(hello)))
            frame, _ = decode_frame(await stream.recv(), StreamFrame)
            assert isinstance(frame, Welcome)
            ended = await asyncio.to_thread(other.ask, "DELETE", f"/api/v1/sessions/{made['session_id']}")
            assert ended.status == 204
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await stream.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 4401

    asyncio.run(main())


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_no_secret_stands_in_the_store_the_log_or_the_audit_log(
    server: RunningServer, admin: Session, name: str
) -> None:
    browser = Browser(server.url)
    browser.sign_in(name)
    enrolled = browser.ask("POST", "/api/v1/account/second-factor", {"password": PASSWORD}).json()
    code = code_now(base64.b32decode(enrolled["secret"]))
    confirmed = browser.ask("POST", "/api/v1/account/second-factor/confirm", {"code": code})
    browser.token = cookie_of(confirmed)
    device = ask(server.url, "POST", "/api/v1/device-codes", {"device_name": "tablet"}).json()
    assert browser.ask("POST", "/api/v1/device-codes/approve", {"user_code": device["user_code"]}).status == 204
    polled = ask(server.url, "POST", "/api/v1/device-codes/poll", {"device_code": device["device_code"]}).json()
    assert polled["status"] == "approved"
    again = ask(server.url, "POST", "/api/v1/device-codes/poll", {"device_code": device["device_code"]}).json()
    assert (again["status"], again["signed_in"]) == ("expired", None)
    secrets = [
        *(PASSWORD, browser.token, enrolled["secret"], device["user_code"], device["device_code"]),
        *(polled["signed_in"]["token"], confirmed.json()["recovery_codes"][0]),
        browser.ask("POST", "/api/v1/app-passwords", {"name": "phone"}).json()["secret"],
        admin.ask("POST", "/api/v1/invitations", {}).json()["token"],
    ]
    assert ask(server.url, "GET", "/api/v1/account", token=polled["signed_in"]["token"]).json()["account"] == name
    told = server.log() + str(rows_of(server)) + str(rows_of(server, user=name)) + str(rows_of(server, is_store=True))
    stored = b"".join(path.read_bytes() for path in server.data.glob("metadata.db*"))
    for secret in secrets:
        for form in (secret, secret.replace("-", "")):
            assert form not in told and form.encode() not in stored, secret
