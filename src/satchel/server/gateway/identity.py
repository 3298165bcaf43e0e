"""Who asks. Invariant: a request without a living token reaches no room; a revoked one ends within five seconds.

A device's token travels in `Authorization: Bearer`, a browser's in its cookie, and none ever in a URL. A cookie counts
for what the browser's own page asks alone. Source: docs/design/060 (2, 3, 5).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable

from satchel.core.errors import Unauthenticated
from satchel.core.ids import AccountId, DeviceId
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import authenticate
from satchel.server.accounts.sessions import authenticate_session
from satchel.server.db.engine import Database
from satchel.server.gateway.cookies import Cookies
from satchel.server.gateway.raw import Scope, header
from satchel.server.ports import Clock

KEPT_MS = 5_000
KEPT_MAX = 20_000
TOKEN_CHARS_MAX = 256


class Identity:
    """Tokens to principals, remembered for five seconds."""

    def __init__(self, db: Database, clock: Clock, cookies: Cookies | None = None) -> None:
        self._db = db
        self._clock = clock
        self.cookies = cookies or Cookies()
        self._kept: OrderedDict[bytes, tuple[int, Principal]] = OrderedDict()

    async def of_scope(self, scope: Scope) -> Principal:
        """Return who asks, from a request or a stream: by its token, or else by its cookie. Raises: Unauthenticated."""
        return (await self.holder(scope))[0]

    async def holder(self, scope: Scope) -> tuple[Principal, str]:
        """As `of_scope`, with the token."""
        headers = scope["headers"]
        if not header(headers, b"authorization") and (token := self.cookies.token(headers)):
            self.cookies.require_own_page(scope)
            return await self.of_session(token), token
        token = bearer(headers)
        return await self.of_token(token), token

    async def of(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """Return who asks, from a request's raw headers. Raises: Unauthenticated."""
        return await self.of_token(bearer(headers))

    async def of_token(self, token: str) -> Principal:
        """Return whose device's token this is. Raises: Unauthenticated."""
        return await self._known(token, lambda: authenticate(self._db, token))

    async def of_session(self, token: str) -> Principal:
        """Return whose browser's token this is. Raises: Unauthenticated."""
        # No header holds a line's end, so no device's token is taken for it.
        return await self._known(f"session\n{token}", lambda: authenticate_session(self._db, self._clock, token))

    async def _known(self, token: str, ask: Callable[[], Awaitable[Principal]]) -> Principal:
        # Kept by hash, so that no living token lies about in memory.
        key = hashlib.sha256(token.encode()).digest()
        now_ms = self._clock.now_ms()
        kept = self._kept.get(key)
        if kept is not None and now_ms < kept[0]:
            return kept[1]
        principal = await ask()
        self._kept[key] = (now_ms + KEPT_MS, principal)
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return principal

    def forget(self, device: DeviceId) -> None:
        """Ask again for this device's tokens from now on; called where one is revoked."""
        for key in [key for key, (_, principal) in self._kept.items() if principal.device_id == device]:
            del self._kept[key]

    def forget_account(self, account: AccountId) -> None:
        """Ask again for all tokens of this account from now on."""
        for key in [key for key, (_, principal) in self._kept.items() if principal.account_id == account]:
            del self._kept[key]

    def forget_all(self) -> None:
        """Ask again for every token from now on."""
        self._kept.clear()


def bearer(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the token of a request's raw headers. Raises: Unauthenticated when there is none or it cannot be one."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            token = token.strip()
            if scheme.lower() == b"bearer" and 0 < len(token) <= TOKEN_CHARS_MAX and token.isascii():
                return token.decode()
            break
    raise Unauthenticated("This request carries no token.")
