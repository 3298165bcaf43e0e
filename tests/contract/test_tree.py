"""Reads of the tree, versions, trash and restoring, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest

from satchel.core.entries import Kind
from satchel.core.errors import NameInvalid, NotFound
from satchel.core.hashing import unpack_blocks
from satchel.core.ids import ROOT_NODE, ContentHash, NodeId
from satchel.core.messages import Conflict, DeleteOp, EditOp, Stored, UndeleteOp
from satchel.server.db.engine import Database
from satchel.server.metadata.restore import restore_unit, restore_version, restored_name
from satchel.server.metadata.tree import blocklist_of, entry_by_id, list_folder, path_of, resolve, trash, versions
from tests.support.databases import Run
from tests.support.writers import Writer, content_of, hash_of, new_id, op_id


def test_a_path_finds_its_node_whatever_the_case(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        ns = ada.principal.root_ns
        top = await ada.folder("Föö")
        file = await ada.file("Note.TXT", b"x", top)
        assert (await resolve(db, ada.principal, ns, "/FÖÖ/note.txt")).node_id == file
        root = await resolve(db, ada.principal, ns, "/")
        assert (root.node_id, root.kind, root.is_live) == (ROOT_NODE, Kind.FOLDER, True)
        assert await path_of(db, ada.principal, ns, file) == "/Föö/Note.TXT"
        assert (await entry_by_id(db, ada.principal, ns, file)).name == "Note.TXT"
        with pytest.raises(NameInvalid):
            await resolve(db, ada.principal, ns, "/a//b")

    run(scenario)


def test_what_is_dead_or_below_something_dead_is_not_found(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        ns = ada.principal.root_ns
        top = await ada.folder("top")
        file = await ada.file("file", b"x", top)
        await ada.stored(DeleteOp(op_id(), top, 2))
        for node_id in (top, file, NodeId(new_id())):
            with pytest.raises(NotFound):
                await entry_by_id(db, ada.principal, ns, node_id)
            with pytest.raises(NotFound):
                await list_folder(db, ada.principal, ns, node_id)
        await ada.stored(UndeleteOp(op_id(), top, ROOT_NODE, "top"))
        for path in ("/top/file", "/none"):
            with pytest.raises(NotFound):
                await resolve(db, ada.principal, ns, path)

    run(scenario)


def test_a_folder_is_listed_in_pages_by_name_key(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        ns = ada.principal.root_ns
        for name in ("b", "A", "ä", "c", "Z"):
            await ada.file(name, name.encode())
        names, after = [], ""
        while page := await list_folder(db, ada.principal, ns, ROOT_NODE, after, 2):
            names += [entry.name for entry in page]
            after = page[-1].name_key
        assert names == ["A", "b", "c", "Z", "ä"]
        file = (await resolve(db, ada.principal, ns, "/b")).node_id
        with pytest.raises(NotFound):
            await list_folder(db, ada.principal, ns, file)

    run(scenario)


def test_somebody_else_finds_nothing(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada, bob = await Writer.new(db), await Writer.new(db, name="bob")
        ns, file = ada.principal.root_ns, await ada.file("a")
        asks = (
            lambda: resolve(db, bob.principal, ns, "/a"),
            lambda: entry_by_id(db, bob.principal, ns, file),
            lambda: list_folder(db, bob.principal, ns, ROOT_NODE),
            lambda: path_of(db, bob.principal, ns, file),
            lambda: versions(db, bob.principal, ns, file),
            lambda: trash(db, bob.principal, ns),
            lambda: restore_unit(db, bob.clock, bob.principal, ns, file),
            lambda: restore_version(db, bob.clock, bob.principal, ns, file, 1),
        )
        for ask in asks:
            with pytest.raises(NotFound):
                await ask()

    run(scenario)


def test_a_blocklist_is_found_by_its_content_hash(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        await ada.file("a", b"x")
        packed = await blocklist_of(db, ada.principal.root_ns, hash_of(b"x"))
        assert [block.size for block in unpack_blocks(packed)] == [1]
        with pytest.raises(NotFound):
            await blocklist_of(db, ada.principal.root_ns, ContentHash(bytes(32)))

    run(scenario)


def test_an_earlier_version_comes_back_as_a_new_one(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        ns, file = ada.principal.root_ns, await ada.file("a", b"one")
        await ada.stored(EditOp(op_id(), file, 1, content_of(b"two")), blocks=[b"two"])
        assert await restore_version(db, ada.clock, ada.principal, ns, file, 1) == Stored(3)
        found = await versions(db, ada.principal, ns, file)
        assert [(v.number, v.content_hash) for v in found] == [
            (3, hash_of(b"one")),
            (2, hash_of(b"two")),
            (1, hash_of(b"one")),
        ]
        with pytest.raises(NotFound):
            await restore_version(db, ada.clock, ada.principal, ns, file, 77)
        await ada.stored(DeleteOp(op_id(), file, 3))
        assert await restore_version(db, ada.clock, ada.principal, ns, file, 2) == Stored(5)
        assert (await resolve(db, ada.principal, ns, "/a")).content == hash_of(b"two")

    run(scenario)


def test_the_trash_lists_units_the_last_deleted_first_and_restoring_empties_it(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        ns = ada.principal.root_ns
        top = await ada.folder("top")
        await ada.file("inside", b"x", top)
        file = await ada.file("file", b"12345", top)
        await ada.stored(DeleteOp(op_id(), file, 3))
        await ada.stored(DeleteOp(op_id(), top, 4))
        items = await trash(db, ada.principal, ns)
        assert [(item.node_id, item.path, item.size) for item in items] == [(top, "/top", 0), (file, "/top/file", 5)]
        assert items[0].deleted_ms > items[1].deleted_ms > 0
        assert [item.node_id for item in await trash(db, ada.principal, ns, items[0].token, 1)] == [file]
        assert await restore_unit(db, ada.clock, ada.principal, ns, top) == Stored(6)
        assert await restore_unit(db, ada.clock, ada.principal, ns, file) == Stored(7)
        assert [entry.name for entry in await list_folder(db, ada.principal, ns, top)] == ["file", "inside"]
        assert await trash(db, ada.principal, ns) == []

    run(scenario)


def test_what_a_skeleton_left_behind_is_in_the_trash_too(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        ns = ada.principal.root_ns
        top = await ada.folder("top")
        left = [await ada.file(f"{number}", b"x", top) for number in range(3)]
        await ada.stored(DeleteOp(op_id(), top, 4), UndeleteOp(op_id(), top, ROOT_NODE, "top"))
        found, after = [], ""
        while page := await trash(db, ada.principal, ns, after, 2):
            found += [item.node_id for item in page]
            after = page[-1].token
        assert sorted(found) == sorted(left)

    run(scenario)


def test_a_restored_unit_takes_another_name_or_the_root_when_it_must(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        ns = ada.principal.root_ns
        top = await ada.folder("top")
        file = await ada.file("a.txt", b"x", top)
        await ada.stored(DeleteOp(op_id(), file, 2))
        await ada.stored(DeleteOp(op_id(), top, 3))
        await ada.file("a.txt", b"y")
        await ada.file("a (restored).txt", b"z")
        assert isinstance(await restore_unit(db, ada.clock, ada.principal, ns, file), Stored)
        assert (await resolve(db, ada.principal, ns, "/a (restored 2).txt")).node_id == file

    run(scenario)


def test_restoring_what_lives_changes_nothing(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Writer.new(db)
        file = await ada.file("a", b"x")
        outcome = await restore_unit(db, ada.clock, ada.principal, ada.principal.root_ns, file)
        assert outcome == Stored(0) or isinstance(outcome, Conflict)
        assert len(await ada.all_entries()) == 1

    run(scenario)


@pytest.mark.parametrize(
    ("name", "number", "is_folder", "wanted"),
    [
        ("a.txt", 1, False, "a (restored).txt"),
        ("a.txt", 3, False, "a (restored 3).txt"),
        ("a.b", 1, True, "a.b (restored)"),
        (".profile", 1, False, ".profile (restored)"),
        ("x" * 255, 1, False, "x" * 244 + " (restored)"),
        ("é" * 127, 1, False, "é" * 122 + " (restored)"),
    ],
)
def test_restored_names(name: str, number: int, is_folder: bool, wanted: str) -> None:
    assert restored_name(name, number, is_folder=is_folder) == wanted
