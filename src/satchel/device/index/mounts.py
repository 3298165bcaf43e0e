"""Shared folders that stand in this link's tree, and what a person's own changes left in the trash on their way out.

Invariant: a mount's row is a folder that is a leaf: what is below belongs to the index of its own child link, and no
row of this index has the mount for a parent for longer than until the next start (`turning`).
Source: docs/adr/2026-11-29-shared-folders-on-a-disk.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from satchel.core.ids import ID_BYTES, NamespaceId, Nid
from satchel.device.index.schema import EXCLUDED
from satchel.device.index.store import Index
from satchel.device.ports import DiskPath

_KEPT_PREFIX = "unsynced-"


class MountStage(IntEnum):
    """HELD: synced by a child link. ENDING: the part in it is over, and it leaves this disk. RELEASED: the service went
    back to before it was shared, so it is an ordinary folder again."""

    HELD = 1
    ENDING = 2
    RELEASED = 3


@dataclass(frozen=True, slots=True)
class Mount:
    """A shared folder. refused_ms: when a deletion of its folder was last refused, 0 for never."""

    ns: NamespaceId
    stage: MountStage
    refused_ms: int = 0


@dataclass(frozen=True, slots=True)
class MountState:
    """How the row of a mount stands: which of its sides are there, and what the disk showed of its folder."""

    is_remote: bool
    is_local: bool
    is_synced: bool
    inode: int
    birth_ns: int


@dataclass(frozen=True, slots=True)
class Carried:
    """What only this disk has, leaving the shared folder. trashed: its name in the trash; path: where it stood."""

    trashed: str
    nid: Nid
    path: DiskPath


_AROUND_ENDING = """
WITH RECURSIVE around (nid) AS (
  SELECT n.l_parent FROM mounts AS m CROSS JOIN nodes AS n ON n.nid = m.nid WHERE m.stage = 2 AND n.l_state > 0
  UNION SELECT n.l_parent FROM around AS a CROSS JOIN nodes AS n ON n.nid = a.nid WHERE n.l_state > 0
)
SELECT nid FROM around
"""


def kept_name(ns: NamespaceId, now_ns: int, random: bytes) -> str:
    """Return what something only this disk has of a shared folder is called in the trash.

    That is no name with a time, and so it is never too old; and without any note it says whose it is.
    """
    return f"{_KEPT_PREFIX}{ns.hex()}-{now_ns}-{random.hex()}"


def ns_of_kept(name: str) -> NamespaceId | None:
    """Return the shared folder that something in the trash is out of, None for what came there otherwise."""
    ns, dash, _ = name.removeprefix(_KEPT_PREFIX).partition("-")
    if not (name.startswith(_KEPT_PREFIX) and dash and len(ns) == 2 * ID_BYTES):
        return None
    try:
        return NamespaceId(bytes.fromhex(ns))
    except ValueError:
        return None


_STATES = """
SELECT m.nid, n.r_state = 1, n.l_state > 0, n.s_state = 1, COALESCE(n.l_inode, 0), COALESCE(n.l_birth, 0)
FROM mounts AS m LEFT JOIN nodes AS n ON n.nid = m.nid
"""
_HOLD_ROWS = """
SELECT m.nid FROM mounts AS m WHERE m.stage = 1 AND (
  EXISTS (SELECT 1 FROM nodes AS n INDEXED BY nodes_local WHERE n.l_parent = m.nid AND n.l_state > 0)
  OR EXISTS (SELECT 1 FROM nodes AS n INDEXED BY nodes_remote WHERE n.r_parent = m.nid AND n.r_state = 1))
"""


def load_mounts(index: Index) -> dict[Nid, Mount]:
    """Return the mounts by row."""
    rows = index.connection.execute("SELECT nid, ns, stage, refused_ms FROM mounts")
    return {Nid(nid): Mount(NamespaceId(ns), MountStage(stage), refused) for nid, ns, stage, refused in rows}


def put_mount(index: Index, nid: Nid, mount: Mount) -> None:
    """Note a mount as it is now."""
    values = (nid, mount.ns, int(mount.stage), mount.refused_ms)
    index.connection.execute("INSERT OR REPLACE INTO mounts VALUES (?, ?, ?, ?)", values)


def drop_mount(index: Index, nid: Nid, new_node: Callable[[], bytes]) -> None:
    """The row is an ordinary one again.

    Where the service has no such folder any more it is another node: that of a mount that ended is never brought back.
    """
    index.connection.execute("DELETE FROM mounts WHERE nid = ?", (nid,))
    index.connection.execute(
        "UPDATE nodes SET node_id = ?, r_state = 0, r_seq = 0, r_content_rev = 0, r_place_rev = 0, dirty = 1"
        " WHERE nid = ? AND r_state <> 1",
        (new_node(), nid),
    )


def mount_states(index: Index) -> dict[Nid, MountState]:
    """Return how the rows of all mounts stand; one whose row is gone has no side."""
    return {
        Nid(nid): MountState(bool(remote), bool(local), bool(synced), inode, birth)
        for nid, remote, local, synced, inode, birth in index.connection.execute(_STATES)
    }


def mounts_with_rows(index: Index) -> list[Nid]:
    """Return the mounts that are held and have rows below them here, which belong to their child links.

    One in which a part ends waits for that: what is in there leaves this disk, and is nothing of the child link's.
    """
    found = [Nid(row[0]) for row in index.connection.execute(_HOLD_ROWS)]
    around = {row[0] for row in index.connection.execute(_AROUND_ENDING)} if found else set()
    return [nid for nid in found if nid not in around]


def put_carried(index: Index, carried: Carried) -> None:
    """Note something before it goes to the trash: a stop may hide the outcome."""
    values = (carried.trashed, carried.nid, carried.path)
    index.connection.execute("INSERT OR REPLACE INTO carried VALUES (?, ?, ?)", values)


def load_carried(index: Index) -> list[Carried]:
    """Return what is on its way out, in the order in which it went."""
    rows = index.connection.execute("SELECT trashed, nid, path FROM carried ORDER BY trashed")
    return [Carried(trashed, Nid(nid), DiskPath(path)) for trashed, nid, path in rows]


def drop_carried(index: Index, trashed: str) -> None:
    """It has arrived, or never left."""
    index.connection.execute("DELETE FROM carried WHERE trashed = ?", (trashed,))


def forget_service(index: Index) -> None:
    """To this tree the service has nothing any more, and nothing is left out of it: all that there is stands here."""
    index.connection.execute(f"UPDATE nodes SET l_state = 0, dirty = 1 WHERE l_state = {EXCLUDED}")
    index.connection.execute(
        "UPDATE nodes SET r_state = 0, dirty = 1 WHERE r_state <> 0 OR l_state > 0 OR s_state <> 0"
    )
    index.connection.execute("DELETE FROM left_out")
