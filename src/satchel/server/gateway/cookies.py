"""The cookie of a browser's session. Invariant: no script reads it, no other site sends it, and it counts for nothing
that a page of another origin asks.

Over TLS, our own or a proxy's, its name begins with `__Host-`, so that no other host and no plain connection can set
it. Without TLS the service listens on loopback alone, and a browser would refuse that name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from satchel.core.errors import Unauthenticated
from satchel.server.gateway.raw import Scope, header
from satchel.server.settings import Settings

Headers = Iterable[tuple[bytes, bytes]]
NAME = "satchel"
TOKEN_CHARS_MAX = 128
COOKIES_BYTES_MAX = 16 * 1024
READING = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Cookies:
    """is_secure: browsers come over TLS; origin: the public address's, empty when none is set."""

    is_secure: bool = True
    origin: str = ""

    @property
    def name(self) -> str:
        """The cookie's name."""
        return f"__Host-{NAME}" if self.is_secure else NAME

    def setting(self, token: str, age_s: int) -> str:
        """Return the value of `Set-Cookie`. age_s: 0 removes it."""
        secure = "; Secure" if self.is_secure else ""
        return f"{self.name}={token}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}"

    def token(self, headers: Headers) -> str:
        """Return the token of a request's raw headers; empty when there is none."""
        return self.value(headers, self.name, TOKEN_CHARS_MAX)

    def value(self, headers: Headers, wanted: str, chars_max: int) -> str:
        """Return the value of a cookie of this name; empty when there is none, or it is too long."""
        for part in header(headers, b"cookie")[:COOKIES_BYTES_MAX].split(b";"):
            name, _, value = part.strip().partition(b"=")
            if name == wanted.encode() and 0 < len(value) <= chars_max and value.isascii():
                return value.decode()
        return ""

    def require_own_page(self, scope: Scope) -> None:
        """Return when nothing is changed, or our own page asks. Raises: Unauthenticated."""
        if scope["type"] == "http" and scope["method"] in READING:
            return
        if not self.is_own(scope["headers"], scope.get("scheme", "http")):
            raise Unauthenticated("This request was sent by a page of another site.")

    def is_own(self, headers: Headers, scheme: str) -> bool:
        """Tell whether the page that sent this is ours. A browser names it in all that changes something."""
        origin, host = (header(headers, name).decode("latin-1").lower() for name in (b"origin", b"host"))
        if not origin or not host:
            return False
        plain = "https" if self.is_secure else {"ws": "http", "wss": "https"}.get(scheme, scheme)
        return origin in (self.origin, f"https://{host}", f"{plain}://{host}")


def cookies_of(settings: Settings) -> Cookies:
    """Return the cookies of a service with these settings."""
    parts = urlsplit(settings.public_url)
    origin = f"{parts.scheme}://{parts.netloc}".lower() if settings.public_url else ""
    is_secure = bool(settings.tls_key or settings.behind_proxy or parts.scheme == "https")
    return Cookies(is_secure, origin)
