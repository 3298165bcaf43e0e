"""Which start of a device's link was here last: how a device that went back in time, or that is there twice, is known.

Invariant: of two starts with one past only one holds the link; the other is told at its next hello.
A run is number << RUN_NAME_BITS | random name of the start; the number grows with each start of that link.
"""

from __future__ import annotations

from satchel.core.ids import LinkId
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database

RUN_NAME_BITS = 32


async def begin_link_run(db: Database, principal: Principal, link: LinkId, run: int) -> int:
    """Take the run of a link's hello. Result: 0; else the newest start's number, and this one is not newer: it was
    restored from an image, or copied.

    run: number << RUN_NAME_BITS | random name of the start. A run that is not taken changes nothing here: whoever was
    restored comes again with a higher number. A name of 0 is a device that names no starts.
    """

    async def begin_txn(conn: Connection) -> int:
        found = await conn.fetch(
            "SELECT run FROM link_runs WHERE device_id = $1 AND link_id = $2", principal.device_id, link
        )
        last = found[0][0] if found else -1
        if not (_run_number(run) > _run_number(last) or is_same_start(run, last)):
            return max(1, _run_number(last))
        await conn.execute(
            "INSERT INTO link_runs (device_id, link_id, run) VALUES ($1, $2, $3)"
            " ON CONFLICT (device_id, link_id) DO UPDATE SET run = excluded.run",
            *(principal.device_id, link, max(run, last)),
        )
        return 0

    return await db.write(principal.account_id, begin_txn)


async def holds_link(db: Database, principal: Principal, link: LinkId, run: int) -> bool:
    """Tell whether the start that said this hello is still the last one."""
    found = await db.read(
        lambda conn: conn.fetch(
            "SELECT run FROM link_runs WHERE device_id = $1 AND link_id = $2", principal.device_id, link
        )
    )
    return holds_run(run, found[0][0] if found else None)


def holds_run(run: int, last: int | None) -> bool:
    """Tell whether `run` names the start that `last`, the link's stored run, names. None: the link is not known."""
    return last is None or _run_name(run) == _run_name(last)


def is_same_start(run: int, other: int) -> bool:
    """Tell whether both name one start."""
    return run == other or (0 != _run_name(run) == _run_name(other))


def _run_number(run: int) -> int:
    return run if run < 1 << RUN_NAME_BITS else run >> RUN_NAME_BITS


def _run_name(run: int) -> int:
    return 0 if run < 1 << RUN_NAME_BITS else run & ((1 << RUN_NAME_BITS) - 1)
