"""Commit's rules and outcomes, on SQLite and on PostgreSQL: creates, edits, bits, contents, quota, repetition."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from msgspec.structs import replace

from satchel.core.entries import Action, Kind
from satchel.core.errors import EpochChanged, LimitExceeded, MessageInvalid, NotFound
from satchel.core.hashing import EMPTY_CONTENT, block_hash
from satchel.core.ids import ROOT_NODE, NodeId, OpId, Tag
from satchel.core.limits import COMMIT_OPS_MAX, DEPTH_MAX, NAME_BYTES_MAX, SYMLINK_BYTES_MAX, XATTR_VALUE_BYTES_MAX
from satchel.core.messages import (
    AttrOp,
    ChangesRequest,
    CommitRequest,
    Conflict,
    Content,
    CreateOp,
    DeleteOp,
    EditOp,
    NeedBlocks,
    Outcome,
    Position,
    Refused,
    SnapshotRequest,
    Stored,
    UndeleteOp,
)
from satchel.core.xattrs import pack_xattrs
from satchel.server.accounts.service import account_of
from satchel.server.db.engine import Database
from satchel.server.feed.service import changes, snapshot
from satchel.server.metadata.commit import commit
from satchel.server.metadata.namespaces import namespaces
from satchel.server.metadata.tree import resolve, versions
from tests.support.databases import Run
from tests.support.writers import NoInline, Writer, content_of, create_file, create_folder, hash_of, new_id, op_id


def refused(code: str) -> object:
    """Equal to any refusal of this code."""

    class Same:
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Refused) and other.code == code

        def __repr__(self) -> str:
            return f"Refused({code})"

    return Same()


def test_a_new_file_is_one_entry_with_all_its_values(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        node_id = NodeId(new_id())
        op = replace(create_file(node_id, "Note.txt", b"hello"), mtime_ns=-5, is_executable=True)
        reply = await ada.reply(op, blocks=[b"hello"])
        assert reply.outcomes == (Stored(1),)
        assert reply.head_seq == 1
        (entry,) = await ada.all_entries()
        assert (entry.seq, entry.action, entry.node_id, entry.parent_id) == (1, Action.CREATE, node_id, ROOT_NODE)
        assert (entry.name, entry.name_key, entry.kind, entry.is_live) == ("Note.txt", "note.txt", Kind.FILE, True)
        assert (entry.content, entry.size, entry.mtime_ns) == (hash_of(b"hello"), 5, -5)
        assert (entry.is_executable, entry.content_rev, entry.place_rev) == (True, 1, 1)
        assert (entry.device, entry.link, entry.op_id) == (ada.principal.device_id, ada.link, op.op_id)
        assert entry.blocks == content_of(b"hello").blocks
        assert len(entry.tag) == 8

    run(scenario)


def test_seqs_of_a_batch_follow_each_other_and_the_head_is_the_last(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        top = NodeId(new_id())
        ops = (
            create_folder(top, "top"),
            create_folder(NodeId(new_id()), "a", top),
            create_folder(NodeId(new_id()), "b", top),
        )
        assert await ada.stored(*ops) == [1, 2, 3]
        (head,) = (await namespaces(db, ada.principal)).namespaces
        assert head.head_seq == 3
        assert head.head_tag == (await ada.all_entries())[-1].tag

    run(scenario)


def test_a_commit_of_a_journal_that_was_put_back_is_refused_as_a_whole(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await ada.file("a")
        await ada.file("b")
        first, second = await ada.all_entries()
        ns = ada.principal.root_ns

        async def commits(name: str, position: Position | None) -> tuple[Outcome, ...]:
            op = create_folder(NodeId(new_id()), name)
            request = CommitRequest(ns, ada.link, (op,), (), position)
            return (await commit(db, ada.clock, ada.principal, request)).outcomes

        # Its own past, the head, and nothing at all are known.
        assert await commits("c", Position(ns, first.seq, first.tag)) == (Stored(3),)
        assert await commits("d", Position(ns, second.seq, second.tag)) == (Stored(4),)
        assert await commits("e", Position(ns, 0, Tag(b""))) == (Stored(5),)
        assert await commits("f", None) == (Stored(6),)
        # Another entry at a seq that was used before, or a seq that is yet to come: the journal was put back.
        for position in (Position(ns, first.seq, second.tag), Position(ns, 7, second.tag)):
            with pytest.raises(EpochChanged):
                await commits("g", position)
        assert [entry.name for entry in await ada.all_entries()] == ["a", "b", "c", "d", "e", "f"]

    run(scenario)


def test_the_same_op_gets_its_first_answer_also_after_a_restart(run: Run) -> None:
    kept: list[object] = []

    async def first(db: Database) -> None:
        ada = await Writer.new(db)
        op = create_file(NodeId(new_id()), "a", b"x")
        assert await ada.commit(op, blocks=[b"x"]) == (Stored(1),)
        await ada.file("b")
        kept.extend((ada, op))

    async def again(db: Database) -> None:
        ada, op = kept
        assert isinstance(ada, Writer) and isinstance(op, CreateOp)
        ada.db = db
        assert await ada.commit(op, blocks=[b"x"]) == (Stored(1),)
        assert len(await ada.all_entries()) == 2
        assert await ada.commit(replace(op, name="other")) == (refused("op_id_reused"),)

    run(first)
    run(again)


def test_an_op_repeated_within_a_request_is_done_once(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        op = create_folder(NodeId(new_id()), "a")
        outcomes = await ada.commit(op, op, replace(op, name="b"))
        assert outcomes == (Stored(1), Stored(1), refused("op_id_reused"))
        assert len(await ada.all_entries()) == 1

    run(scenario)


def test_a_refused_op_may_be_tried_again_under_its_id(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        op = create_file(NodeId(new_id()), "a", b"new bytes")
        assert await ada.commit(op) == (NeedBlocks((block_hash(b"new bytes"),)),)
        assert await ada.commit(op, blocks=[b"new bytes"]) == (Stored(1),)

    run(scenario)


def test_missing_blocks_are_named_once_each_in_file_order_and_nothing_is_stored(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        content = content_of(b"b", b"a", b"b", b"known")
        op = replace(create_file(NodeId(new_id()), "a"), content=content)
        assert await ada.commit(op, blocks=[b"known"]) == (NeedBlocks((block_hash(b"b"), block_hash(b"a"))),)
        assert await ada.all_entries() == []

    run(scenario)


def test_a_block_of_another_account_is_missing_like_any_other(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada, bob = await Writer.new(db), await Writer.new(db, name="bob")
        await ada.file("secret", b"secret")
        op = create_file(NodeId(new_id()), "guess", b"secret")
        assert await bob.commit(op) == (NeedBlocks((block_hash(b"secret"),)),)

    run(scenario)


def test_creating_what_is_there_already_is_stored_without_a_change(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        node_id = await ada.file("a", b"x")
        assert await ada.commit(create_file(node_id, "a", b"x")) == (Stored(0),)
        for other in (create_file(node_id, "a", b"y"), create_file(node_id, "b", b"x"), create_folder(node_id, "a")):
            (outcome,) = await ada.commit(other, blocks=[b"y"])
            assert isinstance(outcome, Conflict) and outcome.current is not None
            assert (outcome.current.node_id, outcome.current.is_live) == (node_id, True)

    run(scenario)


@pytest.mark.parametrize(("held", "wanted"), [("Ada", "ada"), ("Straße", "STRASSE"), ("e\u0301", "\u00e9")])
def test_a_name_whose_key_is_taken_conflicts_with_its_holder(run: Run, held: str, wanted: str) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        node_id = await ada.file(held, b"x")
        (outcome,) = await ada.commit(create_folder(NodeId(new_id()), wanted))
        assert isinstance(outcome, Conflict) and outcome.current is not None
        assert (outcome.current.node_id, outcome.current.name) == (node_id, held)
        assert outcome.current.blocks == content_of(b"x").blocks
        assert await ada.stored(create_folder(NodeId(new_id()), wanted + " 2")) == [2]

    run(scenario)


def test_names_past_the_rules_are_refused_and_the_longest_is_taken(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        bad = ["", ".", "..", "a/b", "a\0b", "é" * 127 + "xx"]
        outcomes = await ada.commit(*(create_folder(NodeId(new_id()), name) for name in bad))
        assert outcomes == (refused("name_invalid"),) * len(bad)
        assert await ada.stored(
            create_folder(NodeId(new_id()), "é" * 127 + "x"), create_folder(NodeId(new_id()), "x" * NAME_BYTES_MAX)
        )

    run(scenario)


def test_a_tree_is_as_deep_as_the_limit_and_no_deeper(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        ids = [ROOT_NODE, *(NodeId(new_id()) for _ in range(DEPTH_MAX + 1))]
        ops = [create_folder(node_id, "d", parent) for parent, node_id in itertools.pairwise(ids)]
        outcomes = await ada.commit(*ops)
        assert all(isinstance(outcome, Stored) for outcome in outcomes[:-1])
        assert outcomes[-1] == refused("too_deep")

    run(scenario)


def test_a_path_longer_than_the_limit_is_refused(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        parent = ROOT_NODE
        for _ in range(16):
            parent = await ada.folder("x" * 254, parent)
        # 16 names of 254 bytes and their slashes are 4,080 bytes; 4,096 are allowed.
        assert await ada.commit(create_folder(NodeId(new_id()), "y" * 16, parent)) == (refused("too_deep"),)
        assert await ada.stored(create_folder(NodeId(new_id()), "y" * 15, parent))

    run(scenario)


def test_a_parent_must_be_a_live_folder(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        file, gone = await ada.file("file"), await ada.folder("gone")
        inner = await ada.folder("inner", gone)
        await ada.stored(DeleteOp(op_id(), gone, 99))
        outcomes = await ada.commit(
            create_folder(NodeId(new_id()), "a", file),
            create_folder(NodeId(new_id()), "a", gone),
            create_folder(NodeId(new_id()), "a", inner),
            create_folder(NodeId(new_id()), "a", NodeId(new_id())),
        )
        assert outcomes == (refused("kind_mismatch"), *(refused("parent_gone"),) * 3)

    run(scenario)


def test_what_hangs_on_a_refused_op_fails_and_the_rest_holds(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await ada.folder("taken")
        top, below, file = (NodeId(new_id()) for _ in range(3))
        outcomes = await ada.commit(
            create_folder(top, "TAKEN"),
            create_folder(below, "below", top),
            create_file(file, "file", b"x", below),
            EditOp(op_id(), file, 1, content_of(b"x")),
            create_folder(NodeId(new_id()), "free"),
            blocks=[b"x"],
        )
        assert isinstance(outcomes[0], Conflict)
        assert outcomes[1:] == (*(refused("depends_on_refused"),) * 3, Stored(2))

    run(scenario)


def test_contents_that_do_not_agree_with_themselves_are_refused(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        good = content_of(b"x", b"y")
        bad = [
            replace(good, size=3),
            replace(good, content_hash=hash_of(b"z")),
            replace(good, blocks=good.blocks[:-1]),
            replace(good, cutter="other"),
            replace(good, blocks=good.blocks[:-4] + bytes(4)),
            # A length that the block does not have.
            Content(good.content_hash, good.blocks[:-4] + (2).to_bytes(4, "big"), 3),
        ]
        ops = [replace(create_file(NodeId(new_id()), f"{at}"), content=content) for at, content in enumerate(bad)]
        assert await ada.commit(*ops, blocks=[b"x", b"y"]) == (refused("content_invalid"),) * len(bad)
        assert await ada.stored(replace(create_file(NodeId(new_id()), "good"), content=good), blocks=[b"x", b"y"])
        lying = replace(create_file(NodeId(new_id()), "lying"), content=bad[-1])
        assert await ada.commit(lying) == (refused("content_invalid"),)

    run(scenario)


def test_kinds_and_values_must_go_together(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        folder, link, file = await ada.folder("folder"), NodeId(new_id()), await ada.file("file")
        await ada.stored(CreateOp(op_id(), link, ROOT_NODE, "link", Kind.SYMLINK, None, "target"))
        base = create_folder(NodeId(new_id()), "new")
        outcomes = await ada.commit(
            replace(base, op_id=op_id(), kind=Kind.FILE),
            replace(base, op_id=op_id(), kind=Kind.SYMLINK),
            replace(base, op_id=op_id(), content=content_of(b"x")),
            replace(base, op_id=op_id(), kind=Kind.SYMLINK, target="x" * (SYMLINK_BYTES_MAX + 1)),
            replace(base, op_id=op_id(), kind=Kind.SYMLINK, target="a\0"),
            replace(create_file(NodeId(new_id()), "m"), mtime_ns=2**63),
            replace(base, op_id=op_id(), kind=Kind.MOUNT),
            EditOp(op_id(), folder, 1, content_of(b"data")),
            EditOp(op_id(), link, 2, content_of(b"data")),
            EditOp(op_id(), file, 2, None, "target"),
            AttrOp(op_id(), folder, 1, True),
        )
        assert outcomes == (*(refused("content_invalid"),) * 6, *(refused("kind_mismatch"),) * 5)

    run(scenario)


def test_an_empty_file_needs_no_block(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        op = replace(create_file(NodeId(new_id()), "empty"), content=content_of())
        await ada.stored(op)
        (entry,) = await ada.all_entries()
        assert (entry.content, entry.size, entry.blocks) == (EMPTY_CONTENT, 0, b"")

    run(scenario)


def test_an_edit_of_the_newest_rev_makes_a_version_and_an_older_one_conflicts(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        node_id = await ada.file("a", b"one")
        assert await ada.commit(EditOp(op_id(), node_id, 1, content_of(b"two")), blocks=[b"two"]) == (Stored(2),)
        (outcome,) = await ada.commit(EditOp(op_id(), node_id, 1, content_of(b"six")), blocks=[b"six"])
        assert isinstance(outcome, Conflict) and outcome.current is not None
        assert (outcome.current.content, outcome.current.content_rev) == (hash_of(b"two"), 2)
        assert await ada.commit(EditOp(op_id(), node_id, 1, content_of(b"two"))) == (Stored(0),)
        found = await versions(db, ada.principal, ada.principal.root_ns, node_id)
        assert [(v.number, v.rev, v.content_hash) for v in found] == [(2, 2, hash_of(b"two")), (1, 1, hash_of(b"one"))]
        assert (found[0].author, found[0].device) == ("ada", "laptop")

    run(scenario)


def test_a_change_of_mtime_alone_is_no_change(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        node_id = await ada.file("a", b"one")
        assert await ada.commit(EditOp(op_id(), node_id, 1, content_of(b"one"), mtime_ns=77)) == (Stored(0),)

    run(scenario)


def test_an_edit_of_a_dead_node_conflicts_with_its_tombstone(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        folder = await ada.folder("f")
        node_id = await ada.file("a", b"one", folder)
        await ada.stored(DeleteOp(op_id(), folder, 2))
        (outcome,) = await ada.commit(EditOp(op_id(), node_id, 2, content_of(b"two")), blocks=[b"two"])
        assert isinstance(outcome, Conflict) and outcome.current is not None
        assert (outcome.current.node_id, outcome.current.is_live) == (node_id, False)

    run(scenario)


def test_ops_on_nodes_that_never_were_are_refused(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        never = NodeId(new_id())
        outcomes = await ada.commit(
            EditOp(op_id(), never, 1, content_of()), AttrOp(op_id(), never, 1, True), DeleteOp(op_id(), never, 1)
        )
        assert outcomes == (refused("not_found"),) * 3
        assert await ada.commit(DeleteOp(op_id(), ROOT_NODE, 9)) == (refused("forbidden"),)

    run(scenario)


def test_the_executable_bit_changes_by_rev_and_makes_no_version(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        node_id = await ada.file("a", b"one")
        assert await ada.commit(AttrOp(op_id(), node_id, 1, True)) == (Stored(2),)
        assert await ada.commit(AttrOp(op_id(), node_id, 1, True)) == (Stored(0),)
        (outcome,) = await ada.commit(AttrOp(op_id(), node_id, 1, False))
        assert isinstance(outcome, Conflict)
        entry = await ada.entry(node_id)
        assert (entry.action, entry.is_executable, entry.content_rev, entry.place_rev) == (Action.ATTR, True, 2, 1)
        assert len(await versions(db, ada.principal, ada.principal.root_ns, node_id)) == 1

    run(scenario)


def test_a_symlink_is_its_target(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        node_id = NodeId(new_id())
        await ada.stored(CreateOp(op_id(), node_id, ROOT_NODE, "l", Kind.SYMLINK, None, "../ä"))
        await ada.stored(EditOp(op_id(), node_id, 1, None, "other"))
        assert await ada.commit(EditOp(op_id(), node_id, 1, None, "other")) == (Stored(0),)
        assert [entry.content for entry in await ada.all_entries()] == ["../ä".encode(), b"other"]

    run(scenario)


def test_quota_counts_each_block_once_and_stops_only_what_needs_more(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db, quota_bytes=10)
        node_id = await ada.file("a", b"12345678")
        await ada.file("copy", b"12345678")
        assert (await account_of(db, ada.principal)).used_bytes == 8
        big = EditOp(op_id(), node_id, 1, content_of(b"12345678", b"xyz"))
        assert await ada.commit(big, blocks=[b"xyz"]) == (refused("quota_exceeded"),)
        await ada.stored(EditOp(op_id(), node_id, 1, content_of(b"12345678", b"xy")), blocks=[b"xy"])
        assert (await account_of(db, ada.principal)).used_bytes == 10
        assert await ada.commit(create_file(NodeId(new_id()), "b", b"!"), blocks=[b"!"]) == (refused("quota_exceeded"),)
        await ada.stored(create_folder(NodeId(new_id()), "f"), DeleteOp(op_id(), node_id, 99))

    run(scenario)


def test_blocks_that_came_with_a_refused_op_need_not_come_again(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        taken = await ada.file("taken", b"first")
        refused_op = create_file(NodeId(new_id()), "taken", b"second")
        (outcome,) = await ada.commit(refused_op, blocks=[b"second"])
        assert isinstance(outcome, Conflict)
        await ada.stored(EditOp(op_id(), taken, 1, content_of(b"second")))
        assert (await account_of(db, ada.principal)).used_bytes == len(b"first") + len(b"second")

    run(scenario)


def test_blocks_that_come_again_are_counted_once_a_content(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await ada.file("a", b"one")
        both = replace(create_file(NodeId(new_id()), "b"), content=content_of(b"one", b"two", b"one"))
        await ada.stored(both, create_file(NodeId(new_id()), "c", b"two"), blocks=[b"one", b"two"])
        await ada.stored(create_file(NodeId(new_id()), "d", b"two"), blocks=[b"two", b"two"])
        rows = await db.read(lambda conn: conn.fetch("SELECT block_hash, refs FROM namespace_blocks"))
        assert dict(rows) == {block_hash(b"one"): 2, block_hash(b"two"): 2}
        lists = await db.read(lambda conn: conn.fetch("SELECT manifest_id, refs FROM manifests"))
        assert dict(lists)[content_of(b"two").content_hash] == 2
        assert (await account_of(db, ada.principal)).used_bytes == 6

    run(scenario)


def test_a_namespace_of_somebody_else_is_not_there(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada, bob = await Writer.new(db), await Writer.new(db, name="bob")
        request = CommitRequest(ada.principal.root_ns, bob.link, (create_folder(NodeId(new_id()), "a"),))
        with pytest.raises(NotFound):
            await commit(db, bob.clock, bob.principal, request)

    run(scenario)


def test_a_request_past_its_limits_is_no_commit(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        most = [create_folder(NodeId(new_id()), f"{number}") for number in range(COMMIT_OPS_MAX)]
        with pytest.raises(LimitExceeded):
            await ada.commit(*most, create_folder(NodeId(new_id()), "more"))
        with pytest.raises(MessageInvalid):
            await ada.commit(replace(most[0], node_id=NodeId(b"short")))
        with pytest.raises(MessageInvalid):
            await ada.commit(replace(most[0], op_id=OpId(b"")))
        assert len(await ada.stored(*most)) == COMMIT_OPS_MAX
        assert (await resolve(db, ada.principal, ada.principal.root_ns, "/999")).seq == COMMIT_OPS_MAX

    run(scenario)


def test_one_content_in_many_files_is_one_manifest_with_as_many_uses(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await ada.stored(*(create_file(NodeId(new_id()), f"{n}", b"same") for n in range(5)), blocks=[b"same"])
        await ada.file("later", b"same")
        rows = await db.read(lambda conn: conn.fetch("SELECT refs FROM manifests"))
        assert rows == [(6,)]
        rows = await db.read(lambda conn: conn.fetch("SELECT refs FROM namespace_blocks"))
        assert rows == [(1,)]

    run(scenario)


# -- extended attributes (hard case I5) -------------------------------------------------------------------------------

RED, BLUE = pack_xattrs({b"colour": b"red"}), pack_xattrs({b"colour": b"blue"})


def test_i5_attributes_are_kept_and_told_to_whoever_asks(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        node_id = NodeId(new_id())
        await ada.reply(replace(create_file(node_id, "a", b"one"), xattrs=RED), blocks=[b"one"])
        folder = NodeId(new_id())
        await ada.stored(replace(create_folder(folder, "d"), xattrs=BLUE))
        assert [entry.xattrs for entry in await ada.all_entries()] == [RED, BLUE]
        assert {entry.name: entry.xattrs for entry in await ada.snapshot()} == {"a": RED, "d": BLUE}
        asked = ChangesRequest(Position(ada.principal.root_ns, 0, Tag(b"")), ada.link, with_content=False)
        page, _ = await changes(db, NoInline(), ada.principal, asked)
        assert [entry.xattrs for entry in page.entries] == [None, None]
        rows = await snapshot(db, ada.principal, SnapshotRequest(ada.principal.root_ns, ROOT_NODE, ROOT_NODE))
        assert [entry.xattrs for entry in rows.entries] == [None, None]

    run(scenario)


def test_i5_whoever_does_not_know_attributes_leaves_them_as_they_are(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        node_id = NodeId(new_id())
        await ada.reply(replace(create_file(node_id, "a", b"one"), xattrs=RED), blocks=[b"one"])
        await ada.reply(EditOp(op_id(), node_id, 1, content_of(b"two")), blocks=[b"two"])
        await ada.stored(AttrOp(op_id(), node_id, 2, True))
        await ada.stored(DeleteOp(op_id(), node_id, 3))
        await ada.stored(UndeleteOp(op_id(), node_id, ROOT_NODE, "b", content_of(b"two")))
        assert (await ada.entry(node_id)).xattrs == RED

    run(scenario)


def test_i5_attributes_change_by_rev_and_make_no_version(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        node_id = await ada.file("a", b"one")
        assert await ada.commit(AttrOp(op_id(), node_id, 1, False, RED)) == (Stored(2),)
        assert await ada.commit(AttrOp(op_id(), node_id, 1, False, RED)) == (Stored(0),)
        (outcome,) = await ada.commit(AttrOp(op_id(), node_id, 1, False, BLUE))
        assert isinstance(outcome, Conflict)
        assert await ada.commit(AttrOp(op_id(), node_id, 2, False, b"")) == (Stored(3),)
        assert (await ada.entry(node_id)).xattrs == b""
        assert len(await versions(db, ada.principal, ada.principal.root_ns, node_id)) == 1

    run(scenario)


def test_i5_a_folder_has_attributes_and_no_bit_and_a_symlink_has_neither(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        folder, link = NodeId(new_id()), NodeId(new_id())
        await ada.stored(create_folder(folder, "d"))
        assert await ada.commit(AttrOp(op_id(), folder, 1, True)) == (refused("kind_mismatch"),)
        await ada.stored(AttrOp(op_id(), folder, 1, True, RED))
        entry = await ada.entry(folder)
        assert (entry.xattrs, entry.is_executable) == (RED, False)
        await ada.stored(CreateOp(op_id(), link, ROOT_NODE, "l", Kind.SYMLINK, None, "d", xattrs=RED))
        assert (await ada.entry(link)).xattrs == b""
        assert await ada.commit(AttrOp(op_id(), link, 3, False, RED)) == (refused("kind_mismatch"),)

    run(scenario)


def test_i5_what_is_no_packed_value_is_refused(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        node_id = await ada.file("a", b"one")
        assert await ada.commit(AttrOp(op_id(), node_id, 1, False, b"+")) == (refused("content_invalid"),)
        too_large = msgspec.msgpack.encode([(b"a", bytes(XATTR_VALUE_BYTES_MAX + 1))])
        assert await ada.commit(AttrOp(op_id(), node_id, 1, False, too_large)) == (refused("content_invalid"),)

    run(scenario)


def test_i5_a_snapshot_with_many_attributes_comes_in_pages(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satchel.server.feed.pages.FEED_PAGE_BYTES_MAX", 10_000)
    long = pack_xattrs({b"%d" % number: bytes(XATTR_VALUE_BYTES_MAX) for number in range(3)})

    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        names = [f"folder {number}" for number in range(10)]
        await ada.stored(*(replace(create_folder(NodeId(new_id()), name), xattrs=long) for name in names))
        asked = SnapshotRequest(ada.principal.root_ns, ROOT_NODE, NodeId(b""), with_xattrs=True)
        page = await snapshot(db, ada.principal, asked)
        assert page.has_more and len(page.entries) == 2
        assert sorted(entry.name for entry in await ada.snapshot()) == names

    run(scenario)
