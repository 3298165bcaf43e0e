"""Who asks. Invariant: a request without a living token reaches no room; a revoked one ends within five seconds.

The token travels in `Authorization: Bearer` alone, never in a URL. Source: docs/design/060 (2, 3).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable

from satchel.core.errors import Unauthenticated
from satchel.core.ids import DeviceId
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import authenticate
from satchel.server.db.engine import Database
from satchel.server.ports import Clock

KEPT_MS = 5_000
KEPT_MAX = 20_000
TOKEN_CHARS_MAX = 256


class Identity:
    """Tokens to principals, remembered for five seconds."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[int, Principal]] = OrderedDict()

    async def of(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """Return who asks, from a request's raw headers. Raises: Unauthenticated."""
        return await self.of_token(bearer(headers))

    async def of_token(self, token: str) -> Principal:
        """Return whose token this is. Raises: Unauthenticated."""
        # Kept by hash, so that no living token lies about in memory.
        key = hashlib.sha256(token.encode()).digest()
        now_ms = self._clock.now_ms()
        kept = self._kept.get(key)
        if kept is not None and now_ms < kept[0]:
            return kept[1]
        principal = await authenticate(self._db, token)
        self._kept[key] = (now_ms + KEPT_MS, principal)
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return principal

    def forget(self, device: DeviceId) -> None:
        """Ask again for this device's tokens from now on; called where one is revoked."""
        for key in [key for key, (_, principal) in self._kept.items() if principal.device_id == device]:
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
