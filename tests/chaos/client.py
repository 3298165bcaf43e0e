"""The device protocol as a device speaks it under faults: asked again at another gateway until there is an answer."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import aiohttp
import msgspec

from satchel.core.errors import every_fault
from satchel.core.ids import BlockHash, DeviceId, LinkId, NamespaceId
from satchel.core.messages import ErrorReply, GetReply, GetRequest, decode_frame, decode_plain, encode_frame
from satchel.server.accounts.service import authenticate, register_account, register_device
from satchel.server.adapters.machine import MachineClock
from satchel.server.db.engine import Database
from tests.chaos.scene import Broken

T = TypeVar("T")

ATTEMPT_S = 200.0
"""Longer than a gateway may try to reach its stores."""
ANSWER_S = 400.0
"""So long there may be no answer at all before the run fails."""
PAUSE_S = 0.05
GET_BLOCKS = 100
_RETRYABLE = frozenset(fault.code for fault in every_fault() if fault.retryable)


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks. token: of one device."""

    ns: NamespaceId
    device: DeviceId
    token: str


async def new_accounts(db: Database, names: Sequence[str], *, devices: int) -> list[list[Account]]:
    """Make accounts, each with so many signed-in devices; they have no password."""
    clock = MachineClock()
    made = []
    for name in names:
        account = await register_account(db, clock, name=name, password_hash="none")
        tokens = [
            (await register_device(db, clock, account_id=account.account_id, name=f"device {number}"))[0]
            for number in range(devices)
        ]
        principals = [await authenticate(db, token) for token in tokens]
        made.append([Account(p.root_ns, p.device_id, token) for p, token in zip(principals, tokens, strict=True)])
    return made


@dataclass(slots=True)
class Client:
    """One device. gateways: return the addresses as they are now. cuts: tries that got no answer, by their reason."""

    session: aiohttp.ClientSession
    gateways: Sequence[Callable[[], str]]
    account: Account
    chance: random.Random
    link: LinkId = field(init=False)
    cuts: Counter[str] = field(default_factory=Counter)
    _at: int = field(init=False)

    def __post_init__(self) -> None:
        self.link = LinkId(self.chance.randbytes(16))
        self._at = self.chance.randrange(len(self.gateways))

    @property
    def url(self) -> str:
        """Address of the gateway that it asks now."""
        return self.gateways[self._at % len(self.gateways)]()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.account.token}", "Content-Type": "application/x-satchel"}

    def turn(self) -> None:
        """Ask the next gateway from now on."""
        self._at += 1

    async def ask(
        self, route: str, message: msgspec.Struct, into: type[T], bodies: Sequence[bytes] = ()
    ) -> tuple[T, list[memoryview], int]:
        """Return the answer, its bodies, and how many tries had none. Raises: Broken for a refusal that is final."""
        raw = b"".join(encode_frame(message, bodies))
        lost = 0
        try:
            async with asyncio.timeout(ANSWER_S):
                while True:
                    body = await self._tried(route, raw)
                    if body is not None:
                        told: tuple[T, list[memoryview]] = decode_frame(body, into)
                        return *told, lost
                    lost += 1
                    self.turn()
                    await asyncio.sleep(PAUSE_S * self.chance.random() * min(40, 2**lost))
        except TimeoutError:
            raise Broken(f"no answer to {route} for {ANSWER_S:.0f} s: {dict(self.cuts)}") from None

    async def _tried(self, route: str, raw: bytes) -> bytes | None:
        timeout = aiohttp.ClientTimeout(total=ATTEMPT_S, sock_connect=5)
        try:
            url = f"{self.url}/sync/v1/{route}"
            async with self.session.post(url, data=raw, headers=self.headers, timeout=timeout) as response:
                body = await response.read()
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.cuts[type(error).__name__] += 1
            return None
        if status == 200:
            return body
        told = decode_plain(body, ErrorReply)
        if told.code not in _RETRYABLE:
            raise Broken(f"{route} was refused for good: {status} {told.code} {told.message}")
        self.cuts[told.code] += 1
        return None

    async def read_blocks(self, hashes: Sequence[BlockHash]) -> list[tuple[GetReply, list[memoryview]]]:
        """Ask for blocks, many at a time."""
        parts = [hashes[at : at + GET_BLOCKS] for at in range(0, len(hashes), GET_BLOCKS)]
        got = []
        for part in parts:
            reply, bodies, _ = await self.ask("blocks/get", GetRequest(self.account.ns, tuple(part)), GetReply)
            got.append((reply, bodies))
        return got
