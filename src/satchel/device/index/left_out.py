"""What a person keeps off this disk (selective sync), and the rows of units that leave it.

Invariant: a row that is kept off has the local state EXCLUDED: the planner sees an unknown side, the scanner no row.
Below such a row stands nothing. Source: docs/design/040 (rows, rule 10).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import IntEnum

from satchel.core.ids import Nid, NodeId, derived_id
from satchel.device.index.reader import json_of
from satchel.device.index.schema import EXCLUDED
from satchel.device.index.store import Index


class Stage(IntEnum):
    """How far something is on its way off this disk, or back.

    LEAVING: what is not uploaded is being uploaded. OUT: it is off this disk. RETURNING: the service is asked for all
    of it. HIDING: it was moved into something that is OUT, on another device, and leaves this disk for that.
    """

    LEAVING = 1
    OUT = 2
    RETURNING = 3
    HIDING = 4


TAKEN = 16
"""Added to a stage whose unit is just being taken from the disk: after a crash, what stands there may be another."""


@dataclass(frozen=True, slots=True)
class LeavingUnit:
    """A unit as it stands. members: rows on this disk; waiting: those that hold what the service may not have.

    elsewhere: rows of the service's unit that stand elsewhere on this disk. is_unsure: a file was too young to be sure
    of when it was read.
    """

    members: tuple[Nid, ...]
    waiting: tuple[Nid, ...]
    elsewhere: tuple[Nid, ...]
    is_unsure: bool


CHANGING = "file_changing"
"""Why a file could not be read just now; it is looked at again very soon."""

_VALUE = "n.l_kind = n.{side}_kind AND n.l_content = n.{side}_content AND n.l_exec = n.{side}_exec"
_PLACE = "(n.nid = ?2 OR (n.l_parent = n.{side}_parent AND n.l_name = n.{side}_name))"
_COMMITTED = " OR ".join(
    f"(n.{side}_state = 1 AND {_VALUE.format(side=side)} AND {_PLACE.format(side=side)})" for side in "sr"
)
_OVERRULED = (
    f"({_VALUE.format(side='s')} OR {_VALUE.format(side='r')}) AND n.r_state = 1 AND n.s_state = 1"
    " AND (n.r_parent <> n.s_parent OR n.r_name <> n.s_name)"
)
"""The service moved it too, and that is its place: of this disk's move nothing is waited for."""
_MEMBERS = f"""
SELECT n.nid, n.l_state = 1, {_COMMITTED}, {_OVERRULED}, n.held_code, n.l_kind = 1 AND n.l_ctime = 0 FROM nodes AS n
WHERE n.nid IN (SELECT value FROM json_each(?1)) AND n.l_state > 0
"""


def load_left(index: Index) -> tuple[dict[Nid, Stage], set[Nid]]:
    """Return what is kept off this disk, or on its way, by row; and which of that was just being taken."""
    rows = list(index.connection.execute("SELECT nid, stage FROM left_out"))
    taken = {Nid(nid) for nid, stage in rows if stage >= TAKEN}
    return {Nid(nid): Stage(stage % TAKEN) for nid, stage in rows}, taken


def put_left(index: Index, nid: Nid, stage: Stage, *, taken: bool = False) -> None:
    """Note the stage. Durable only in a durable transaction. taken: it is just being taken from the disk."""
    index.connection.execute("INSERT OR REPLACE INTO left_out VALUES (?, ?)", (nid, int(stage) + TAKEN * taken))


def let_back(index: Index, nid: Nid) -> None:
    """The row is not kept off this disk any more, but absent from it."""
    index.connection.execute(f"UPDATE nodes SET l_state = 0 WHERE nid = ? AND l_state = {EXCLUDED}", (nid,))


def drop_left(index: Index, nid: Nid) -> None:
    """The row is an ordinary one again, absent from this disk if it was kept off."""
    index.connection.execute("DELETE FROM left_out WHERE nid = ?", (nid,))
    let_back(index, nid)


def keep_off(index: Index, nid: Nid) -> None:
    """The row is kept off this disk from now on."""
    index.connection.execute(
        f"UPDATE nodes SET l_state = {EXCLUDED}, s_state = 0, dirty = 0, held_code = NULL, held_reason = NULL,"
        " next_try_ms = NULL WHERE nid = ?",
        (nid,),
    )


def hide_remote(index: Index, nids: Iterable[Nid]) -> None:
    """The service's side of these rows is out of sight."""
    index.connection.execute(
        "UPDATE nodes SET r_state = 0 WHERE nid IN (SELECT value FROM json_each(?))", (json_of(nids),)
    )


def leaving_unit(index: Index, top: Nid, *, any_place: bool) -> LeavingUnit:
    """Return what is to leave the disk with `top`. any_place: wherever the top itself stands."""
    here, there = index.unit("l", top), index.unit("r", top)
    leaving = set(there)
    members: list[Nid] = []
    waiting: list[Nid] = []
    is_unsure = False
    for nid, is_known, is_committed, is_overruled, held, is_young in index.connection.execute(
        _MEMBERS, (json_of(here), top if any_place else -1)
    ):
        if is_known:
            members.append(Nid(nid))
            is_unsure = is_unsure or bool(is_young)
        is_safe = is_committed or (is_overruled and nid in leaving)
        if (is_known and not is_safe) or (not is_known and (nid == top or held == CHANGING)):
            waiting.append(Nid(nid))
    inside = set(here)
    elsewhere = tuple(nid for nid in there if nid not in inside and index.reader.local(nid) is not None)
    members.sort(key=lambda nid: nid != top)
    return LeavingUnit(tuple(members), tuple(waiting), elsewhere, is_unsure)


def take_off(index: Index, top: Nid, *, stays: bool, busy: Collection[Nid], kept: Collection[Nid]) -> list[Nid]:
    """Nothing of the unit is on this disk any more: its rows go. Result: all rows that it had, `top` first.

    stays: `top` itself is kept off from now on. busy: rows in flight, which stay as absent ones. kept: rows below that
    are kept off this disk themselves and lose only the service's side. What the service has elsewhere loses its local
    side only; what stands elsewhere on this disk becomes a new node, since the service holds the old one out of sight.
    """
    here, there = index.unit("l", top), index.unit("r", top)
    run = index.connection.execute
    inside = set(there)
    outside = [nid for nid in here if nid not in inside and index.is_remote(nid)]
    index.clear_local_unit(top)
    index.clear_synced(here)
    renewed = [nid for nid in there if nid not in kept and index.reader.local(nid) is not None]
    for nid in renewed:
        node_id = index.node_id_of(nid)
        assert node_id is not None
        run(
            "UPDATE nodes SET node_id = ?, r_state = 0, s_state = 0, r_seq = 0, r_content_rev = 0, r_place_rev = 0"
            " WHERE nid = ?",
            (NodeId(derived_id(node_id, b"left out")), nid),
        )
    hide_remote(index, [nid for nid in there if nid != top or not stays])
    spared = {*outside, *renewed, *kept}
    if stays:
        spared.add(top)
        keep_off(index, top)
    gone = [nid for nid in dict.fromkeys((*here, *there)) if nid not in spared]
    index.clear_synced(gone)
    run("DELETE FROM nodes WHERE nid IN (SELECT value FROM json_each(?))", (json_of(n for n in gone if n not in busy),))
    return list(dict.fromkeys((top, *here, *there)))


def is_changing_below(index: Index, folder: bytes) -> bool:
    """Tell whether something in a folder of this disk, that no row knows yet, could not be read just now."""
    query = "SELECT 1 FROM unread WHERE path >= ? AND path < ? AND code = ? LIMIT 1"
    return next(iter(index.connection.execute(query, (folder + b"/", folder + b"0", CHANGING))), None) is not None


def stand_still(index: Index, nid: Nid) -> None:
    """Let the service's place of a row be the one that it has on this disk: it shall not move before it leaves."""
    index.connection.execute(
        "UPDATE nodes SET r_parent = l_parent, r_name = l_name, r_key = l_key WHERE nid = ?", (nid,)
    )


def stands_at_excluded(index: Index, nid: Nid) -> bool:
    """Tell whether the local row has a name that something that is kept off this disk has on the service."""
    query = (
        "SELECT 1 FROM nodes AS n JOIN nodes AS o ON o.r_parent = n.l_parent AND o.r_key = n.l_key AND o.r_state = 1"
        f" WHERE n.nid = ? AND n.l_state > 0 AND o.l_state = {EXCLUDED} LIMIT 1"
    )
    return next(iter(index.connection.execute(query, (nid,))), None) is not None


def holds_any_file(index: Index, folder: Nid) -> bool:
    """Tell whether anything but folders is known in the local folder."""
    query = "SELECT 1 FROM nodes WHERE nid IN (SELECT value FROM json_each(?)) AND l_kind <> 2 LIMIT 1"
    return next(iter(index.connection.execute(query, (json_of(index.unit("l", folder)),))), None) is not None


def above_of(index: Index, nid: Nid) -> Nid | None:
    """Return the folder of a row, as this disk has it, else as the service has it; None when neither does."""
    query = "SELECT CASE WHEN l_state > 0 THEN l_parent WHEN r_state = 1 THEN r_parent END FROM nodes WHERE nid = ?"
    found = next(iter(index.connection.execute(query, (nid,))), (None,))[0]
    return None if found is None else Nid(found)


def remote_child(index: Index, parent: Nid, key: str) -> Nid | None:
    """Return the row that has this name key in a folder of the service."""
    query = "SELECT nid FROM nodes WHERE r_parent = ? AND r_key = ? AND r_state = 1"
    found = next(iter(index.connection.execute(query, (parent, key))), None)
    return None if found is None else Nid(found[0])


def dirty_below(index: Index, top: Nid) -> list[Nid]:
    """Return the rows of a unit of the service that differ between the trees."""
    return sorted(index.dirty_of(index.unit("r", top)))
