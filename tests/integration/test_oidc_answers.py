"""A provider that says what it must not: nothing of it counts. It answers in this process, as each test has it."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from satchel.core.errors import Fault, SettingInvalid, Unauthenticated, Unavailable
from satchel.server.adapters import oidc
from satchel.server.adapters.oidc import Client, OidcProvider, require_allowed
from satchel.server.ports import Identified
from satchel.server.settings import load_settings
from tests.support.clocks import SteppingClock

KEY = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "second"})
CURVE_KEY = ECKey.generate_key("P-256", {"kid": "curve"})
SECRET = "a secret / with signs + and more"


@dataclass
class Odd:
    """A provider. claims, header, key: of its token, as a good one unless changed; document: over its discovery."""

    clock: SteppingClock = field(default_factory=SteppingClock)
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=lambda: {"alg": "RS256", "kid": "first"})
    key: Any = field(default_factory=lambda: KEY)
    keys: list[Any] = field(default_factory=lambda: [KEY])
    document: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=lambda: {"sub": "ann"})
    token: str = ""
    status: int = 200
    issuer: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)

    async def discovery(self, _: web.Request) -> web.Response:
        at = self.issuer
        told = {"issuer": at, "authorization_endpoint": f"{at}/authorize?tenant=1", "token_endpoint": f"{at}/token"}
        told |= {"jwks_uri": f"{at}/keys", "userinfo_endpoint": f"{at}/me"}
        return web.json_response(told | self.document)

    async def jwks(self, _: web.Request) -> web.Response:
        self.asked.append({"path": "keys"})
        odd = {"kty": "XX", "kid": "odd"}
        return web.json_response({"keys": [odd, *KeySet(self.keys).as_dict(private=False)["keys"]]})

    async def tokens(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append({"path": "token", "authorization": request.headers.get("authorization", ""), **form})
        now = self.clock.now // 1_000
        good = {"iss": self.issuer, "aud": "satchel", "sub": "ann", "nonce": "n", "iat": now, "exp": now + 300}
        claims = {name: value for name, value in (good | self.claims).items() if value is not None}
        token = self.token or jwt.encode(self.header, claims, self.key, algorithms=["RS256", "HS256", "ES256"])
        return web.json_response({"id_token": token, "access_token": "access"}, status=self.status)

    async def me(self, request: web.Request) -> web.Response:
        self.asked.append({"path": "me", "authorization": request.headers.get("authorization", "")})
        return web.json_response(self.userinfo)

    async def elsewhere(self, _: web.Request) -> web.Response:
        raise web.HTTPFound("/keys")


def with_odd(work: Callable[[Odd, OidcProvider], Awaitable[None]], *, secret: str = SECRET) -> None:
    """Run `work` with a provider and our side of it."""

    async def scenario() -> None:
        odd = Odd()
        app = web.Application()
        app.add_routes(
            [
                web.get("/.well-known/openid-configuration", odd.discovery),
                web.get("/keys", odd.jwks),
                web.get("/me", odd.me),
                web.get("/elsewhere", odd.elsewhere),
                web.post("/token", odd.tokens),
            ]
        )
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        odd.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
        adapter = OidcProvider(Client(odd.issuer, "satchel", secret), odd.clock)
        try:
            async with asyncio.timeout(60):
                await work(odd, adapter)
        finally:
            await adapter.close()
            await runner.cleanup()

    asyncio.run(scenario())


async def identified(adapter: OidcProvider) -> Identified:
    return await adapter.identified(code="code", verifier="v" * 43, nonce="n", redirect="https://here/back")


async def outcome(adapter: OidcProvider) -> str:
    """Return the code of the fault; empty when somebody came in."""
    try:
        await identified(adapter)
    except Fault as fault:
        return fault.code
    return ""


def test_a_good_answer_says_who_it_is_and_we_prove_that_we_began() -> None:
    async def work(odd: Odd, adapter: OidcProvider) -> None:
        odd.userinfo = {"sub": "ann", "email": "Ann@Example.org", "email_verified": True, "name": "Ann B"}
        page = await adapter.page(state="s", nonce="n", challenge="c", redirect="https://here/back")
        assert page.startswith(f"{odd.issuer}/authorize?tenant=1&response_type=code&client_id=satchel&")
        known = await identified(adapter)
        assert (known.subject, known.email, known.names) == ("ann", "Ann@Example.org", ("Ann", "Ann B"))
        [told] = [each for each in odd.asked if each["path"] == "token"]
        assert (told["code_verifier"], told["redirect_uri"]) == ("v" * 43, "https://here/back")
        pair = base64.b64decode(told["authorization"].removeprefix("Basic ")).decode()
        assert pair == "satchel:a+secret+%2F+with+signs+%2B+and+more"
        assert "client_secret" not in told
        odd.document, odd.clock.now = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}, 0
        assert await outcome(adapter) == ""
        assert odd.asked[-2 if odd.asked[-1]["path"] == "me" else -1].get("client_secret", SECRET) == SECRET

    with_odd(work)


WRONG: dict[str, dict[str, Any]] = {
    "nonce": {"nonce": "another"},
    "no nonce": {"nonce": None},
    "issuer": {"iss": "https://evil.example"},
    "no issuer": {"iss": None},
    "audience": {"aud": "another"},
    "no audience": {"aud": None},
    "an audience of many without a party": {"aud": ["satchel", "another"]},
    "another party": {"aud": ["satchel", "another"], "azp": "another"},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a subject that is no text": {"sub": 7},
    "a long subject": {"sub": "x" * 256},
    "over": {"exp": 1},
    "no end": {"exp": None},
    "an end that is no number": {"exp": "tomorrow"},
    "no time": {"iat": None},
}


@pytest.mark.parametrize(
    ("named", "wanted"),
    [
        ("https://ids.example.org/end?tenant=1", "https://ids.example.org/end?tenant=1&"),
        ("http://ids.example.org/end", ""),
        ("javascript:alert(1)", ""),
        ("data:text/html,x", ""),
        ("/end", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_a_browser_is_led_to_end_a_sign_in_at_a_page_of_the_provider_alone(named: str | None, wanted: str) -> None:
    async def work(odd: Odd, adapter: OidcProvider) -> None:
        odd.document["end_session_endpoint"] = named
        told = "client_id=satchel&post_logout_redirect_uri=https%3A%2F%2Fhere%2Fsign-in" if wanted else ""
        assert await adapter.end_page(back="https://here/sign-in") == wanted + told
        await identified(adapter)
        own = OidcProvider(Client(odd.issuer, "satchel", SECRET), odd.clock)
        odd.document["end_session_endpoint"] = f"{odd.issuer}/end"
        assert (await own.end_page(back="x")).startswith(f"{odd.issuer}/end?client_id=satchel&")
        await own.close()

    with_odd(work)


def test_a_token_with_one_wrong_claim_signs_nobody_in() -> None:
    async def work(odd: Odd, adapter: OidcProvider) -> None:
        for what, claims in WRONG.items():
            odd.claims = claims
            assert await outcome(adapter) == "unauthenticated", what
        for claims in ({"aud": ["satchel"]}, {"aud": ["satchel", "another"], "azp": "satchel"}):
            odd.claims = claims
            assert await outcome(adapter) == "", claims

    with_odd(work)


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def by_secret(said: str, key: bytes) -> str:
    """Return a token that is signed with a secret instead of a private key."""
    head = encoded(b'{"alg":"HS256","kid":"first"}')
    return f"{head}.{said}.{encoded(hmac.digest(key, f'{head}.{said}'.encode(), 'sha256'))}"


def test_a_token_that_the_issuers_keys_did_not_sign_signs_nobody_in() -> None:
    async def work(odd: Odd, adapter: OidcProvider) -> None:
        for name in ("second", "first"):
            odd.header, odd.key = {"alg": "RS256", "kid": name}, OTHER_KEY
            assert await outcome(adapter) == "unauthenticated", name
        odd.header, odd.key = {"alg": "RS256", "kid": "first"}, KEY
        now = odd.clock.now // 1_000
        bare = {"iss": odd.issuer, "aud": "satchel", "sub": "ann", "nonce": "n", "iat": now, "exp": now + 300}
        good = jwt.encode(odd.header, bare, KEY)
        said = good.split(".")[1]
        public = KEY.as_pem(private=False)
        # What everybody knows, or we ourselves, as the secret of a signature that needs one.
        hashed = [by_secret(said, key) for key in (public, public.strip(), SECRET.encode())]
        none = encoded(b'{"alg":"none"}') + f".{said}."
        for odd.token in (*hashed, none, good[:-4] + "AAAA", "x", "a.b.c", good.rpartition(".")[0]):
            assert await outcome(adapter) == "unauthenticated", odd.token
        odd.token = good
        assert await outcome(adapter) == ""

    with_odd(work)


def test_a_new_key_of_the_issuer_is_found_and_asked_for_seldom() -> None:
    async def work(odd: Odd, adapter: OidcProvider) -> None:
        assert await outcome(adapter) == ""
        odd.keys, odd.key, odd.header = [OTHER_KEY, CURVE_KEY], CURVE_KEY, {"alg": "ES256", "kid": "curve"}
        assert await outcome(adapter) == "unauthenticated"
        odd.clock.now += oidc.KEYS_AGAIN_MS
        assert await outcome(adapter) == ""
        fetched = [each["path"] for each in odd.asked].count("keys")
        odd.header, odd.key = {"alg": "RS256", "kid": "first"}, KEY
        for _ in range(5):
            assert await outcome(adapter) == "unauthenticated"
        assert [each["path"] for each in odd.asked].count("keys") == fetched == 2

    with_odd(work)


def test_an_address_counts_when_the_provider_verified_it_and_of_nobody_else() -> None:
    async def work(odd: Odd, adapter: OidcProvider) -> None:
        for claims, email in (
            ({"email": "a@b.c", "email_verified": True}, "a@b.c"),
            ({"email": "a@b.c", "email_verified": False}, ""),
            ({"email": "a@b.c", "email_verified": "true"}, ""),
            ({"email": "a@b.c"}, ""),
            ({"email": ["a@b.c"], "email_verified": True}, ""),
            ({"email": "a@b.c\n", "email_verified": True}, ""),
        ):
            odd.claims = claims
            assert (await identified(adapter)).email == email, claims
        odd.claims, odd.userinfo = {}, {"sub": "bob", "email": "b@b.c", "email_verified": True}
        assert await outcome(adapter) == "unauthenticated"

    with_odd(work)


def test_a_provider_that_does_not_answer_as_it_should_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(odd: Odd, adapter: OidcProvider) -> None:
        for document in (
            {"issuer": "https://evil.example"},
            {"issuer": odd.issuer + "/"},
            {"jwks_uri": 7},
            {"jwks_uri": "http://192.0.2.1/keys"},
            {"jwks_uri": "https://10.0.0.1/keys"},
            {"jwks_uri": "https://[::1]/keys"},
            {"jwks_uri": "file:///etc/passwd"},
            {"jwks_uri": f"{odd.issuer}/elsewhere"},
            {"jwks_uri": f"{odd.issuer}/none"},
            {"token_endpoint": "https://169.254.169.254/token"},
        ):
            odd.document, odd.clock.now = document, odd.clock.now + oidc.KEPT_MS
            assert await outcome(adapter) == "unavailable", document
        odd.document, odd.clock.now = {}, odd.clock.now + oidc.KEPT_MS
        for odd.status in (401, 500, 302):
            assert await outcome(adapter) == "unavailable", odd.status
        odd.status = 400
        assert await outcome(adapter) == "unauthenticated"
        odd.status = 200
        monkeypatch.setattr(oidc, "ANSWER_BYTES_MAX", 100)
        odd.clock.now += oidc.KEPT_MS
        assert await outcome(adapter) == "unavailable"

    with_odd(work)


def test_names_are_asked_at_public_addresses_alone_but_for_the_issuers_own() -> None:
    async def scenario() -> None:
        with pytest.raises(OSError):
            await oidc._PublicResolver("id.example").resolve("localhost", 443)
        found = await oidc._PublicResolver("localhost").resolve("localhost", 443)
        assert {each["host"] for each in found} <= {"127.0.0.1", "::1"}

    asyncio.run(scenario())
    require_allowed("https://id.example/keys", "https://id.example")
    require_allowed("https://keys.example/keys", "https://id.example")
    require_allowed("https://10.0.0.1/keys", "https://10.0.0.1")
    refused = ("http://id.example/keys", "https://user@id.example:1/", "https://10.0.0.1/", "https://127.1.1.1/", "")
    # Addresses of IPv6 that stand for one of this machine.
    for url in (*refused, "https://[::ffff:127.0.0.1]/", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/"):
        with pytest.raises(Unavailable):
            require_allowed(url, "https://id.example")


def test_settings_that_would_not_work_stop_the_start() -> None:
    good = {"oidc_issuer": "https://id.example", "oidc_client_id": "satchel", "public_url": "https://files.example"}
    made = load_settings({**good, "oidc_claim": "groups=files", "oidc_domains": "Example.org, b.c"}).oidc
    assert made is not None
    assert (made.claim, made.domains, made.new_accounts) == (("groups", "files"), ("example.org", "b.c"), False)
    assert load_settings({**good, "oidc_issuer": "http://127.0.0.1:9000"}).oidc is not None
    assert load_settings({}).oidc is None
    assert SECRET in load_settings({**good, "oidc_client_secret": SECRET}).secrets()
    assert SECRET not in repr(load_settings({**good, "oidc_client_secret": SECRET}))
    for wrong in (
        {"oidc_issuer": "http://id.example"},
        {"oidc_issuer": "id.example"},
        {"oidc_issuer": "https://id.example?x=1"},
        {"oidc_client_id": ""},
        {"public_url": ""},
        {"oidc_claim": "groups"},
        {"oidc_new_accounts": "perhaps"},
    ):
        with pytest.raises(SettingInvalid):
            load_settings(good | wrong)


def test_who_is_refused_is_not_told_why() -> None:
    async def work(odd: Odd, adapter: OidcProvider) -> None:
        told = set()
        for claims in ({"nonce": "x"}, {"aud": "x"}, {"exp": 1}):
            odd.claims = claims
            with pytest.raises(Unauthenticated) as refused:
                await identified(adapter)
            told.add((str(refused.value), *refused.value.fields.items()))
        assert len(told) == 1

    with_odd(work)
