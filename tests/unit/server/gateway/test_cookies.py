"""The cookie of a browser: its name, and whose page may use it."""

from __future__ import annotations

import pytest

from satchel.core.errors import Unauthenticated
from satchel.server.gateway.cookies import Cookies, cookies_of
from satchel.server.settings import load_settings

PLAIN = Cookies(is_secure=False)
SECURE = Cookies(is_secure=True, origin="https://files.example.org")


def headers(**named: str) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in named.items()]


@pytest.mark.parametrize(
    ("told", "is_secure"),
    [
        ({}, False),
        ({"public_url": "http://localhost:8484"}, False),
        ({"public_url": "https://files.example.org"}, True),
        ({"behind_proxy": "127.0.0.1"}, True),
        ({"tls_certificate": "c", "tls_key": "k"}, True),
    ],
)
def test_over_tls_the_cookie_is_bound_to_the_host(told: dict[str, object], is_secure: bool) -> None:
    cookies = cookies_of(load_settings({"data": "/nowhere", **told}))
    text = cookies.setting("token", 60)
    assert text.startswith("__Host-satchel=token; Path=/;" if is_secure else "satchel=token; Path=/;")
    assert text.endswith("; Secure") == is_secure
    assert {"HttpOnly", "SameSite=Strict"} <= {part.strip() for part in text.split(";")}


def test_the_token_is_that_of_the_right_name_alone() -> None:
    assert SECURE.token(headers(cookie="a=1; __Host-satchel=x; satchel=y")) == "x"
    assert PLAIN.token(headers(cookie="__Host-satchel=x;satchel=y")) == "y"
    for cookie in ("", "satchel", "satchel=", "xsatchel=y", "satchel=" + "y" * 200, "satchel=ä", "=;=;"):
        assert PLAIN.token(headers(cookie=cookie)) == ""


@pytest.mark.parametrize(
    ("cookies", "host", "origin", "is_own"),
    [
        (PLAIN, "127.0.0.1:8484", "http://127.0.0.1:8484", True),
        (PLAIN, "127.0.0.1:8484", "http://127.0.0.1:9999", False),
        (PLAIN, "127.0.0.1:8484", "null", False),
        (PLAIN, "127.0.0.1:8484", "", False),
        (PLAIN, "", "http://", False),
        (SECURE, "10.0.0.1:80", "https://files.example.org", True),
        (SECURE, "files.example.org", "http://files.example.org", False),
        (SECURE, "files.example.org", "https://files.example.org.evil.example", False),
        (SECURE, "files.example.org", "https://evil.example", False),
        (Cookies(), "files.example.org", "https://files.example.org", True),
    ],
)
def test_a_page_is_ours_by_its_origin(cookies: Cookies, host: str, origin: str, is_own: bool) -> None:
    told = [(name, value) for name, value in headers(host=host, origin=origin) if value]
    for kind in ({"type": "http", "method": "POST", "scheme": "http"}, {"type": "websocket", "scheme": "ws"}):
        assert cookies.is_own(told, kind["scheme"]) == is_own
        if is_own:
            cookies.require_own_page({**kind, "headers": told})
        else:
            with pytest.raises(Unauthenticated):
                cookies.require_own_page({**kind, "headers": told})
    cookies.require_own_page({"type": "http", "method": "GET", "scheme": "http", "headers": told})
