"""Moves between namespaces on both databases: the unit is in one of the two, whole, and every count stays true."""

from __future__ import annotations

import random

import pytest

from satchel.core.access import Role
from satchel.core.entries import Action, Kind
from satchel.core.errors import AlreadyExists, NotFound, PreconditionFailed
from satchel.core.ids import ROOT_NODE, NamespaceId, NodeId
from satchel.core.messages import AttrOp, CommitRequest, Stored
from satchel.server.accounts.members import State, member_txn
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Database
from satchel.server.metadata.commit import commit
from satchel.server.metadata.tree import Located, locate
from satchel.server.sharing.between import Place, Replaced, copy_between, move_between
from satchel.server.sharing.conversion import share_folder
from satchel.server.sharing.people import accept, invite, leave, remove, stop
from satchel.simulation.stores import MemoryBlocks
from tests.support.databases import Run
from tests.support.shared_folders import Past, picture, require_sound
from tests.support.upkeep_world import World
from tests.support.writers import content_of, op_id


async def shared_with(past: Past, guest: Principal, folder: NodeId) -> NamespaceId:
    world, owner = past.world, past.owner.principal
    ns = await share_folder(world.db, world.clock, owner, owner.root_ns, folder)
    await invite(world.db, world.clock, owner, ns, [(guest.account_name, Role.EDITOR)])
    await accept(world.db, world.clock, guest, ns)
    return ns


def adopted(past: Past, copies: dict[tuple[NodeId, int], tuple[bytes, ...]]) -> None:
    past.contents.update(copies)


async def copies_of(past: Past, ns: bytes) -> dict[tuple[NodeId, int], tuple[bytes, ...]]:
    """Return what versions hold that the model has not seen, by their contents' names."""
    known = {content_of(*blocks).content_hash: blocks for blocks in past.contents.values()}
    rows = await past.world.rows("SELECT node_id, rev, content FROM file_versions WHERE ns = $1", ns)
    return {(node, rev): known[content] for node, rev, content in rows if (node, rev) not in past.contents}


@pytest.mark.parametrize("seed", range(3))
def test_a_unit_is_moved_whole_with_its_versions_and_stays_in_the_trash(run: Run, seed: int) -> None:
    async def scenario(db: Database) -> None:
        world = World(db, MemoryBlocks())
        past = Past(world, await world.owner(), random.Random(seed))
        team = await past.folder(ROOT_NODE, "Team")
        guest = (await world.owner()).principal
        ns = await shared_with(past, guest, team)
        past.folders.remove(team)
        await past.live(50)
        tree = await picture(db, past.owner.ns, ROOT_NODE)
        live = {node for found in tree.values() for node, is_live in found.items() if is_live}
        unit = next(node for node in [*past.folders[1:], *past.files] if node in live)
        versions = {node: len([1 for each, _ in past.contents if each == node]) for node in past.files}
        inside = await picture(db, past.owner.ns, unit)
        who = past.owner.principal
        path = next(path for path, found in tree.items() if unit in found)
        entry = (await locate(db, who, path)).entry
        moved = await move_between(db, world.clock, who, who.root_ns, entry, Place(ns, ROOT_NODE, "moved"))
        arrived = await picture(db, ns, moved)
        assert {path for path, found in arrived.items() if any(found.values())} == {
            path for path, found in inside.items() if any(found.values())
        }
        copies = await copies_of(past, ns)
        expected = sum(versions.get(node, 0) for found in inside.values() for node, lives in found.items() if lives)
        assert len(copies) == expected + versions.get(unit, 0)
        adopted(past, copies)
        await require_sound(world, [who.root_ns, ns], past)
        rows = await world.rows("SELECT action, is_subtree, node_id FROM file_changes WHERE ns = $1 ORDER BY seq", ns)
        is_folder = entry.kind == Kind.FOLDER
        arrival = next(row for row in rows if row[2] == moved)
        assert arrival == (Action.MOVE if is_folder else Action.CREATE, int(is_folder), moved)
        found = await locate(db, guest, "/Team/moved")
        assert (found.ns, found.entry.node_id) == (ns, moved)
        back = await move_between(db, world.clock, guest, ns, found.entry, Place(guest.root_ns, ROOT_NODE, "mine"))
        adopted(past, await copies_of(past, guest.root_ns))
        returned = await picture(db, guest.root_ns, back)
        assert {path for path, found in returned.items() if any(found.values())} == set(arrived)
        await require_sound(world, [who.root_ns, ns, guest.root_ns], past)

    run(scenario)


def test_a_copy_takes_the_newest_contents_and_properties_and_leaves_all_as_it_is(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db, MemoryBlocks())
        past = Past(world, await world.owner(), random.Random(1))
        team, unit = await past.folder(ROOT_NODE, "Team"), await past.folder(ROOT_NODE, "unit")
        file = await past.write(None, unit, b"one")
        await past.write(file, unit, b"two", b"three")
        guest = (await world.owner()).principal
        ns, who = await shared_with(past, guest, team), past.owner.principal
        for name in ("x", "y"):
            text = (
                "INSERT INTO dav_properties (ns, node_id, namespace, name, value, lang) VALUES ($1, $2, $3, $4, $5, $6)"
            )
            await world.execute(text, who.root_ns, file, "urn:x", name, "kept", "en")
        before = await picture(db, who.root_ns, ROOT_NODE)
        entry = (await locate(db, who, "/unit")).entry
        await copy_between(db, world.clock, who, who.root_ns, entry, Place(ns, ROOT_NODE, "copy"))
        assert await picture(db, who.root_ns, ROOT_NODE) == before
        copies = await copies_of(past, ns)
        assert list(copies.values()) == [(b"two", b"three")]
        adopted(past, copies)
        [(made, _)] = copies
        assert await world.rows("SELECT author FROM file_versions WHERE ns = $1", ns) == [(who.account_id,)]
        kept = "SELECT node_id, namespace, name, value, lang FROM dav_properties WHERE ns = $1 ORDER BY name"
        assert await world.rows(kept, ns) == [(made, "urn:x", name, "kept", "en") for name in ("x", "y")]
        await require_sound(world, [who.root_ns, ns], past)
        with pytest.raises(NotFound):
            await copy_between(db, world.clock, guest, who.root_ns, entry, Place(ns, ROOT_NODE, "taken"))
        with pytest.raises(AlreadyExists):
            await copy_between(db, world.clock, who, who.root_ns, entry, Place(ns, ROOT_NODE, "copy"))

    run(scenario)


@pytest.mark.parametrize("is_move", [True, False])
def test_what_is_replaced_keeps_its_past_and_every_count_stays_true(run: Run, *, is_move: bool) -> None:
    async def scenario(db: Database) -> None:
        world = World(db, MemoryBlocks())
        past = Past(world, await world.owner(), random.Random(1))
        team = await past.folder(ROOT_NODE, "Team")
        taken_file, taken_folder = await past.write(None, team, b"old"), await past.folder(team, "taken")
        lost = await past.write(None, taken_folder, b"lost")
        file, unit = await past.write(None, ROOT_NODE, b"one"), await past.folder(ROOT_NODE, "unit")
        await past.write(file, ROOT_NODE, b"new", b"er")
        await past.write(None, unit, b"inner")
        who, guest = past.owner.principal, (await world.owner()).principal
        ns = await shared_with(past, guest, team)

        async def put(source: str, target: str, seen_seq: int) -> None:
            entry, old = (await locate(db, who, source)).entry, (await locate(db, who, target)).entry
            place = Place(ns, ROOT_NODE, old.name, Replaced(old, seen_seq))
            act = move_between if is_move else copy_between
            await act(db, world.clock, who, who.root_ns, entry, place)
            adopted(past, await copies_of(past, ns))
            await require_sound(world, [who.root_ns, ns], past)

        async def head() -> int:
            ((seq,),) = await world.rows("SELECT head_seq FROM namespaces WHERE ns = $1", ns)
            return int(seq)

        await put("/" + file.hex(), f"/Team/{taken_file.hex()}", await head())
        versions = "SELECT content, version_number FROM file_versions WHERE ns = $1 AND node_id = $2 ORDER BY rev"
        assert await world.rows(versions, ns, taken_file) == [
            (content_of(b"old").content_hash, 1),
            (content_of(b"new", b"er").content_hash, 2),
        ]
        await put("/unit", "/Team/taken", await head())
        lives = {path: set(found.values()) for path, found in (await picture(db, ns, ROOT_NODE)).items()}
        # The one that was replaced, and the one that replaced it.
        assert (lives["/taken"], lives[f"/taken/{lost.hex()}"]) == ({True, False}, {False})
        gone = {path for path, found in (await picture(db, who.root_ns, ROOT_NODE)).items() if not any(found.values())}
        assert ({"/unit", "/" + file.hex()} <= gone) == is_move

    run(scenario)


def test_what_changed_since_it_was_seen_is_not_replaced(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db, MemoryBlocks())
        past = Past(world, await world.owner(), random.Random(1))
        team, _ = await past.folder(ROOT_NODE, "Team"), await past.folder(ROOT_NODE, "unit")
        taken = await past.folder(team, "taken")
        inner = await past.write(None, taken, b"one")
        who, guest = past.owner.principal, (await world.owner()).principal
        ns = await shared_with(past, guest, team)
        ((seen_seq,),) = await world.rows("SELECT head_seq FROM namespaces WHERE ns = $1", ns)
        entry, old = (await locate(db, who, "/unit")).entry, (await locate(db, who, "/Team/taken")).entry
        other = (await locate(db, who, f"/Team/taken/{inner.hex()}")).entry
        changed = AttrOp(op_id(), inner, other.content_rev, is_executable=True)
        reply = await commit(db, world.clock, who, CommitRequest(ns, world.link, (changed,)))
        assert reply.outcomes == (Stored(reply.head_seq),)
        for act in (move_between, copy_between):
            for replaced, refused in (
                (Replaced(old, seen_seq), PreconditionFailed),
                (Replaced(other, seen_seq), AlreadyExists),
                (None, AlreadyExists),
            ):
                with pytest.raises(refused):
                    await act(db, world.clock, who, who.root_ns, entry, Place(ns, ROOT_NODE, "taken", replaced))
        assert (await locate(db, who, f"/Team/taken/{inner.hex()}")).entry.is_executable
        assert (await locate(db, who, "/unit")).entry == entry

    run(scenario)


def test_nothing_is_moved_that_changed_since_or_is_not_ones_own(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db, MemoryBlocks())
        past = Past(world, await world.owner(), random.Random(1))
        team = await past.folder(ROOT_NODE, "Team")
        file = await past.write(None, ROOT_NODE, b"one")
        guest, stranger = (await world.owner()).principal, (await world.owner()).principal
        ns = await shared_with(past, guest, team)
        who = past.owner.principal
        seen: Located = await locate(db, who, "/" + file.hex())
        place = Place(ns, ROOT_NODE, "moved")
        for principal in (guest, stranger):
            with pytest.raises(NotFound):
                await move_between(db, world.clock, principal, who.root_ns, seen.entry, place)
        await past.write(file, ROOT_NODE, b"two")
        with pytest.raises(PreconditionFailed):
            await move_between(db, world.clock, who, who.root_ns, seen.entry, place)
        again = await locate(db, who, "/" + file.hex())
        with pytest.raises(NotFound):
            await move_between(db, world.clock, who, who.root_ns, again.entry, Place(ns, NodeId(b"x" * 16), "moved"))
        assert await picture(db, ns, ROOT_NODE) == {}

    run(scenario)


def test_a_member_and_its_mount_come_and_go_together(run: Run) -> None:
    async def scenario(db: Database) -> None:
        world = World(db, MemoryBlocks())
        past = Past(world, await world.owner(), random.Random(1))
        owner, guest = past.owner.principal, (await world.owner()).principal
        ns = await shared_with(past, guest, await past.folder(ROOT_NODE, "Team"))

        async def mounted() -> list[tuple[int, bytes]]:
            text = "SELECT state, content FROM files WHERE ns = $1 AND kind = 4 ORDER BY node_id"
            return [(state, content) for state, content in await world.rows(text, guest.root_ns)]

        ends = (
            lambda: leave(db, world.clock, guest, ns),
            lambda: remove(db, world.clock, owner, ns, guest.account_id),
            lambda: stop(db, world.clock, owner, ns),
        )
        for ended, end in enumerate(ends):
            assert await mounted() == [*([(3, b"")] * ended), (1, ns)]
            member = await db.read(lambda conn: member_txn(conn, ns, guest.account_id))
            assert member is not None
            assert (member.state, (await locate(db, guest, "/Team")).entry.node_id) == (
                State.ACCEPTED,
                member.mount_node,
            )
            await end()
            assert await db.read(lambda conn: member_txn(conn, ns, guest.account_id)) is None
            assert await world.rows("SELECT ns FROM memberships WHERE account_id = $1", guest.account_id) == []
            with pytest.raises(NotFound):
                await locate(db, guest, "/Team")
            await invite(db, world.clock, owner, ns, [(guest.account_name, Role.VIEWER)])
            await accept(db, world.clock, guest, ns)
        await require_sound(world, [owner.root_ns, ns, guest.root_ns], past)

    run(scenario)
