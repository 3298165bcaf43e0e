"""Limits on everything that can be guessed. Invariant: a guess is paid for before it is looked at, so that many at once
are no more than the limit; the price is shared between gateways, and within one process while the shared state is gone.

An account's limit counts from its last sign-in that was completed: who knows the password is not kept out by it. Codes
of a second factor have a slower limit of their own, since they are short. Source: docs/design/060 (4).
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from enum import StrEnum
from typing import NamedTuple

from satchel.core.errors import TooManyRequests
from satchel.server.ports import EphemeralState


class Limit(NamedTuple):
    """So many at once, and so many a second in the long run."""

    burst: int
    per_s: float


class Guessed(StrEnum):
    """What is guessed; each has its own counts."""

    PASSWORD = "password"
    SECOND_FACTOR = "second_factor"
    APP_PASSWORD = "app_password"
    SETUP_CODE = "setup_code"
    INVITATION = "invitation"
    DEVICE_CODE = "device_code"
    DEVICE_SECRET = "device_secret"
    ACCOUNT_NAME = "account_name"
    PROVIDER = "provider"


SUBJECT = Limit(10, 10 / 300)
"""Of one account: ten, and ten more in five minutes."""
CODE = Limit(10, 1 / 600)
"""Six digits, of which three are right at a time: 1,440 guesses in ten days find one by a chance of 0.4 %."""
NAMES = Limit(30, 10 / 300)
"""Names of others that one account asks for: whether there is such an account."""
ADDRESS = Limit(200, 1 / 3)
NETWORK = Limit(1_000, 3.0)
"""Of a /24 or a /64, where many may stand behind one address of a router."""


_OF_SUBJECT = {Guessed.SECOND_FACTOR: CODE, Guessed.ACCOUNT_NAME: NAMES}


async def pay(state: EphemeralState, guessed: Guessed, *, address: str = "", subject: str = "", since: int = 0) -> None:
    """Pay for one guess. subject: whose secret it is, or who asks (any text); since: from when it counts; address:
    empty where who asks is known. Raises: TooManyRequests.

    The network comes first: who floods the service is stopped before the limits of others are touched.
    """
    keys = [(f"network:{network_of(address)}", NETWORK), (f"address:{address}", ADDRESS)] if address else []
    if subject:
        name = hashlib.sha256(subject.encode(errors="replace")).hexdigest()[:32]
        keys.append((f"subject:{name}:{since}", _OF_SUBJECT.get(guessed, SUBJECT)))
    for key, limit in keys:
        wait_s = await state.spend(f"guess:{guessed}:{key}", burst=limit.burst, per_s=limit.per_s)
        if wait_s > 0:
            raise TooManyRequests("Too many attempts.", retry_after_s=math.ceil(wait_s))


def network_of(address: str) -> str:
    """Return the /24 or /64 of an address; of what is no address, that itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        if mapped is None:
            return str(ipaddress.ip_network((parsed, 64), strict=False))
        parsed = mapped
    return str(ipaddress.ip_network((parsed, 24), strict=False))
