"""Signing in by a provider of OpenID Connect: a real one in a process of its own, a real server, and browsers that keep
cookies and follow redirects as browsers do.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from satchel.core.errors import Unauthenticated
from satchel.server.adapters.machine import MachineClock
from satchel.server.adapters.oidc import Client, OidcProvider
from satchel.server.gateway.oidc import Attempt, seal, unseal
from tests.integration.test_revocation import world
from tests.support.oidc import ANSWER_TIMEOUT_S, Provider, free_port
from tests.support.server import PASSWORD, Answer, RunningServer, Session, ask, running_server
from tests.support.spoiling import spoilt

pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning")

_numbers = itertools.count()
BEGIN, CALLBACK, END = (f"/api/v1/oidc/{name}" for name in ("begin", "callback", "end"))
SECRET = "the client's own secret"


@dataclass
class Browser:
    """What keeps cookies, names its page in what it changes, and follows nobody by itself."""

    url: str
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        parts = urlsplit(self.url)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if method != "GET":
            headers |= {"Origin": self.url, "Content-Type": "application/json"}
        line = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=ANSWER_TIMEOUT_S)
        with contextlib.closing(line):
            line.request(method, path, None if body is None else json.dumps(body), headers)
            answer = line.getresponse()
            told = {name.lower(): value for name, value in answer.headers.items()}
            for each in answer.headers.get_all("set-cookie") or ():
                name, _, value = each.partition(";")[0].partition("=")
                self.cookies[name] = value
            return Answer(answer.status, told, answer.read())

    def goes(self, next_page: str = "/") -> str:
        """Begin to sign in; return the provider's page."""
        answer = self.ask("GET", f"{BEGIN}?{urlencode({'next': next_page})}")
        assert answer.status == 303, answer
        return answer.headers["location"]

    def comes_back(self, told: dict[str, str]) -> Answer:
        """Follow the provider back."""
        assert told["to"] == self.url + CALLBACK
        return self.ask("GET", f"{CALLBACK}?{urlencode({name: told[name] for name in told if name != 'to'})}")

    @property
    def account(self) -> str:
        """Who is signed in here; empty for nobody."""
        answer = self.ask("GET", "/api/v1/account")
        return str(answer.json()["account"]) if answer.status == 200 else ""


@dataclass(frozen=True)
class Place:
    """A server whose people sign in by the provider."""

    server: RunningServer
    provider: Provider
    admin: Session

    def browser(self) -> Browser:
        return Browser(self.server.url)

    def person(self, **claims: object) -> tuple[str, str]:
        """Add a person with an account that waits for them; return the subject and the account's name."""
        name = f"user-{next(_numbers)}"
        address = f"{name}@example.org"
        self.server.add_user(name)
        self.server.admin("user.oidc", name=name, email=address)
        told = {"email": address, "email_verified": True, **claims}
        return self.provider.person(f"subject-{name}", **told), name

    def signed_in(self, subject: str, *, next_page: str = "/") -> Browser:
        browser = self.browser()
        answer = browser.comes_back(self.provider.sign_in(browser.goes(next_page), subject))
        assert (answer.status, answer.headers["location"]) == (303, next_page), answer
        return browser


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[Place]:
    port = free_port()
    environment = {
        "SATCHEL_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "SATCHEL_OIDC_ISSUER": provider.issuer,
        "SATCHEL_OIDC_CLIENT_ID": "satchel",
        "SATCHEL_OIDC_CLIENT_SECRET": SECRET,
    }
    folder: Path = tmp_path_factory.mktemp("oidc")
    with running_server(folder, "--listen", f"127.0.0.1:{port}", environment=environment) as server:
        yield Place(server, provider, server.add_user("admin", is_admin=True).sign_in())


# -- through the browser ----------------------------------------------------------------------------------------------


def test_somebody_whom_the_administrator_expects_signs_in_and_out(place: Place) -> None:
    subject, name = place.person()
    other = place.signed_in(place.person()[0])
    browser = place.signed_in(subject, next_page="/files?path=a")
    assert (browser.account, other.account) == (name, other.account)
    assert place.signed_in(subject).account == name
    rows = place.server.admin("audit", user=name)
    assert isinstance(rows, list)
    assert [row["action"] for row in rows][:2] == ["sign_in", "sign_in"]
    assert rows[0]["detail"] == {"name": "Browser", "means": "oidc"}
    assert (rows[0]["address"], "oidc_linked" in {row["action"] for row in rows}) == ("127.0.0.1", True)
    token = browser.cookies["satchel"]
    assert browser.ask("POST", "/api/v1/logout").status == 204
    assert browser.account == ""
    browser.cookies["satchel"] = token
    assert (browser.account, bool(other.account)) == ("", True)


def test_who_signed_out_here_signs_out_there_too_and_comes_back(place: Place) -> None:
    subject, name = place.person()
    browser, other = place.signed_in(subject), place.signed_in(subject)
    assert browser.ask("POST", "/api/v1/logout").status == 204
    sent = browser.ask("GET", END)
    assert (sent.status, sent.headers["cache-control"]) == (303, "no-store")
    page = urlsplit(sent.headers["location"])
    back = f"{place.server.url}/sign-in"
    assert f"{page.scheme}://{page.netloc}" == place.provider.issuer
    assert parse_qs(page.query) == {"client_id": ["satchel"], "post_logout_redirect_uri": [back]}
    assert place.provider.ask("GET", f"{page.path}?{page.query}")[0] == 200
    assert place.provider.ask("POST", f"{page.path}/confirm", urlencode({"redirect_uri": back})) == (302, back)
    # Whoever is only led there stays signed in here: any page can lead a browser there.
    assert other.ask("GET", END).status == 303
    assert other.account == name


def test_the_sign_in_is_offered_and_the_cookies_are_for_no_script(place: Place) -> None:
    told = ask(place.server.url, "GET", "/api/v1/oidc").json()
    assert told == {"is_offered": True, "issuer": place.provider.issuer, "begin": BEGIN, "end": END}
    browser = place.browser()
    answer = browser.ask("GET", BEGIN)
    parts = {part.strip() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"} <= parts
    asked = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert asked["redirect_uri"] == place.server.url + CALLBACK
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    subject, _ = place.person()
    ended = browser.comes_back(place.provider.sign_in(answer.headers["location"], subject))
    session = {part.strip() for part in ended.headers["set-cookie"].split(";")[1:]}
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= session
    assert SECRET not in place.server.log() and asked["state"] not in place.server.log()


def test_a_device_is_approved_by_code_from_a_browser_that_came_by_the_provider(place: Place) -> None:
    subject, name = place.person()
    url = place.server.url
    waiting = ask(url, "POST", "/api/v1/device-codes", {"device_name": "headless"}).json()
    browser = place.signed_in(subject, next_page="/device")
    approved = browser.ask("POST", "/api/v1/device-codes/approve", {"user_code": waiting["user_code"]})
    assert approved.status == 204
    polled = ask(url, "POST", "/api/v1/device-codes/poll", {"device_code": waiting["device_code"]}).json()
    assert polled["status"] == "approved"
    assert ask(url, "GET", "/api/v1/account", token=polled["signed_in"]["token"]).json()["account"] == name


def wrongs(place: Place) -> Iterator[tuple[str, Answer]]:
    """Yield what comes back wrong, with the answer to it."""
    subject, _ = place.person()
    provider = place.provider

    def begun() -> tuple[Browser, dict[str, str]]:
        browser = place.browser()
        return browser, provider.sign_in(browser.goes(), subject)

    browser, told = begun()
    yield "another state", browser.comes_back(told | {"state": spoilt(told["state"])})
    yield "no state", browser.comes_back({name: told[name] for name in ("to", "code")})
    yield "another browser", place.browser().comes_back(told)
    other, _ = begun()
    yield "another browser's sign-in", other.comes_back(told)
    assert browser.comes_back(told).status == 303
    yield "a second time", browser.comes_back(told)
    browser, fresh = begun()
    yield "a code that was used", browser.comes_back(fresh | {"code": told["code"]})
    browser, told = begun()
    yield "a code of nobody", browser.comes_back(told | {"code": "x" * 40})
    browser, told = begun()
    yield "another issuer", browser.comes_back(told | {"iss": "https://evil.example"})
    browser = place.browser()
    page = browser.goes()
    nonce = parse_qs(urlsplit(page).query)["nonce"][0]
    yield "another nonce", browser.comes_back(provider.sign_in(page.replace(nonce, "n" * 43), subject))
    browser = place.browser()
    yield "refused at the provider", browser.comes_back(provider.sign_in(browser.goes(), None))
    browser, told = begun()
    browser.cookies["satchel-oidc"] = spoilt(browser.cookies["satchel-oidc"])
    yield "a cookie that was changed", browser.comes_back(told)


def test_what_is_not_exactly_what_was_begun_signs_nobody_in(place: Place) -> None:
    for what, answer in wrongs(place):
        assert answer.status == 401, (what, answer)
        assert "set-cookie" not in answer.headers, what
        assert answer.json()["error"]["code"] == "unauthenticated", what


def test_the_unknown_and_the_disabled_are_told_the_same(place: Place) -> None:
    subject, name = place.person()
    place.signed_in(subject)
    place.server.admin("user.disable", name=name)
    unknown = place.provider.person("nobody", email="nobody@example.org", email_verified=True)
    unverified = place.provider.person("unverified", email="admin@example.org", email_verified=False)
    place.server.admin("user.oidc", name="admin", email="admin@example.org")
    told = []
    for one in (subject, unknown, unverified):
        browser = place.browser()
        answer = browser.comes_back(place.provider.sign_in(browser.goes(), one))
        told.append((answer.status, {**answer.json()["error"], "id": ""}))
        assert "satchel" not in browser.cookies
    assert told[0] == told[1] == told[2]
    assert told[0][0] == 401


def test_an_invitation_with_an_address_makes_the_account_of_who_has_it(place: Place) -> None:
    asked = {"email": "Carl@Example.org", "quota_bytes": 5_000}
    assert place.admin.ask("POST", "/api/v1/invitations", asked).json()["invitation"]["email"] == "carl@example.org"
    claims = {"email": "carl@example.org", "email_verified": True, "preferred_username": "carl"}
    browser = place.signed_in(place.provider.person("carl", **claims))
    assert (browser.account, browser.ask("GET", "/api/v1/account").json()["quota_bytes"]) == ("carl", 5_000)
    assert place.admin.ask("POST", "/api/v1/invitations", {"email": "no address"}).status == 400


def test_an_account_with_a_password_links_the_sign_in_itself_and_closes_it_again(place: Place) -> None:
    name = place.server.add_user("linked").name
    browser, subject = place.browser(), place.provider.person("linked-subject", email="l@example.org")
    signed = browser.ask("POST", "/api/v1/sessions", {"user": name, "password": PASSWORD})
    assert signed.status == 201
    own = "/api/v1/account/oidc"
    assert browser.ask("POST", own, {"password": "wrong one"}).status == 401
    assert place.admin.ask("POST", own, {"password": PASSWORD}).status == 400
    page = browser.ask("POST", own, {"password": PASSWORD, "next": "/settings"}).json()["page"]
    # A browser that comes from the provider's page sends no strict cookie.
    session = browser.cookies.pop("satchel")
    answer = browser.comes_back(place.provider.sign_in(page, subject))
    assert (answer.status, answer.headers["location"], "satchel" in browser.cookies) == (303, "/settings", False)
    browser.cookies["satchel"] = session
    other = place.signed_in(subject)
    assert other.account == name
    [shown] = json.loads(browser.ask("GET", own).body)
    assert shown["issuer"] == place.provider.issuer
    stranger = place.signed_in(place.person()[0])
    refused = [stranger.ask("DELETE", f"{own}/{one}") for one in (shown["id"], "00" * 32)]
    assert [one.status for one in refused] == [404, 404]
    assert refused[0].json()["error"]["message"] == refused[1].json()["error"]["message"]
    assert browser.ask("DELETE", f"{own}/{shown['id']}").status == 204
    assert (browser.account, other.account) == (name, "")
    fresh = place.browser()
    assert fresh.comes_back(place.provider.sign_in(fresh.goes(), subject)).status == 401


def test_nobody_is_sent_to_another_host_in_the_end(place: Place) -> None:
    for page in ("//evil.example", "/\\evil.example", "https://evil.example", "", "evil", "/a b", "/" + "x" * 300):
        assert place.browser().ask("GET", f"{BEGIN}?{urlencode({'next': page})}").status == 400, page


def test_without_a_provider_there_is_no_such_way() -> None:
    async def scenario() -> None:
        async with world() as play:
            assert (await play.ask("GET", "/api/v1/oidc")).json()["is_offered"] is False
            for path in (BEGIN, CALLBACK):
                assert (await play.ask("GET", path, code="x", state="y")).status == 404, path

    asyncio.run(scenario())


# -- the sealed attempt -----------------------------------------------------------------------------------------------


def test_an_attempt_is_opened_by_who_sealed_it_and_within_its_time() -> None:
    key, attempt = b"k" * 32, Attempt(b"s" * 32, 1_000, b"a" * 16, b"b" * 16, "/device")
    sealed = seal(key, attempt)
    assert unseal(key, sealed, now_ms=999) == attempt
    assert unseal(key, sealed, now_ms=1_000) is None
    assert unseal(b"x" * 32, sealed, now_ms=0) is None
    for at in range(len(sealed)):
        changed = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
        opened = unseal(key, changed, now_ms=0)
        # The last character holds bits that no byte has.
        assert opened is None or (opened == attempt and at == len(sealed) - 1)
    for odd in ("", "=", "é", "A" * 40, "A" * 200):
        assert unseal(key, odd, now_ms=0) is None


# -- what the provider says -------------------------------------------------------------------------------------------


def back_from(provider: Provider, page: str, subject: str) -> str:
    return provider.sign_in(page, subject)["code"]


def test_a_token_that_is_over_signs_nobody_in(provider: Provider) -> None:
    async def scenario() -> None:
        subject, clock = provider.person("late", email="late@example.org"), _Now()
        adapter = OidcProvider(Client(provider.issuer, "satchel", SECRET), clock)
        redirect, verifier = "http://127.0.0.1/back", "v" * 43
        try:
            for late_ms, is_good in ((0, True), (2 * 3_600_000, False), (-3_600_000, False)):
                clock.late_ms = late_ms
                page = await adapter.page(state="s", nonce="n", challenge="c", redirect=redirect)
                code = await asyncio.to_thread(back_from, provider, page, subject)
                with contextlib.nullcontext() if is_good else pytest.raises(Unauthenticated):
                    known = await adapter.identified(code=code, verifier=verifier, nonce="n", redirect=redirect)
                    # The address was not verified, so it is none.
                    assert (known.issuer, known.subject, known.email) == (provider.issuer, "late", "")
        finally:
            await adapter.close()

    asyncio.run(scenario())


class _Now(MachineClock):
    """The machine's time, moved."""

    late_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.late_ms
