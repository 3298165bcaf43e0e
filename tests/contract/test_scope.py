"""What a link leaves out, on SQLite and on PostgreSQL: its pages skip all beneath, and never what it holds."""

from __future__ import annotations

import random

import pytest

from satchel.core.entries import Action, Entry, Kind
from satchel.core.errors import LimitExceeded, NotFound
from satchel.core.ids import ROOT_NODE, LinkId, NamespaceId, NodeId, Tag, scope_mark
from satchel.core.limits import SCOPE_NODES_MAX
from satchel.core.messages import (
    ChangesRequest,
    DeleteOp,
    EditOp,
    MoveOp,
    Placement,
    Position,
    ScopeRequest,
    SnapshotRequest,
    UndeleteOp,
)
from satchel.server.db.engine import Database
from satchel.server.feed import pages
from satchel.server.feed.scopes import store_scope
from satchel.server.feed.service import changes, snapshot
from tests.support.databases import Run
from tests.support.writers import NoInline, Writer, content_of, create_file, new_id, op_id


async def leave_out(link: Writer, *nodes: NodeId) -> bytes:
    request = ScopeRequest(link.principal.root_ns, link.link, nodes)
    return (await store_scope(link.db, link.principal, request)).scope


async def told(link: Writer, seq: int = 0, tag: bytes = b"", *, limit: int = 2_000) -> tuple[list[Entry], int, bytes]:
    """Follow the journal as the link does, to its end; every page joins the one before."""
    entries: list[Entry] = []
    while True:
        request = ChangesRequest(Position(link.principal.root_ns, seq, Tag(tag)), link.link, limit)
        page, _ = await changes(link.db, NoInline(), link.principal, request)  # type: ignore[arg-type]
        assert page.prev_seq == seq and not page.is_reset
        entries += page.entries
        seq, tag = page.last_seq, page.last_tag
        if not page.has_more:
            assert seq == page.head_seq
            return entries, seq, tag


async def shown(link: Writer, unit: NodeId = ROOT_NODE, *, limit: int = 2_000) -> list[Entry]:
    """Read a snapshot as the link does, all pages."""
    entries: list[Entry] = []
    after, seq, has_more = NodeId(b""), -1, True
    while has_more:
        request = SnapshotRequest(link.principal.root_ns, unit, after, seq, limit, link.link)
        page = await snapshot(link.db, link.principal, request)
        entries += page.entries
        seq, has_more = page.seq, page.has_more
        after = page.entries[-1].node_id if page.entries else after
    return entries


def names(entries: list[Entry]) -> list[str]:
    return [entry.name for entry in entries]


async def moved(writer: Writer, node: NodeId, parent: NodeId, name: str) -> None:
    rev = (await writer.entry(node)).place_rev
    await writer.stored(MoveOp(op_id(), (Placement(node, rev, parent, name),)))


def test_all_beneath_a_left_out_folder_is_skipped_and_itself_is_followed(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        other = await ada.other_device()
        big = await other.folder("big")
        deep = await other.folder("deep", big)
        kept = await other.file("kept")
        mark = await leave_out(ada, big)
        assert mark == scope_mark([big])
        inside = await other.file("inside", parent=deep)
        await other.stored(
            EditOp(op_id(), inside, (await other.entry(inside)).content_rev, content_of(b"more")), blocks=[b"more"]
        )
        assert names((await told(ada))[0]) == ["big", "kept"]
        assert sorted(names(await shown(ada))) == ["big", "kept"]
        assert names(await shown(ada, big)) == ["big"]
        # Other links of the account, and programs that are none, are shown everything.
        assert len((await told(other))[0]) == len(await other.all_entries()) == 5
        _, seq, tag = await told(ada)
        await moved(other, big, ROOT_NODE, "huge")
        await other.stored(DeleteOp(op_id(), inside, 10_000))
        await moved(other, kept, big, "gone in")
        await other.stored(DeleteOp(op_id(), big, 10_000))
        entries = (await told(ada, seq, tag))[0]
        assert [(entry.name, entry.action) for entry in entries] == [
            ("huge", Action.MOVE),
            ("gone in", Action.MOVE),
            ("huge", Action.DELETE),
        ]

    run(scenario)


def test_what_moves_in_and_out_is_told_and_a_chain_of_moves_ends_right(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        other = await ada.other_device()
        out, here, box = await other.folder("out"), await other.folder("here"), await other.folder("box")
        note = await other.file("note", parent=box)
        await leave_out(ada, out)
        _, seq, tag = await told(ada)
        # Into a visible folder, which then goes out of sight: both ways are told, in order.
        await moved(other, box, here, "box")
        await moved(other, here, out, "here")
        await moved(other, note, out, "note")
        entries, seq, tag = await told(ada, seq, tag)
        assert [(entry.name, entry.parent_id == out) for entry in entries] == [("box", False), ("here", True)]
        # Out again: the folder itself is told; what is in it, the link fetches.
        await moved(other, box, ROOT_NODE, "box")
        await moved(other, note, box, "note")
        entries, seq, tag = await told(ada, seq, tag)
        assert names(entries) == ["box", "note"]
        assert sorted(names(await shown(ada, box))) == ["box", "note"]
        # Nothing is left out any more: everything is told again.
        assert await leave_out(ada) == b""
        await other.file("late", parent=out)
        assert names((await told(ada, seq, tag))[0]) == ["late"]
        assert len(await shown(ada)) == len(await other.snapshot())

    run(scenario)


def test_what_the_link_itself_committed_is_always_told(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        other = await ada.other_device()
        out = await other.folder("out")
        await leave_out(ada, out)
        await ada.file("mine", parent=out)
        await other.file("theirs", parent=out)
        assert names((await told(ada))[0]) == ["out", "mine"]

    run(scenario)


def test_a_deleted_unit_that_comes_back_comes_without_what_is_left_out(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        other = await ada.other_device()
        box = await other.folder("box")
        out = await other.folder("out", box)
        await other.file("inside", parent=out)
        await other.file("beside", parent=box)
        await leave_out(ada, out)
        _, seq, tag = await told(ada)
        await other.stored(DeleteOp(op_id(), box, 10_000))
        await other.stored(UndeleteOp(op_id(), box, ROOT_NODE, "box", is_subtree=True))
        entries, *_ = await told(ada, seq, tag)
        assert [(entry.name, entry.is_live, entry.is_subtree) for entry in entries] == [
            ("box", False, False),
            ("box", True, True),
        ]
        assert sorted(names(await shown(ada, box))) == ["beside", "box", "out"]

    run(scenario)


def test_a_long_stretch_that_is_left_out_costs_one_empty_page(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        other = await ada.other_device()
        out = await other.folder("out")
        await leave_out(ada, out)
        _, seq, tag = await told(ada)
        await other.stored(
            *(create_file(NodeId(new_id()), f"{at}", b"data", out) for at in range(50)), blocks=[b"data"]
        )
        await other.file("seen")
        request = ChangesRequest(Position(ada.principal.root_ns, seq, Tag(tag)), ada.link, 5)
        page, _ = await changes(db, NoInline(), ada.principal, request)  # type: ignore[arg-type]
        assert names(list(page.entries)) == ["seen"]
        assert (page.prev_seq, page.last_seq, page.has_more) == (seq, seq + 51, False)
        assert page.scope == scope_mark([out])
        # No page looks on for ever: it ends with nothing, further on.
        monkeypatch.setattr(pages, "HIDDEN_ROWS_MAX", 20)
        page, _ = await changes(db, NoInline(), ada.principal, request)  # type: ignore[arg-type]
        assert (page.entries, page.last_seq, page.has_more) == ((), seq + 20, True)
        assert names((await told(ada, seq, tag, limit=5))[0]) == ["seen"]

    run(scenario)


def test_a_snapshot_in_small_pages_skips_what_is_left_out(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        out, here = await ada.folder("out"), await ada.folder("here")
        for number in range(20):
            await ada.file(f"out {number}", parent=out)
            await ada.file(f"here {number}", parent=here)
        await leave_out(ada, out)
        wanted = sorted(["out", "here", *(f"here {number}" for number in range(20))])
        assert sorted(names(await shown(ada, limit=3))) == wanted
        assert sorted(names(await shown(ada, here, limit=3))) == [name for name in wanted if name != "out"]

    run(scenario)


def test_a_scope_belongs_to_its_link_and_device_and_is_replaced_whole(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        one, two = await ada.folder("one"), await ada.folder("two")
        other = await ada.other_device()
        other.link = ada.link
        await leave_out(ada, one, two, one)
        await leave_out(ada, two)
        await other.file("in one", parent=one)
        await other.file("in two", parent=two)
        assert names((await told(ada))[0]) == ["one", "two", "in one"]
        ada.link, link = LinkId(new_id()), ada.link
        assert len((await told(ada))[0]) == 4
        ada.link = link
        assert names(await shown(ada)).count("in two") == 0

    run(scenario)


def test_a_scope_has_a_limit_and_needs_the_right_to_read(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        nodes = [NodeId(new_id()) for _ in range(SCOPE_NODES_MAX + 1)]
        await leave_out(ada, *nodes[1:])
        with pytest.raises(LimitExceeded):
            await leave_out(ada, *nodes)
        with pytest.raises(NotFound):
            await store_scope(db, ada.principal, ScopeRequest(NamespaceId(new_id()), ada.link, ()))

    run(scenario)


@pytest.mark.parametrize("seed", range(6))
def test_whoever_folds_what_is_told_holds_just_what_is_in_sight(run: Run, seed: int) -> None:
    """Random moves, deletions and returns; the link folds at random moments, by the rules of the protocol."""

    async def scenario(db: Database) -> None:
        stream = random.Random(seed)
        ada = await Writer.new(db)
        other = await ada.other_device()
        folders = [ROOT_NODE, *[await other.folder(f"f{at}") for at in range(5)]]
        out = frozenset({folders[1], folders[2]})
        await leave_out(ada, *out)
        held: dict[NodeId, Entry] = {}
        seq, tag = 0, b""
        for turn in range(60):
            parent, name = stream.choice(folders), f"n{turn}"
            match stream.randrange(5):
                case 0:
                    folders.append(await _made(other, name, parent, Kind.FOLDER))
                case 1:
                    await _made(other, name, parent, Kind.FILE)
                case 2 | 3:
                    live = await other.snapshot()
                    await _moved_if_it_may(other, stream.choice(live), parent, name)
                case _:
                    live = [entry for entry in await other.snapshot() if entry.node_id not in out]
                    if live and stream.random() < 0.4:
                        await other.commit(DeleteOp(op_id(), stream.choice(live).node_id, 10_000))
            if stream.random() < 0.3:
                seq, tag = await _follow(ada, held, out, seq, tag)
        await _follow(ada, held, out, seq, tag)
        wanted = {entry.node_id: (entry.parent_id, entry.name) for entry in await shown(ada)}
        assert {node: (entry.parent_id, entry.name) for node, entry in held.items()} == wanted

    run(scenario)


async def _made(writer: Writer, name: str, parent: NodeId, kind: Kind) -> NodeId:
    live = {entry.node_id for entry in await writer.snapshot()}
    home = parent if parent in live else ROOT_NODE
    return await (writer.folder(name, home) if kind is Kind.FOLDER else writer.file(name, parent=home))


async def _moved_if_it_may(writer: Writer, entry: Entry, parent: NodeId, name: str) -> None:
    """A move into itself, or into what is deleted, is refused; that is no matter here."""
    await writer.commit(MoveOp(op_id(), (Placement(entry.node_id, entry.place_rev, parent, name),)))


async def _follow(
    link: Writer, held: dict[NodeId, Entry], out: frozenset[NodeId], seq: int, tag: bytes
) -> tuple[int, bytes]:
    """Fold what is told: an entry whose folder is not held, or left out, is one of a node that went out of sight."""
    entries, seq, tag = await told(link, seq, tag)
    for entry in entries:
        if entry.node_id in held and held[entry.node_id].seq >= entry.seq:
            continue
        was_held = entry.node_id in held
        parent = entry.parent_id
        is_in_sight = entry.is_live and (parent == ROOT_NODE or (parent in held and parent not in out))
        if not is_in_sight:
            _drop(held, entry.node_id)
            continue
        held[entry.node_id] = entry
        if entry.kind == Kind.FOLDER and not was_held and entry.node_id not in out and entry.action == Action.MOVE:
            held.update({each.node_id: each for each in await shown(link, entry.node_id)})
    return seq, tag


def _drop(held: dict[NodeId, Entry], top: NodeId) -> None:
    held.pop(top, None)
    for below in [node for node, entry in held.items() if entry.parent_id == top]:
        _drop(held, below)
