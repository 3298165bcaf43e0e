"""Short-lived keys of a link's holder, and the limit on guessing its password. Invariant: a key opens one link, for one
purpose, until its time, and no longer than the password that it was given for holds.

Keys are sealed, not stored: an HMAC under a key of the store's, so every process knows them. Source: docs/use/links.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from satchel.core.errors import TooManyRequests
from satchel.core.ids import ContentHash, NodeId
from satchel.server.accounts.guesses import network_of
from satchel.server.ports import EphemeralState
from satchel.server.sharing.shares import Share

KEY_MS = 60 * 60 * 1000
_KEY_CHARS_MAX = 80
_TIME_BYTES = 8
_LINK_GUESSES, _LINK_GUESSES_PER_S = 100, 1 / 10
_NETWORK_GUESSES, _NETWORK_GUESSES_PER_S = 60, 1 / 10
_ADDRESS_GUESSES, _ADDRESS_GUESSES_PER_S = 20, 1 / 15


class LinkKeys:
    """Seals and checks keys. secret: the store's own, 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        # Derived, so that no other use of the store's key can make one of these.
        self._secret = hmac.digest(secret, b"satchel links", hashlib.sha256)

    def unlocking(self, share: Share, *, until_ms: int) -> str:
        """Return the key that stands for the link's password as it is now."""
        return self._sealed(until_ms, b"unlock", share.share_id, share.password_hash.encode())

    def unlocks(self, key: str, share: Share, *, now_ms: int) -> bool:
        """Tell whether the key stands for the link's password."""
        return self._holds(key, now_ms, b"unlock", share.share_id, share.password_hash.encode())

    def resuming(self, share: Share, node_id: NodeId, content: ContentHash, *, until_ms: int) -> str:
        """Return the key with which a counted download of this content may be gone on with."""
        return self._sealed(until_ms, b"resume", share.share_id, node_id, content)

    def resumes(self, key: str, share: Share, node_id: NodeId, content: ContentHash, *, now_ms: int) -> bool:
        """Tell whether the key belongs to a counted download of this content."""
        return self._holds(key, now_ms, b"resume", share.share_id, node_id, content)

    def _sealed(self, until_ms: int, *parts: bytes) -> str:
        until = until_ms.to_bytes(_TIME_BYTES, "big")
        return base64.urlsafe_b64encode(until + self._mac(until, *parts)).rstrip(b"=").decode()

    def _holds(self, key: str, now_ms: int, *parts: bytes) -> bool:
        if not key or len(key) > _KEY_CHARS_MAX or not key.isascii():
            return False
        try:
            raw = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
        except (binascii.Error, ValueError):
            return False
        until, mac = raw[:_TIME_BYTES], raw[_TIME_BYTES:]
        return hmac.compare_digest(mac, self._mac(until, *parts)) and now_ms < int.from_bytes(until, "big")

    def _mac(self, *parts: bytes) -> bytes:
        return hmac.digest(
            self._secret, b"".join(len(part).to_bytes(4, "big") + part for part in parts), hashlib.sha256
        )


async def spend_guess(state: EphemeralState, share: Share, address: str) -> None:
    """Take one guess at a link's password, whatever comes of it. Raises: TooManyRequests.

    Asked before the password is looked at: guesses that come at once are all counted. The address's own limit is asked
    first, so that one guesser uses up no others'.
    """
    buckets = (
        (f"link:address:{share.share_id.hex()}:{address}", _ADDRESS_GUESSES, _ADDRESS_GUESSES_PER_S),
        (f"link:network:{network_of(address)}", _NETWORK_GUESSES, _NETWORK_GUESSES_PER_S),
        (f"link:password:{share.share_id.hex()}", _LINK_GUESSES, _LINK_GUESSES_PER_S),
    )
    for key, burst, per_s in buckets:
        wait_s = await state.spend(key, burst=burst, per_s=per_s)
        if wait_s > 0:
            raise TooManyRequests("Too many passwords were tried.", retry_after_s=int(wait_s) + 1)
