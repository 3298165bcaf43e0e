"""Whether those who hold a connection may still do so, and how far the journals are that they follow. Invariant: one
look answers for all that ask in one moment, so what a waiting connection costs the database does not grow with their
number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from satchel.core.access import Right, Role, allows
from satchel.core.ids import AccountId, LinkId, NamespaceId
from satchel.server.accounts.link_runs import holds_run
from satchel.server.accounts.members import State
from satchel.server.accounts.principal import Means, Principal
from satchel.server.db.engine import Connection, Database, fetch_in, fetch_in_pairs
from satchel.server.db.gathering import Gathering
from satchel.server.ports import Clock

GATHER_S = 0.25
"""Those who are due within so long of each other share a look."""
GROUP_MAX = 1_024


class Standing(Enum):
    """HOLDS: all is as it was. REVOKED: the token is worthless. TAKEN: another start of the link said hello.

    CHANGED: the account may read or write something else than when it came.
    """

    HOLDS = "holds"
    REVOKED = "revoked"
    TAKEN = "taken"
    CHANGED = "changed"


class Held(NamedTuple):
    """Who holds a connection: by which token, for which start of which link; namespaces: what it follows.

    readable: what the account could read, and whether it could write there; None for who does not care.
    """

    principal: Principal
    token_hash: bytes
    link: LinkId
    run: int
    namespaces: tuple[NamespaceId, ...] = ()
    readable: frozenset[tuple[NamespaceId, bool]] | None = None


class Answer(NamedTuple):
    """heads: the newest seqs of what is followed; without those that are gone."""

    standing: Standing
    heads: Mapping[NamespaceId, int]


class Standings:
    """Looks whether connections may go on."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._asked: Gathering[None, Held, Answer] = Gathering(self._read, self._pause, count_max=GROUP_MAX)

    async def of(self, held: Held) -> Answer:
        """Return how it stands now, not as it was kept. Raises: as `Database.read`."""
        return await self._asked.ask(None, held)

    async def _pause(self) -> None:
        await self._clock.sleep_s(GATHER_S)

    async def _read(self, _: None, asked: Sequence[Held]) -> list[Answer]:
        now_ms = self._clock.now_ms()
        return await self._db.read(lambda conn: standings_txn(conn, asked, now_ms))


async def standings_txn(conn: Connection, asked: Sequence[Held], now_ms: int) -> list[Answer]:
    """Return how each stands, in order, in four statements for all; in one more where browsers are among them."""
    valid = await fetch_in(
        conn,
        "SELECT d.token_hash FROM devices d JOIN accounts a ON a.account_id = d.account_id"
        " WHERE d.token_hash IN {keys} AND d.revoked_at IS NULL AND a.is_disabled = 0",
        [each.token_hash for each in asked],
    )
    runs = await fetch_in_pairs(
        conn,
        "SELECT t.device_id, t.link_id, t.run FROM {wanted} CROSS JOIN link_runs t"
        " WHERE t.device_id = w.k0 AND t.link_id = w.k1",
        [(each.principal.device_id, each.link) for each in asked],
    )
    followed = sorted({ns for each in asked for ns in each.namespaces})
    heads: dict[NamespaceId, int] = dict(
        await fetch_in(conn, "SELECT ns, head_seq FROM namespaces WHERE ns IN {keys}", followed)
    )
    shared = await fetch_in(
        conn,
        f"SELECT account_id, ns, role FROM memberships WHERE account_id IN {{keys}} AND state = {int(State.ACCEPTED)}",
        sorted({each.principal.account_id for each in asked if each.readable is not None}),
    )
    tokens = {row[0] for row in valid}
    browsers = [each for each in asked if each.principal.means is Means.SESSION]
    if browsers:
        open_ones = await fetch_in_pairs(
            conn,
            "SELECT t.token_hash, t.ends_at FROM {wanted} CROSS JOIN sessions t JOIN accounts a"
            " ON a.account_id = t.account_id WHERE t.account_id = w.k0 AND t.token_hash = w.k1 AND a.is_disabled = 0",
            [(each.principal.account_id, each.token_hash) for each in browsers],
        )
        tokens |= {row[0] for row in open_ones if row[1] > now_ms}
    last = {(device, link): run for device, link, run in runs}

    readable: defaultdict[AccountId, set[tuple[bytes, Role]]] = defaultdict(set)
    for account, ns, role in shared:
        readable[account].add((ns, Role(role)))

    def standing(each: Held) -> Standing:
        if each.token_hash not in tokens:
            return Standing.REVOKED
        if not holds_run(each.run, last.get((each.principal.device_id, each.link))):
            return Standing.TAKEN
        now = {(NamespaceId(ns), allows(role, Right.WRITE)) for ns, role in readable[each.principal.account_id]}
        is_same = each.readable is None or each.readable == now | {(each.principal.root_ns, True)}
        return Standing.HOLDS if is_same else Standing.CHANGED

    return [Answer(standing(each), {ns: heads[ns] for ns in each.namespaces if ns in heads}) for each in asked]
