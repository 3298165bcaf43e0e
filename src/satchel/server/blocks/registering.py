"""The rows of blocks that many commits bring at once. Invariant: each has its right when it is told so, and no fault
of another.

Where other services write too, block rows are never taken under a namespace's row, so a commit registers its blocks in
a transaction before its own. Those that come while some are on their way share the next one, statement by statement.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import NamedTuple

from satchel.core.errors import Fault, Unavailable
from satchel.core.ids import NamespaceId
from satchel.server.blocks.refs import PlacedBlock, register_all_txn
from satchel.server.db.engine import Database
from satchel.server.db.gathering import Gathering, Slots

GROUP_MAX = 64
BLOCKS_MAX = 64
"""What brings more registers by itself."""
AT_ONCE = 2
WAIT_S = 60.0
_KEY = b"blocks"


class _Ask(NamedTuple):
    ns: NamespaceId
    placed: Sequence[PlacedBlock]
    lease_until_ms: int
    now_ms: int


class _Registrar:
    """Registers for one database."""

    def __init__(self, db: Database) -> None:
        self._db = weakref.ref(db)
        self._slots = Slots(AT_ONCE, wait_s=WAIT_S, where="database")
        self._waiting: Gathering[None, _Ask, Fault | None] = Gathering(
            self._register, self._slots.taken, count_max=GROUP_MAX
        )

    async def register(self, ask: _Ask) -> None:
        fault = await self._waiting.ask(None, ask)
        if fault is not None:
            raise fault

    async def _register(self, _: None, asks: Sequence[_Ask]) -> list[Fault | None]:
        db = self._db()
        assert db is not None  # its callers hold it
        try:
            try:
                await _write(db, asks)
            except Unavailable:
                if len(asks) == 1:
                    raise
                # A pack that was given up concerns those who placed something in it.
                return [await _fault_of(db, ask) for ask in asks]
            return [None] * len(asks)
        finally:
            self._slots.release()


_registrars: weakref.WeakKeyDictionary[Database, _Registrar] = weakref.WeakKeyDictionary()


async def register(
    db: Database, ns: NamespaceId, placed: Sequence[PlacedBlock], *, lease_until_ms: int, now_ms: int
) -> None:
    """As `register_txn`, durable on return, in a transaction with what others register now. Raises: as that one."""
    ask = _Ask(ns, placed, lease_until_ms, now_ms)
    if len(placed) > BLOCKS_MAX:
        await _write(db, [ask], key=_KEY + ns)
        return
    registrar = _registrars.get(db)
    if registrar is None:
        registrar = _registrars[db] = _Registrar(db)
    await registrar.register(ask)


async def _write(db: Database, asks: Sequence[_Ask], *, key: bytes = b"") -> None:
    times = {"lease_until_ms": max(ask.lease_until_ms for ask in asks), "now_ms": max(ask.now_ms for ask in asks)}
    placed = [(ask.ns, ask.placed) for ask in asks]
    await db.write(key or _KEY + asks[0].ns, lambda conn: register_all_txn(conn, placed, **times))


async def _fault_of(db: Database, ask: _Ask) -> Fault | None:
    try:
        await _write(db, [ask])
    except Fault as fault:
        return fault
    return None
