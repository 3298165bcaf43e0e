"""What was done in a namespace, the newest first, for people. Invariant: it is read from the journal alone, a bounded
part of it at a time, so it tells what happened and not what somebody noted about it.

What one device did in one minute, one after another and of one kind, is one group: its range of seqs opens it. Where
something stands is told by the names that the folders above it have now. Source: docs/design/030 (journal).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from satchel.core.access import Right
from satchel.core.entries import Action
from satchel.core.ids import ROOT_NODE, AccountId, DeviceId, LinkId, NamespaceId, NodeId
from satchel.core.paths import join_path
from satchel.server.accounts.access import authorize
from satchel.server.accounts.names import looked_up
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Connection, Database, Question, fetch_together
from satchel.server.metadata.nodes import Image, image_of
from satchel.server.metadata.tree import path_in
from satchel.server.metadata.view import View

SCANNED_MAX = 10_000
"""So many entries are looked through for one page; a page that found less says where to go on."""
PAGE = 1_000
GROUPS_MAX = 500
MINUTE_MS = 60_000

NAMES: dict[int, str] = {
    Action.CREATE: "create",
    Action.EDIT: "edit",
    Action.MOVE: "move",
    Action.DELETE: "delete",
    Action.UNDELETE: "restore",
    Action.ATTR: "attributes",
    Action.MOUNT: "mount",
    Action.UNMOUNT: "unmount",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries. folder: what stands, or stood, in it; None for all; below, above: seqs between which they lie,
    both left out; person: by whom, as called now, empty for everybody; does: of which kinds, as in NAMES, empty for
    all; is_grouped: what belongs together as one."""

    folder: NodeId | None = None
    below: int = 2**62
    above: int = 0
    person: str = ""
    does: frozenset[str] = frozenset()
    limit: int = 100
    is_grouped: bool = True


class Done(NamedTuple):
    """What somebody did. first_seq..last_seq: where it stands; entries: how many of them there are in the folder asked
    for; at_ms: Unix ms of the newest, and all that is told of one node is of that; does: as in NAMES; rewind: id of the
    rewind that it was a part of, empty for none; path_before: of a move; actor and device: as called now, or empty."""

    first_seq: int
    last_seq: int
    at_ms: int
    entries: int
    does: str
    rewind: bytes
    actor: str
    device: str
    node_id: NodeId
    kind: int
    path: str
    path_before: str
    size: int


class _Entry(NamedTuple):
    seq: int
    action: int
    node_id: NodeId
    pre: bytes | None
    post: bytes
    actor: AccountId
    device: DeviceId
    link: LinkId
    created_at: int

    @property
    def group(self) -> tuple[object, ...]:
        """What entries of one group share."""
        return self.actor, self.device, self.link, self.action, self.created_at // MINUTE_MS


async def activity(db: Database, principal: Principal, ns: NamespaceId, wanted: Wanted) -> tuple[list[Done], int]:
    """Return what was done, the newest first, and the seq to go on below; 0 at the end. Raises: NotFound."""
    await authorize(db, principal, ns, Right.READ)
    limit = max(1, min(wanted.limit, GROUPS_MAX))

    async def read_txn(conn: Connection) -> tuple[list[Done], int]:
        view, groups, below = View(ns), list[list[_Entry]](), wanted.below
        actor = await _person_txn(conn, wanted.person) if wanted.person else None
        for scanned in range(0, SCANNED_MAX, PAGE):
            entries = await _page_txn(conn, ns, above=wanted.above, below=below)
            found = [entry for entry in entries if not wanted.does or NAMES.get(entry.action) in wanted.does]
            if wanted.person:
                found = [entry for entry in found if entry.actor == actor]
            if wanted.folder is not None:
                found = await _within_txn(conn, view, found, wanted.folder)
            for entry in found:
                if groups and wanted.is_grouped and groups[-1][-1].group == entry.group:
                    groups[-1].append(entry)
                elif len(groups) == limit:
                    return await _told_txn(conn, view, groups), groups[-1][-1].seq
                else:
                    groups.append([entry])
            if len(entries) < PAGE:
                return await _told_txn(conn, view, groups), 0
            below = entries[-1].seq
            assert scanned < SCANNED_MAX
        return await _told_txn(conn, view, groups), below

    return await db.read(read_txn)


async def _person_txn(conn: Connection, name: str) -> AccountId | None:
    """Return whose name it is. Of nobody as much is read as of somebody who did nothing here, so both answer alike."""
    rows = await conn.fetch("SELECT account_id FROM accounts WHERE name_key = $1", looked_up(name))
    return AccountId(rows[0][0]) if rows else None


async def _page_txn(conn: Connection, ns: NamespaceId, *, above: int, below: int) -> list[_Entry]:
    rows = await conn.fetch(
        "SELECT seq, action, node_id, pre, post, actor, device, link, created_at FROM file_changes"
        " WHERE ns = $1 AND seq < $2 AND seq > $3 ORDER BY seq DESC LIMIT $4",
        *(ns, below, above, PAGE),
    )
    return [_Entry._make(row) for row in rows]


async def _within_txn(conn: Connection, view: View, entries: Sequence[_Entry], folder: NodeId) -> list[_Entry]:
    """Return the entries of what stands in the folder, or did before the entry or after it."""
    places = {entry.seq: {entry.node_id, *_parents(entry)} for entry in entries}
    await view.load_txn(conn, set(itertools.chain.from_iterable(places.values())) - {ROOT_NODE}, set())
    return [
        entry
        for entry in entries
        if any(place != ROOT_NODE and view.stands_in(place, folder) for place in places[entry.seq])
    ]


def _parents(entry: _Entry) -> Iterator[NodeId]:
    for packed in (entry.pre, entry.post):
        if packed is not None:
            yield image_of(packed).parent_id


async def _told_txn(conn: Connection, view: View, groups: Sequence[Sequence[_Entry]]) -> list[Done]:
    shown = [group[0] for group in groups]
    await view.load_txn(conn, {parent for entry in shown for parent in _parents(entry)} - {ROOT_NODE}, set())
    links = sorted({entry.link for entry in shown if len(entry.link) == 16})
    asked = [
        Question("SELECT account_id, name FROM accounts WHERE account_id IN {keys}", keys=[e.actor for e in shown]),
        Question("SELECT device_id, name FROM devices WHERE device_id IN {keys}", keys=[e.device for e in shown]),
        Question("SELECT rewind_id FROM rewinds WHERE ns = $1 AND rewind_id IN {keys}", (view.ns,), keys=links),
    ]
    accounts, devices, rewinds = await fetch_together(conn, asked)
    people: dict[bytes, str] = {row[0]: row[1] for row in accounts}
    machines: dict[bytes, str] = {row[0]: row[1] for row in devices}
    rewound = {row[0] for row in rewinds}
    return [
        _done(view, group, people.get(group[0].actor, ""), machines.get(group[0].device, ""), rewound)
        for group in groups
    ]


def _done(view: View, group: Sequence[_Entry], actor: str, device: str, rewinds: set[bytes]) -> Done:
    newest = group[0]
    post, pre = image_of(newest.post), None if newest.pre is None else image_of(newest.pre)
    before = _path(view, pre) if pre is not None and newest.action == Action.MOVE else ""
    rewind = newest.link if newest.link in rewinds else b""
    return Done(
        group[-1].seq,
        newest.seq,
        newest.created_at,
        len(group),
        NAMES.get(newest.action, "other"),
        rewind,
        actor,
        device,
        newest.node_id,
        post.kind,
        _path(view, post),
        before,
        post.size,
    )


def _path(view: View, image: Image) -> str:
    above = path_in(view, image.parent_id)
    return join_path([*above.split("/")[1:], image.name]) if above != "/" else join_path([image.name])
