"""Changes, snapshots and blocklists, on SQLite and on PostgreSQL."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from satchel.core.errors import CursorInvalid, EpochChanged, LimitExceeded, NotFound
from satchel.core.ids import ROOT_NODE, ContentHash, LinkId, NodeId, Tag
from satchel.core.limits import (
    FEED_PAGE_BYTES_MAX,
    INLINE_DOWN_BYTES_MAX,
    MANIFEST_INLINE_BLOCKS_MAX,
    MANIFESTS_GET_COUNT_MAX,
)
from satchel.core.messages import (
    ChangesRequest,
    DeleteOp,
    EditOp,
    ManifestsRequest,
    Position,
    SnapshotRequest,
    UndeleteOp,
)
from satchel.server.db.engine import Connection, Database
from satchel.server.db.schema import new_epoch
from satchel.server.feed.seed import position, sync
from satchel.server.feed.service import changes, manifests, snapshot
from tests.support.databases import Run
from tests.support.spoiling import spoilt
from tests.support.writers import NoInline, Writer, content_of, create_file, create_folder, new_id, op_id


def test_pages_join_without_a_gap_and_end_at_the_head(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await ada.stored(*(create_folder(NodeId(new_id()), f"{number}") for number in range(7)))
        seqs, seq, tag, has_more = [], 0, b"", True
        while has_more:
            page = await ada.changes(seq, tag, limit=3)
            assert (page.prev_seq, page.head_seq) == (seq, 7)
            seqs += [entry.seq for entry in page.entries]
            seq, tag, has_more = page.last_seq, page.last_tag, page.has_more
        assert seqs == [1, 2, 3, 4, 5, 6, 7]
        page = await ada.changes(seq, tag)
        assert (page.entries, page.last_seq, page.last_tag, page.has_more) == ((), 7, tag, False)

    run(scenario)


@pytest.mark.parametrize(("seq", "tag"), [(1, b"wrong tag"), (2, b""), (3, b"12345678"), (0, b"12345678"), (-1, b"")])
def test_a_position_that_this_journal_never_had_is_reset(run: Run, seq: int, tag: bytes) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await ada.folder("a")
        await ada.folder("b")
        page = await ada.changes(seq, tag)
        assert (page.is_reset, page.entries, page.head_seq) == (True, (), 2)

    run(scenario)


def test_a_position_below_what_was_pruned_is_reset_and_the_oldest_kept_is_not(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        for name in "abc":
            await ada.folder(name)
        first, second, _ = await ada.all_entries()
        await db.write(
            ada.principal.root_ns,
            lambda conn: conn.execute("UPDATE namespaces SET min_seq = 2 WHERE ns = $1", ada.principal.root_ns),
        )
        assert (await ada.changes(first.seq, first.tag)).is_reset
        assert (await ada.changes()).is_reset
        page = await ada.changes(second.seq, second.tag)
        assert (page.is_reset, [entry.seq for entry in page.entries]) == (False, [3])

    run(scenario)


def test_small_contents_travel_once_with_the_newest_entry_and_never_to_their_own_link(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        other = await ada.other_device()
        mine, theirs = await ada.file("mine", b"mine"), await other.file("theirs", b"theirs")
        twin = await other.file("twin", b"theirs")
        edited = await other.file("edited", b"old")
        await other.stored(EditOp(op_id(), edited, 4, content_of(b"new")), blocks=[b"new"])
        limit = b"x" * INLINE_DOWN_BYTES_MAX
        await other.file("at the limit", limit)
        await other.file("past it", limit + b"x")
        await other.stored(replace(create_file(NodeId(new_id()), "empty"), content=content_of()))
        inline = NoInline(b"mine", b"theirs", b"old", b"new", limit, limit + b"x")
        request = ChangesRequest(Position(ada.principal.root_ns, 0, Tag(b"")), ada.link)
        page, bodies = await changes(db, inline, ada.principal, request)  # type: ignore[arg-type]
        found = [(entry.node_id, bodies[entry.inline]) for entry in page.entries if entry.inline >= 0]
        assert found[:3] == [(theirs, b"theirs"), (twin, b"theirs"), (edited, b"new")]
        assert [data for _, data in found[3:]] == [limit]
        assert page.entries[0].node_id == mine and page.entries[0].inline == -1
        assert len(bodies) == len(page.inline) == 3
        page, bodies = await changes(db, inline, ada.principal, replace(request, with_content=False))  # type: ignore[arg-type]
        assert bodies == [] and all(entry.inline == -1 for entry in page.entries)

    run(scenario)


def test_a_page_is_bounded_by_bytes_and_the_next_goes_on(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        count = FEED_PAGE_BYTES_MAX // INLINE_DOWN_BYTES_MAX + 20
        datas = [number.to_bytes(2, "big") * (INLINE_DOWN_BYTES_MAX // 2) for number in range(count)]
        await ada.stored(*(create_file(NodeId(new_id()), f"{at}", data) for at, data in enumerate(datas)), blocks=datas)
        request = ChangesRequest(Position(ada.principal.root_ns, 0, Tag(b"")), LinkId(b""))
        first, bodies = await changes(db, NoInline(*datas), ada.principal, request)  # type: ignore[arg-type]
        assert 0 < sum(map(len, bodies)) <= FEED_PAGE_BYTES_MAX
        assert first.has_more
        rest = replace(request, position=Position(ada.principal.root_ns, first.last_seq, first.last_tag))
        second, more = await changes(db, NoInline(*datas), ada.principal, rest)  # type: ignore[arg-type]
        assert len(first.entries) + len(second.entries) == count
        assert bodies + more == datas

    run(scenario)


def test_blocklists_travel_in_the_entry_up_to_the_limit_and_longer_ones_are_fetched(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        blocks = [bytes([at // 256, at % 256]) for at in range(MANIFEST_INLINE_BLOCKS_MAX + 1)]
        long, short = content_of(*blocks), content_of(*blocks[:-1])
        ops = [
            replace(create_file(NodeId(new_id()), name), content=c) for name, c in (("long", long), ("short", short))
        ]
        await ada.stored(*ops, blocks=blocks)
        assert [entry.blocks for entry in await ada.all_entries()] == [b"", short.blocks]
        assert sorted(entry.blocks for entry in await ada.snapshot()) == [b"", short.blocks]
        wanted = ManifestsRequest(ada.principal.root_ns, (long.content_hash, ContentHash(bytes(32))))
        reply = await manifests(db, ada.principal, wanted)
        assert reply.manifests == ((long.content_hash, long.blocks),)
        with pytest.raises(LimitExceeded):
            await manifests(db, ada.principal, replace(wanted, ids=wanted.ids * MANIFESTS_GET_COUNT_MAX))

    run(scenario)


def test_an_entry_of_a_journal_that_holds_no_lists_still_has_its_blocklist(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        node_id = await ada.file("a", b"first")
        await ada.stored(EditOp(op_id(), node_id, 1, content_of(b"second")), blocks=[b"second"])
        told = await ada.all_entries()
        assert [entry.blocks for entry in told] == [content_of(b"first").blocks, content_of(b"second").blocks]

        async def as_before(conn: Connection) -> None:
            for seq, post in await conn.fetch("SELECT seq, post FROM file_changes"):
                fields = msgspec.msgpack.decode(post)
                await conn.execute(
                    "UPDATE file_changes SET post = $3 WHERE ns = $1 AND seq = $2",
                    *(ada.ns, seq, msgspec.msgpack.encode(fields[:-1])),
                )

        await db.write(ada.ns, as_before)
        assert await ada.all_entries() == told

    run(scenario)


def test_a_snapshot_is_the_live_tree_by_node_id_at_a_place_in_the_journal(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        folders = [await ada.folder(f"{number}") for number in range(5)]
        files = [await ada.file("f", b"x", folder) for folder in folders]
        await ada.stored(DeleteOp(op_id(), folders[0], 10), DeleteOp(op_id(), files[1], 11))
        entries = await ada.snapshot(limit=2)
        assert [entry.node_id for entry in entries] == sorted([*folders[1:], *files[2:]])
        first = await snapshot(db, ada.principal, SnapshotRequest(ada.principal.root_ns, ROOT_NODE, NodeId(b""), -1, 2))
        assert (first.seq, first.tag) == (12, (await ada.all_entries())[-1].tag)
        await ada.folder("later")
        after = SnapshotRequest(ada.principal.root_ns, ROOT_NODE, first.entries[-1].node_id, first.seq, 2)
        assert (await snapshot(db, ada.principal, after)).seq == 12
        assert {entry.node_id for entry in await ada.snapshot(folders[2], limit=1)} == {folders[2], files[2]}
        assert await ada.snapshot(folders[0]) == []
        assert [entry.node_id for entry in await ada.snapshot(files[3])] == [files[3]]

    run(scenario)


def test_a_snapshot_page_past_many_dead_rows_still_finds_the_live_one(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        doomed = await ada.folder("doomed")
        await ada.stored(*(create_folder(NodeId(new_id()), f"{number}", doomed) for number in range(30)))
        last = await ada.folder("last")
        await ada.stored(DeleteOp(op_id(), doomed, 32))
        page = await snapshot(db, ada.principal, SnapshotRequest(ada.principal.root_ns, ROOT_NODE, NodeId(b""), -1, 2))
        assert ([entry.node_id for entry in page.entries], page.has_more) == ([last], False)

    run(scenario)


def test_the_feed_of_somebody_else_is_not_there(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada, bob = await Writer.new(db), await Writer.new(db, name="bob")
        ns = ada.principal.root_ns
        with pytest.raises(NotFound):
            await changes(db, NoInline(), bob.principal, ChangesRequest(Position(ns, 0, Tag(b"")), bob.link))  # type: ignore[arg-type]
        with pytest.raises(NotFound):
            await snapshot(db, bob.principal, SnapshotRequest(ns, ROOT_NODE, NodeId(b"")))
        with pytest.raises(NotFound):
            await manifests(db, bob.principal, ManifestsRequest(ns, ()))

    run(scenario)


def test_a_cursor_walks_the_tree_then_the_journal_and_rests_at_the_end(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        top = await ada.folder("top")
        files = [await ada.file(f"{number}", b"x", top) for number in range(4)]
        page = await sync(db, ada.principal, None, 2)
        await ada.stored(DeleteOp(op_id(), files[0], 5))
        tree = {entry.id: entry for entry in page.entries}
        while page.has_more:
            page = await sync(db, ada.principal, page.cursor, 2)
            for entry in page.entries:
                tree[entry.id] = entry
        live = {entry.path: entry.type for entry in tree.values() if entry.action == "update"}
        assert live == {"/top": "folder", "/top/1": "file", "/top/2": "file", "/top/3": "file"}
        rested = await sync(db, ada.principal, page.cursor)
        assert (rested.entries, rested.cursor, rested.has_more) == ([], page.cursor, False)
        at = await position(db, ada.principal, page.cursor)
        assert (at.ns, at.seq, at.is_joining) == (ada.principal.root_ns, 6, False)

    run(scenario)


def test_a_cursor_tells_of_units_that_come_and_go(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        top = await ada.folder("top")
        await ada.file("f", b"x", top)
        page = await sync(db, ada.principal)
        await ada.stored(DeleteOp(op_id(), top, 2), UndeleteOp(op_id(), top, ROOT_NODE, "top", is_subtree=True))
        page = await sync(db, ada.principal, page.cursor)
        assert [(e.action, e.path, e.is_unit) for e in page.entries] == [
            ("delete", "/top", False),
            ("update", "/top", True),
        ]

    run(scenario)


def test_a_cursor_opens_only_for_its_account_and_its_store(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada, bob = await Writer.new(db), await Writer.new(db, name="bob")
        cursor = (await sync(db, ada.principal)).cursor
        with pytest.raises(CursorInvalid):
            await sync(db, bob.principal, cursor)
        with pytest.raises(CursorInvalid):
            await sync(db, ada.principal, spoilt(cursor))
        await new_epoch(db, ada.clock)
        with pytest.raises(EpochChanged):
            await sync(db, ada.principal, cursor)

    run(scenario)


def test_a_cursor_of_pruned_history_lists_the_tree_anew(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        cursor = (await sync(db, ada.principal)).cursor
        await ada.folder("a")
        await ada.folder("b")
        ns = ada.principal.root_ns
        await db.write(ns, lambda conn: conn.execute("UPDATE namespaces SET min_seq = 1 WHERE ns = $1", ns))
        page = await sync(db, ada.principal, cursor)
        assert page.is_reset
        assert [entry.name for entry in page.entries] == ["a", "b"]

    run(scenario)
