"""Selective sync, played through by two devices: the laptop leaves something out, the desktop has everything.

The real engine and the real service core in one process, in virtual time. In every test nothing that a person saved is
lost, and nothing that leaves the laptop is deleted anywhere: `only_left` checks both.
"""

from __future__ import annotations

import pytest

from satchel.core.errors import LimitExceeded, NotFound, QuotaExceeded
from satchel.core.ids import ROOT_NID, scope_mark
from satchel.core.messages import CommitReply, CommitRequest, CreateOp, EditOp, ScopeReply, ScopeRequest
from satchel.device.drive import drive
from satchel.device.engine import excluding
from satchel.simulation.core_remote import CoreRemote
from satchel.simulation.fake_user import FakeUser
from tests.support.left_out_world import LEFT, TREE, deletions, exclude, filled, include, notes, only_left, states
from tests.support.scripted_world import SimDevice, World, held


@pytest.fixture
def world() -> World:
    return filled()


# -- out, and back ----------------------------------------------------------------------------------------------------


def test_an_excluded_folder_leaves_this_disk_and_no_other(world: World) -> None:
    laptop = world.devices[0]
    head = laptop.engine.state.head_seq
    exclude(laptop, "big")
    assert states(laptop) == {"big": "leaving"}
    world.settle()
    only_left(world, LEFT, TREE)
    assert states(laptop) == {"big": "out"}
    assert laptop.engine.state.head_seq == head, "the service heard of nothing"
    assert any(b"big" in path and path.endswith(b"/a") for path in laptop.user.everything()), "it is in the local trash"
    include(laptop, "big")
    world.settle()
    only_left(world, TREE, TREE)
    assert states(laptop) == {}


def test_a_single_file_can_be_left_out(world: World) -> None:
    laptop = world.devices[0]
    exclude(laptop, "kept/c", "big/in")
    world.settle()
    only_left(world, {b"big": None, b"big/a": b"big/a", b"kept": None}, TREE)
    include(laptop, "kept/c", "big/in")
    world.settle()
    only_left(world, TREE, TREE)


def test_the_feed_of_what_is_left_out_costs_the_device_no_row_and_no_byte(world: World) -> None:
    laptop, desktop = world.devices
    exclude(laptop, "big")
    world.settle()
    for number in range(30):
        desktop.user.write_file(b"big/new %d" % number, b"x" * 1_000)
    desktop.user.make_folder(b"big/more")
    desktop.user.write_file(b"big/more/f", b"f")
    desktop.user.write_file(b"big/a", b"edited")
    world.settle()
    (rows,) = next(iter(laptop.engine.state.index.connection.execute("SELECT COUNT(*) FROM nodes")))
    assert rows == 3, "kept, kept/c and the top of what is left out"
    assert laptop.user.tree() == LEFT
    include(laptop, "big")
    world.settle()
    assert world.tree()[b"big/a"] == b"edited"
    assert deletions(world) == []


def test_what_is_not_uploaded_yet_goes_up_before_it_leaves(world: World) -> None:
    laptop = world.devices[0]
    laptop.user.write_file(b"big/a", b"edited just now")
    laptop.user.make_folder(b"big/made")
    laptop.user.write_file(b"big/made/new", b"never seen before")
    laptop.user.rename(b"big/in/b", b"big/in/moved")
    exclude(laptop, "big")
    world.settle()
    wanted = {path: data for path, data in TREE.items() if path != b"big/in/b"} | {
        b"big/a": b"edited just now",
        b"big/made": None,
        b"big/made/new": b"never seen before",
        b"big/in/moved": b"big/in/b",
    }
    only_left(world, LEFT, wanted)


def test_what_cannot_be_uploaded_stays_and_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop = world.devices[0]
    commit = CoreRemote.commit

    async def full(self: CoreRemote, request: CommitRequest, bodies: list[bytes]) -> CommitReply:
        if any(isinstance(op, (CreateOp, EditOp)) for op in request.ops):
            raise QuotaExceeded("No room.", used_bytes=1, quota_bytes=1)
        return await commit(self, request, bodies)

    monkeypatch.setattr(CoreRemote, "commit", full)
    laptop.user.write_file(b"big/only here", b"only here")
    exclude(laptop, "big")
    world.look(30.0)
    assert laptop.user.tree()[b"big/only here"] == b"only here"
    assert laptop.user.tree()[b"big/a"] == b"big/a"
    assert (states(laptop), list(held(laptop))) == ({"big": "leaving"}, ["/big/only here"])
    monkeypatch.setattr(CoreRemote, "commit", commit)
    world.scheduler.run_for(1_300.0)
    world.settle()
    only_left(world, LEFT, TREE | {b"big/only here": b"only here"})


def test_what_was_never_fetched_is_not_fetched_to_be_left_out(world: World) -> None:
    laptop, desktop = world.devices
    laptop.engine.state.is_paused = True
    desktop.user.make_folder(b"huge")
    desktop.user.write_file(b"huge/film", b"film" * 100_000)
    world.look(20.0)
    exclude(laptop, "huge")
    laptop.engine.state.is_paused = False
    world.settle()
    assert laptop.user.tree() == TREE
    assert states(laptop) == {"huge": "out"}
    assert laptop.engine.state.progress.bytes_down_done == 0


def test_a_word_taken_back_before_it_left_changes_nothing(world: World) -> None:
    laptop = world.devices[0]
    exclude(laptop, "big")
    include(laptop, "big")
    world.settle()
    only_left(world, TREE, TREE)
    exclude(laptop, "big")
    world.settle()
    include(laptop, "big")
    exclude(laptop, "big")
    world.settle()
    only_left(world, LEFT, TREE)


def test_a_folder_around_takes_what_was_left_out_inside_with_it(world: World) -> None:
    laptop = world.devices[0]
    exclude(laptop, "big/in")
    world.settle()
    exclude(laptop, "big")
    exclude(laptop, "big")
    world.settle()
    only_left(world, LEFT, TREE)
    assert states(laptop) == {"big": "out"}
    with pytest.raises(NotFound):
        include(laptop, "big/in")
    include(laptop, "big")
    world.settle()
    only_left(world, TREE, TREE)


def test_what_is_not_there_or_too_much_is_refused_and_nothing_is_noted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop = world.devices[0]
    with pytest.raises(NotFound):
        exclude(laptop, "big", "nowhere")
    monkeypatch.setattr(excluding, "SCOPE_NODES_MAX", 1)
    with pytest.raises(LimitExceeded):
        exclude(laptop, "big", "kept")
    world.settle()
    only_left(world, TREE, TREE)


# -- the other device goes on -----------------------------------------------------------------------------------------


def test_moved_and_renamed_elsewhere_it_stays_out(world: World) -> None:
    laptop, desktop = world.devices
    exclude(laptop, "big")
    world.settle()
    desktop.user.rename(b"big", b"kept/huge")
    world.settle()
    assert (laptop.user.tree(), states(laptop)) == (LEFT, {"kept/huge": "out"})
    include(laptop, "kept/huge")
    world.settle()
    assert world.tree()[b"kept/huge/in/b"] == b"big/in/b"
    assert deletions(world) == []


def test_deleted_elsewhere_it_stays_out_should_it_come_back(world: World) -> None:
    laptop, desktop = world.devices
    exclude(laptop, "big")
    world.settle()
    desktop.user.delete(b"big")
    world.settle()
    assert world.tree() == LEFT
    assert states(laptop) == {"big": "deleted"}
    include(laptop, "big")
    world.settle()
    assert (world.tree(), states(laptop)) == (LEFT, {})


def test_what_is_moved_in_elsewhere_leaves_this_disk_and_is_deleted_nowhere(world: World) -> None:
    laptop, desktop = world.devices
    exclude(laptop, "big")
    world.settle()
    desktop.user.rename(b"kept", b"big/in/kept")
    world.settle()
    assert laptop.user.tree() == {}
    assert desktop.user.tree()[b"big/in/kept/c"] == b"kept/c"
    assert deletions(world) == []
    desktop.user.write_file(b"big/in/kept/c", b"edited")
    desktop.user.rename(b"big/in/kept", b"back")
    world.settle()
    assert laptop.user.tree() == {b"back": None, b"back/c": b"edited"}
    assert deletions(world) == []


def changed_while_away(world: World) -> list[SimDevice]:
    """The laptop leaves big out, the service goes away, and kept is changed on the laptop."""
    laptop = world.devices[0]
    exclude(laptop, "big")
    world.settle()
    world.is_down = True
    world.look(1.0)
    laptop.user.write_file(b"kept/c", b"edited here")
    laptop.user.write_file(b"kept/new", b"made here")
    return world.devices


def test_an_edit_here_of_what_is_moved_in_elsewhere_arrives_there(world: World) -> None:
    laptop, desktop = changed_while_away(world)
    desktop.user.rename(b"kept", b"big/kept")
    world.look(5.0)
    world.is_down = False
    world.settle()
    assert laptop.user.tree() == {}
    tree = desktop.user.tree()
    assert (tree[b"big/kept/c"], tree[b"big/kept/new"]) == (b"edited here", b"made here")
    assert deletions(world) == []


@pytest.mark.parametrize("place", [b"big/kept", b"big/made/kept"])
@pytest.mark.parametrize("theirs", ["other", "folder", "edited", "deleted", "all deleted"])
def test_what_is_moved_in_elsewhere_meets_what_came_there_meanwhile(world: World, theirs: str, place: bytes) -> None:
    """Seed 35058: the feed tells of nothing that stands in what is left out, so it is asked for."""
    laptop, desktop = changed_while_away(world)
    laptop.kill("crash")
    world.is_down = False
    if place.startswith(b"big/made"):
        desktop.user.make_folder(b"big/made")
    desktop.user.rename(b"kept", place)
    world.look(60.0)
    match theirs:
        case "other":
            desktop.user.write_file(place + b"/new", b"made there")
        case "folder":
            desktop.user.make_folder(place + b"/new")
        case "edited":
            desktop.user.write_file(place + b"/c", b"edited there")
        case "deleted":
            desktop.user.delete(place + b"/c")
        case _:
            desktop.user.delete(place)
    world.look(60.0)
    laptop.start()
    world.settle()
    data = set(desktop.user.tree().values())
    assert {b"edited here", b"made here"} <= data
    assert {"other": b"made there", "edited": b"edited there"}.get(theirs, b"made here") in data
    assert [held(device) for device in world.devices] == [{}, {}]
    assert laptop.user.tree() == {} or theirs == "all deleted"


def test_what_is_moved_out_elsewhere_appears(world: World) -> None:
    laptop, desktop = world.devices
    exclude(laptop, "big")
    world.settle()
    desktop.user.rename(b"big/in", b"kept/in")
    desktop.user.rename(b"big/a", b"a")
    world.settle()
    assert laptop.user.tree() == LEFT | {b"a": b"big/a", b"kept/in": None, b"kept/in/b": b"big/in/b"}
    assert deletions(world) == []


def test_in_and_out_again_ends_as_the_other_device_has_it(world: World) -> None:
    laptop, desktop = world.devices
    exclude(laptop, "big")
    world.settle()
    world.is_down = True
    world.look(1.0)
    desktop.user.rename(b"kept", b"big/kept")
    desktop.user.delete(b"big/kept/c")
    desktop.user.write_file(b"big/kept/d", b"d")
    world.look(5.0)
    world.is_down = False
    world.look(5.0)
    desktop.user.rename(b"big/kept", b"kept")
    world.settle()
    assert laptop.user.tree() == {b"kept": None, b"kept/d": b"d"}
    assert deletions(world) == ["c"]


# -- deletions around it ----------------------------------------------------------------------------------------------


def test_deleting_the_folder_around_it_deletes_nothing_of_what_is_left_out(world: World) -> None:
    laptop, desktop = world.devices
    exclude(laptop, "big/in")
    world.settle()
    laptop.user.delete(b"big")
    world.settle()
    assert desktop.user.tree() == LEFT | {b"big": None, b"big/in": None, b"big/in/b": b"big/in/b"}
    assert laptop.user.tree() == LEFT | {b"big": None}
    assert deletions(world) == ["a"]


def test_deleting_what_is_just_leaving_is_no_deletion(world: World) -> None:
    laptop = world.devices[0]
    world.is_down = True
    world.look(1.0)
    laptop.user.write_file(b"big/new", b"keeps it from leaving")
    exclude(laptop, "big")
    world.look(3.0)
    laptop.user.delete(b"big")
    world.look(3.0)
    world.is_down = False
    world.settle()
    assert (laptop.user.tree(), world.devices[1].user.tree()) == (LEFT, TREE)
    assert deletions(world) == []


# -- names that something left out has (P15) --------------------------------------------------------------------------


def test_a_folder_made_at_an_excluded_name_is_kept_beside_it_and_told(world: World) -> None:
    laptop = world.devices[0]
    exclude(laptop, "big")
    world.settle()
    laptop.user.make_folder(b"big")
    laptop.user.write_file(b"big/a", b"another a")
    world.settle()
    beside = {b"big (selective sync conflict)": None, b"big (selective sync conflict)/a": b"another a"}
    only_left(world, LEFT | beside, TREE | beside)
    assert ["big (selective sync conflict)" in note for note in notes(laptop)] == [True]
    include(laptop, "big")
    world.settle()
    only_left(world, TREE | beside, TREE | beside)
    laptop.user.rename(b"big (selective sync conflict)", b"mine")
    world.settle()
    assert notes(laptop) == []


def test_a_file_made_at_an_excluded_name_is_kept_beside_it_and_told(world: World) -> None:
    laptop = world.devices[0]
    exclude(laptop, "kept/c", "big")
    world.settle()
    laptop.user.write_file(b"kept/C", b"another c")
    laptop.user.write_file(b"big", b"a file where a folder is left out")
    world.settle()
    beside = {
        b"kept/C (selective sync conflict)": b"another c",
        b"big (selective sync conflict)": b"a file where a folder is left out",
    }
    only_left(world, {b"kept": None} | beside, TREE | beside)
    assert len(notes(laptop)) == 2


def test_something_renamed_to_an_excluded_name_is_kept_beside_it(world: World) -> None:
    laptop, desktop = world.devices
    exclude(laptop, "big")
    world.settle()
    laptop.user.rename(b"kept", b"big")
    world.settle()
    name = b"big (selective sync conflict)"
    assert laptop.user.tree() == {name: None, name + b"/c": b"kept/c"}
    assert desktop.user.tree()[name + b"/c"] == b"kept/c"
    assert desktop.user.tree()[b"big/a"] == b"big/a"
    assert deletions(world) == []


def test_an_empty_folder_at_an_excluded_name_stays_here_alone_until_something_is_in_it(world: World) -> None:
    laptop = world.devices[0]
    exclude(laptop, "big")
    world.settle()
    laptop.user.make_folder(b"big")
    laptop.user.make_folder(b"big/sub")
    world.settle()
    only_left(world, LEFT | {b"big": None, b"big/sub": None}, TREE)
    assert any("this disk alone" in note for note in notes(laptop))
    laptop.user.write_file(b"big/sub/f", b"f")
    world.settle()
    name = b"big (selective sync conflict)"
    beside = {name: None, name + b"/sub": None, name + b"/sub/f": b"f"}
    only_left(world, LEFT | beside, TREE | beside)


def test_what_is_ignored_stays_on_the_disk_and_joins_what_comes_back(world: World) -> None:
    laptop = world.devices[0]
    laptop.user.write_file(b"big/in/.b.swp", b"ignored")
    world.settle()
    exclude(laptop, "big")
    world.settle()
    ignored = {b"big": None, b"big/in": None, b"big/in/.b.swp": b"ignored"}
    only_left(world, LEFT | ignored, TREE)
    include(laptop, "big")
    world.settle()
    only_left(world, TREE | ignored, TREE)


# -- the service forgets, or remembers too much -----------------------------------------------------------------------


def test_a_service_that_leaves_out_more_than_it_was_told_is_not_believed(world: World) -> None:
    laptop, desktop = world.devices
    identity = laptop.engine.state.identity
    kept = laptop.engine.state.index.reader.find(ROOT_NID, b"kept")
    assert kept is not None
    node = laptop.engine.state.index.node_id_of(kept.nid)
    assert node is not None
    drive(laptop.core.set_scope(ScopeRequest(world.service.ns, identity.link, (node,))))
    desktop.user.write_file(b"kept/c", b"edited")
    desktop.user.write_file(b"kept/new", b"new")
    world.settle()
    assert world.tree() == TREE | {b"kept/c": b"edited", b"kept/new": b"new"}


def test_a_lost_index_takes_nothing_for_deleted_that_the_service_left_out(world: World) -> None:
    laptop = world.devices[0]
    exclude(laptop, "big")
    world.settle()
    world.kill(laptop.number, "crash")
    laptop._image = None
    laptop.start()
    world.settle()
    only_left(world, TREE, TREE)


def test_an_index_from_before_the_word_in_the_same_run_takes_nothing_for_deleted_that_left_since(world: World) -> None:
    """It had said its hello, so no start since was newer than it; the word itself made this start a newer one."""
    laptop = world.devices[0]
    before = laptop.engine.state.index.image()
    exclude(laptop, "big")
    world.settle()
    assert laptop.user.tree() == LEFT
    world.kill(laptop.number, "crash")
    laptop._image = before
    laptop.start()
    world.settle()
    only_left(world, TREE, TREE)


def test_a_scope_that_gets_lost_on_the_way_is_told_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop, desktop = world.devices
    told: list[tuple[bytes, ...]] = []
    set_scope = CoreRemote.set_scope

    async def losing(self: CoreRemote, request: ScopeRequest) -> ScopeReply:
        told.append(request.left_out)
        if len(told) <= 2:
            return ScopeReply(scope_mark(request.left_out))
        return await set_scope(self, request)

    monkeypatch.setattr(CoreRemote, "set_scope", losing)
    exclude(laptop, "big")
    world.settle()
    desktop.user.write_file(b"big/a", b"edited")
    world.settle()
    assert laptop.user.tree() == LEFT
    include(laptop, "big")
    world.settle()
    assert world.tree() == TREE | {b"big/a": b"edited"}


def test_users_are_quick(world: World) -> None:
    """Out, in, out while the other device edits: nobody loses a byte."""
    laptop, desktop = world.devices
    user: FakeUser = desktop.user
    for turn in range(6):
        (include if turn % 2 else exclude)(laptop, "big")
        user.write_file(b"big/a", b"state %d" % turn)
        user.write_file(b"big/in/%d" % turn, b"%d" % turn)
        laptop.hint_all()
        desktop.hint_all()
        world.scheduler.run_for(0.3 * turn)
    world.settle()
    assert deletions(world) == []
    assert world.tree()[b"big/a"] == b"state 5"
    assert [world.tree()[b"big/in/%d" % turn] for turn in range(6)] == [b"%d" % turn for turn in range(6)]
