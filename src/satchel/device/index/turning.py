"""Lets rows change hands between the index of a link and that of a shared folder in it, while neither runs.

Invariant: what the new index is to hold is durable in it before the old one lets go; a stop in between does it anew.
Nothing on disk is touched. A node that stands in the shared folder on one side and elsewhere on the other becomes two:
what this disk has is new where it stands now, and gone where it was; no deletion of it goes before the new one is safe.
Source: docs/adr/2026-11-29-shared-folders-on-a-disk.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from satchel.core.ids import ROOT_NID, Nid
from satchel.device.durable import sync_folder
from satchel.device.index.beside import FILE_NAME
from satchel.device.index.reader import json_of
from satchel.device.index.store import Index

_COLUMNS = (
    "nid, node_id, r_state, r_parent, r_name, r_key, r_kind, r_content, r_exec, r_size, r_mtime, r_content_rev,"
    " r_place_rev, r_seq, r_blocks, r_xattrs, l_state, l_parent, l_name, l_key, l_kind, l_content, l_exec, l_size,"
    " l_mtime, l_ctime, l_inode, l_birth, l_version, l_blocks, l_xattrs, s_state, s_parent, s_name, s_kind, s_content,"
    " s_exec, s_xattrs, dirty"
)
_PICKED = "(SELECT value FROM json_each(?))"
_ABSENT_HERE = "UPDATE nodes SET l_state = 0, dirty = 1 WHERE nid IN " + _PICKED
_AGREED_ELSEWHERE = "UPDATE nodes SET s_state = 0, dirty = 1 WHERE s_state = 1 AND s_parent IN " + _PICKED
_NEW_HERE = (
    "UPDATE nodes SET r_state = 0, r_seq = 0, r_content_rev = 0, r_place_rev = 0, s_state = 0, dirty = 1 WHERE nid IN "
    + _PICKED
)
_LOCAL_COLUMNS = (
    "l_state, l_parent, l_name, l_key, l_kind, l_content, l_exec, l_size, l_mtime, l_ctime, l_inode, l_birth,"
    " l_version, l_blocks, l_xattrs"
)

NewNode = Callable[[], bytes]
"""Gives the id of a node that is new."""


class Target(Protocol):
    """Where the index of a shared folder's link is kept."""

    @property
    def is_there(self) -> bool: ...

    def write(self, fill: Callable[[Index], None]) -> None:
        """Make it with what `fill` puts into a new index: all of it, durable on return, or nothing."""
        ...

    def drop(self) -> None:
        """Forget it."""
        ...


class FolderTarget:
    """A `Target` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def is_there(self) -> bool:
        return (self._folder / FILE_NAME).exists()

    def write(self, fill: Callable[[Index], None]) -> None:
        folder = self._folder
        draft = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700, parents=True)
        made = Index(str(draft / FILE_NAME))
        try:
            fill(made)
            made.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            made.close()
        sync_folder(draft)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
        sync_folder(folder.parent)

    def drop(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Split:
    """Rows by where they stand: in the shared folder (`inner`) or outside, on each side.

    moved: rows that are the shared folder's; those of `out` stand outside it on this disk, those of `came` stand in it
    on this disk alone, and were agreed on outside or nowhere.
    """

    moved: tuple[Nid, ...]
    out: tuple[Nid, ...]
    came: tuple[Nid, ...]


def _split(index: Index, mount: Nid) -> _Split:
    here, there, agreed = (set(index.unit(side, mount)) - {mount} for side in ("l", "r", "s"))
    states = {
        Nid(nid): (remote == 1, local > 0)
        for nid, remote, local in index.connection.execute(
            f"SELECT nid, r_state, l_state FROM nodes WHERE nid IN {_PICKED}", (json_of(here | there | agreed),)
        )
    }
    came = {nid for nid in here - there if states[nid][0]}
    # What neither side has in there is nobody's: both deleted it, or took it elsewhere.
    moved = there | (here - came) | {nid for nid in agreed if not any(states[nid])}
    out = {nid for nid in there | agreed if nid not in here and states[nid][1] and (nid in there or not states[nid][0])}
    return _Split(tuple(sorted(moved)), tuple(sorted(out)), tuple(sorted(came)))


def hand_over(index: Index, mount: Nid, target: Target | None, new_node: NewNode) -> bool:
    """Give the rows below `mount` to another index. Result: whether there was any; idempotent.

    An index that is there already keeps what it knows: it looks at the disk and asks the service for itself. target:
    None when nothing of it stands on this disk.
    """
    split = _split(index, mount)
    if not (split.moved or split.out or split.came):
        return False
    if target is not None and not target.is_there:
        target.write(lambda made: _fill_durably(made, index, mount, split, new_node))
    with index.durable():
        _let_go(index, mount, split, new_node)
    return True


def _fill_durably(made: Index, index: Index, mount: Nid, split: _Split, new_node: NewNode) -> None:
    with made.durable():
        _fill(made, index, mount, split, new_node)


def _fill(made: Index, index: Index, mount: Nid, split: _Split, new_node: NewNode) -> None:
    picked = json_of((*split.moved, *split.came))
    rows = list(index.connection.execute(f"SELECT {_COLUMNS} FROM nodes WHERE nid IN {_PICKED}", (picked,)))
    run = made.connection.executemany
    run(f"INSERT INTO nodes ({_COLUMNS}) VALUES ({', '.join('?' * len(_COLUMNS.split(',')))})", rows)
    for side in "rls":
        made.connection.execute(f"UPDATE nodes SET {side}_parent = ? WHERE {side}_parent = ?", (ROOT_NID, mount))
    # That the namespace around has them no more says nothing of this one, which may tell of them as they were before.
    made.connection.execute("UPDATE nodes SET r_seq = 0 WHERE r_state = 0")
    # Here they are new; the service knows those nodes elsewhere.
    made.connection.execute(_NEW_HERE, (json_of(split.came),))
    run("UPDATE nodes SET node_id = ? WHERE nid = ?", [(new_node(), nid) for nid in split.came])
    made.connection.execute(_ABSENT_HERE, (json_of(split.out),))
    # What was agreed on at a place outside is not agreed on in here.
    made.connection.execute(
        "UPDATE nodes SET s_state = 0, dirty = 1"
        " WHERE s_state = 1 AND s_parent <> ? AND s_parent NOT IN (SELECT nid FROM nodes)",
        (ROOT_NID,),
    )
    for table in ("left_out", "xattr_notes"):
        some = list(index.connection.execute(f"SELECT * FROM {table} WHERE nid IN {_PICKED}", (picked,)))
        run(f"INSERT INTO {table} VALUES (?, ?)", some)
    for table, values in (("blocklists", "?, ?"), ("local_blocks", "?, ?, ?, ?")):
        known = "SELECT l_content FROM nodes UNION SELECT r_content FROM nodes"
        wanted = json_of(bytes(row[0]).hex() for row in made.connection.execute(known) if row[0])
        query = f"SELECT * FROM {table} WHERE content IN (SELECT unhex(value) FROM json_each(?))"
        run(f"INSERT OR IGNORE INTO {table} VALUES ({values})", list(index.connection.execute(query, (wanted,))))
    for key in ("boot", "durable", "recovering", "versions"):
        made.put(key, index.get(key))


def _let_go(index: Index, mount: Nid, split: _Split, new_node: NewNode) -> None:
    stays = list(split.out)
    query = f"SELECT {_LOCAL_COLUMNS} FROM nodes WHERE nid IN {_PICKED} ORDER BY nid"
    kept = list(index.connection.execute(query, (json_of(stays),)))
    gone = json_of({*split.moved, *split.out})
    for table in ("nodes", "left_out", "xattr_notes"):
        index.connection.execute(f"DELETE FROM {table} WHERE nid IN {_PICKED}", (gone,))
    replaced: dict[Nid, Nid] = {}
    for nid, values in zip(stays, kept, strict=True):
        replaced[nid] = index.reserve()
        columns = f"nid, node_id, dirty, {_LOCAL_COLUMNS}"
        index.connection.execute(
            f"INSERT INTO nodes ({columns}) VALUES ({', '.join('?' * (3 + len(values)))})",
            (replaced[nid], new_node(), 1, *values),
        )
    for nid, instead in replaced.items():
        index.connection.execute("UPDATE nodes SET l_parent = ? WHERE l_parent = ?", (instead, nid))
    index.connection.execute(_ABSENT_HERE, (json_of(split.came),))
    # What was agreed on in the shared folder is so no more: nothing here may follow from it.
    index.connection.execute(_AGREED_ELSEWHERE, (json_of({*split.moved, *split.out, mount}),))
