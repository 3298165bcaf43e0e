"""What made other systems lose files, played through by two devices: each case by its name. See docs/design/046.

The real engine and the real service core in one process, in virtual time. `apart` lets both sides act before either
hears of the other, as offline devices do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from satchel.core.errors import FileUnreadable, Unavailable
from satchel.core.messages import CommitReply, CommitRequest
from satchel.device.tasks import Hinted
from satchel.simulation.core_remote import CoreRemote
from satchel.simulation.fake_user import FakeUser
from tests.support.scripted_world import World

BIG = bytes(range(256)) * 12_000


@pytest.fixture
def world() -> World:
    made = World(11, 2)
    made.settle()
    return made


@contextmanager
def apart(world: World) -> Iterator[tuple[FakeUser, FakeUser]]:
    """Both act while the service is out of reach; then everything settles."""
    world.is_down = True
    world.look(1.0)
    yield world.devices[0].user, world.devices[1].user
    world.look(5.0)
    world.is_down = False
    world.settle()


def begin(world: World, *paths: bytes) -> None:
    """Put these on both devices: a folder where the path ends in a slash, else a file that holds its own path."""
    user = world.devices[0].user
    for path in paths:
        if path.endswith(b"/"):
            user.make_folder(path.rstrip(b"/"))
        else:
            user.write_file(path, path)
    world.settle()
    assert len(world.tree()) == len(paths)


def contents(tree: dict[bytes, bytes | None]) -> list[bytes]:
    return sorted(data for data in tree.values() if data is not None)


# -- lifecycle --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [0, 1], ids=["up", "down"])
def test_the_life_of_a_file_is_followed_step_by_step(world: World, side: int) -> None:
    user = world.devices[side].user
    user.write_file(b"a", b"one")
    world.settle()
    assert world.tree() == {b"a": b"one"}
    user.write_file(b"a", b"two")
    world.settle()
    user.rename(b"a", b"b")
    world.settle()
    assert world.tree() == {b"b": b"two"}
    user.make_folder(b"d")
    user.rename(b"b", b"d/c")
    world.settle()
    assert world.tree() == {b"d": None, b"d/c": b"two"}
    user.delete(b"d")
    world.settle()
    assert world.tree() == {}


@pytest.mark.parametrize("side", [0, 1], ids=["up", "down"])
def test_a_tree_of_folders_arrives_whole_moves_whole_and_goes_whole(world: World, side: int) -> None:
    user = world.devices[side].user
    for folder in (b"t", b"t/a", b"t/a/b", b"t/a/b/c", b"t/empty"):
        user.make_folder(folder)
    user.write_file(b"t/a/b/c/f", b"f")
    user.write_file(b"t/a/g", b"g")
    world.settle()
    assert len(world.tree()) == 7
    user.rename(b"t", b"u")
    world.settle()
    assert set(world.tree()) == {b"u", b"u/a", b"u/a/b", b"u/a/b/c", b"u/a/b/c/f", b"u/a/g", b"u/empty"}
    user.delete(b"u")
    world.settle()
    assert world.tree() == {}


@pytest.mark.parametrize("side", [0, 1])
def test_rapid_changes_end_in_the_last_content_and_make_no_copy(world: World, side: int) -> None:
    user = world.devices[side].user
    for number in range(60):
        (user.save_file if number % 3 else user.write_file)(b"hot", b"state %d" % number)
        world.devices[side].hint_all()
        world.scheduler.run_for(0.07)
    world.settle()
    assert world.tree() == {b"hot": b"state 59"}


# -- places -----------------------------------------------------------------------------------------------------------


def test_a_folder_moved_here_keeps_the_edit_of_its_child_there(world: World) -> None:
    begin(world, b"d/", b"d/f", b"e/")
    with apart(world) as (first, second):
        first.rename(b"d", b"e/d")
        second.write_file(b"d/f", b"edited")
    assert world.tree() == {b"e": None, b"e/d": None, b"e/d/f": b"edited"}


def test_a_folder_moved_here_and_deleted_there_lives_whole(world: World) -> None:
    begin(world, b"d/", b"d/f", b"d/g")
    with apart(world) as (first, second):
        first.rename(b"d", b"moved")
        second.delete(b"d")
    assert world.tree() == {b"moved": None, b"moved/f": b"d/f", b"moved/g": b"d/g"}


def test_a_file_moved_to_two_places_is_one_file(world: World) -> None:
    begin(world, b"f", b"x/", b"y/")
    with apart(world) as (first, second):
        first.rename(b"f", b"x/f")
        second.rename(b"f", b"y/f")
    assert contents(world.tree()) == [b"f"]


def test_names_renamed_in_a_ring_arrive_in_a_ring(world: World) -> None:
    begin(world, b"a", b"b", b"c")
    user = world.devices[0].user
    for source, target in ((b"a", b"t"), (b"c", b"a"), (b"b", b"c"), (b"t", b"b")):
        user.rename(source, target)
    world.settle()
    assert world.tree() == {b"a": b"c", b"b": b"a", b"c": b"b"}


def test_a_file_moved_onto_another_replaces_it_there_too(world: World) -> None:
    begin(world, b"a", b"b")
    world.devices[0].user.rename(b"a", b"b")
    world.settle()
    assert world.tree() == {b"b": b"a"}


def test_a_file_moved_onto_one_that_was_edited_elsewhere_loses_neither(world: World) -> None:
    begin(world, b"a", b"b")
    with apart(world) as (first, second):
        first.rename(b"a", b"b")
        second.write_file(b"b", b"edited")
    assert {b"a", b"edited"} <= set(contents(world.tree()))


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["running", "stopped", "remote"])
@pytest.mark.parametrize("name", [b"note/", b"note"])
def test_a_change_of_case_alone_is_a_rename(world: World, how: str, name: bytes) -> None:
    begin(world, name)
    device = world.devices[1 if how == "remote" else 0]
    if how == "stopped":
        world.kill(device.number, "crash")
    device.user.rename(b"note", b"NOTE")
    if how == "stopped":
        device.start()
    world.settle()
    assert list(world.tree()) == [b"NOTE"]


@pytest.mark.parametrize(
    ("one", "other", "mark"),
    [(b"Note", b"note", b"(case conflict)"), ("é".encode(), "e\u0301".encode(), b"(unicode conflict)")],
    ids=["case", "unicode"],
)
def test_names_of_one_key_made_on_both_are_both_kept(world: World, one: bytes, other: bytes, mark: bytes) -> None:
    with apart(world) as (first, second):
        first.write_file(one, b"first")
        second.write_file(other, b"second")
    assert contents(world.tree()) == [b"first", b"second"]
    assert len([path for path in world.tree() if mark in path]) == 1


def test_a_file_renamed_to_a_name_that_is_no_text_is_not_deleted_elsewhere(world: World) -> None:
    begin(world, b"f")
    first, second = world.devices
    first.user.rename(b"f", b"f\xff")
    world.look(120.0)
    assert second.user.tree() == {b"f": b"f"} and first.user.tree() == {b"f\xff": b"f"}
    first.user.rename(b"f\xff", b"f")
    world.settle()
    assert world.tree() == {b"f": b"f"}


# -- kinds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_edited", [False, True], ids=["untouched-there", "edited-there"])
def test_a_file_replaced_by_a_folder(world: World, is_edited: bool) -> None:
    begin(world, b"n")
    with apart(world) as (first, second):
        first.delete(b"n")
        first.make_folder(b"n")
        first.write_file(b"n/inside", b"inside")
        if is_edited:
            second.write_file(b"n", b"edited")
    assert contents(world.tree()) == ([b"edited", b"inside"] if is_edited else [b"inside"])


@pytest.mark.parametrize("is_edited", [False, True], ids=["untouched-there", "edited-there"])
def test_a_folder_replaced_by_a_file(world: World, is_edited: bool) -> None:
    begin(world, b"n/", b"n/inside")
    with apart(world) as (first, second):
        first.delete(b"n")
        first.write_file(b"n", b"a file")
        if is_edited:
            second.write_file(b"n/inside", b"edited")
            second.write_file(b"n/new", b"new")
    assert contents(world.tree()) == ([b"a file", b"edited", b"new"] if is_edited else [b"a file"])


# -- both at once -----------------------------------------------------------------------------------------------------


def test_what_both_deleted_while_paused_is_gone_and_nothing_more(world: World) -> None:
    begin(world, b"d/", b"d/f", b"kept")
    for device in world.devices:
        device.engine.state.is_paused = True
        device.user.delete(b"d")
    world.look(5.0)
    for device in world.devices:
        device.engine.state.is_paused = False
    world.settle()
    assert world.tree() == {b"kept": b"kept"}


def test_equal_content_made_on_both_is_one_file(world: World) -> None:
    with apart(world) as (first, second):
        for user in (first, second):
            user.make_folder(b"d")
            user.write_file(b"d/f", b"the same")
    assert world.tree() == {b"d": None, b"d/f": b"the same"}


def test_different_content_made_on_both_is_two_files(world: World) -> None:
    with apart(world) as (first, second):
        first.write_file(b"f", b"first")
        second.write_file(b"f", b"second")
    assert contents(world.tree()) == [b"first", b"second"]


def test_a_file_deleted_while_it_is_sent_is_gone_on_both(world: World) -> None:
    user = world.devices[0].user
    user.write_file(b"big", BIG)
    world.devices[0].hint_all()
    assert world.scheduler.run_until(lambda: bool(world.devices[0].engine.state.uploading), limit_s=30.0)
    user.delete(b"big")
    world.settle()
    assert world.tree() == {}


def test_a_hint_about_a_child_before_its_folder_is_known_finds_both(world: World) -> None:
    from satchel.device.ports import DiskPath, Hint

    device = world.devices[0]
    device.user.make_folder(b"d")
    device.user.make_folder(b"d/e")
    device.user.write_file(b"d/e/f", b"f")
    device.put(Hinted((Hint(DiskPath(b"d/e"), frozenset((b"f",))),)))
    world.scheduler.run_for(5.0)
    assert world.devices[1].user.tree() == {b"d": None, b"d/e": None, b"d/e/f": b"f"}


@pytest.mark.parametrize("years", [-10, 10])
def test_a_clock_that_is_years_off_decides_nothing(world: World, years: int) -> None:
    world.devices[1].clock.jump_ns = years * 365 * 86_400 * 10**9
    begin(world, b"f", b"g")
    with apart(world) as (first, second):
        first.write_file(b"f", b"first")
        second.write_file(b"f", b"second")
        second.write_file(b"g", b"later")
    assert contents(world.tree()) == [b"first", b"later", b"second"]


def test_a_commit_whose_reply_is_lost_is_done_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = CoreRemote.commit
    lost: list[CommitRequest] = []

    async def lossy(self: CoreRemote, request: CommitRequest, bodies: list[bytes]) -> CommitReply:
        reply = await commit(self, request, bodies)
        if len(lost) < 3:
            lost.append(request)
            raise Unavailable("The reply is lost.", where="test")
        return reply

    monkeypatch.setattr(CoreRemote, "commit", lossy)
    for number in range(4):
        world.devices[0].user.write_file(b"f", b"state %d" % number)
        world.settle()
    assert len(lost) == 3 and world.tree() == {b"f": b"state 3"}


# -- the root ---------------------------------------------------------------------------------------------------------


def test_a_root_that_cannot_be_read_halts_and_deletes_nothing(world: World) -> None:
    begin(world, b"d/", b"d/f", b"g")
    first, second = world.devices
    head = first.engine.state.head_seq
    fault = FileUnreadable("No right to read it.", path="", reason="EACCES")
    first.disk.before_call = lambda name, args: fault if name == "list_folder" and args[0] == b"" else None
    world.look(120.0)
    assert first.engine.state.halted and "\n" not in first.engine.state.halted
    assert second.engine.state.head_seq == head, "the journal got no entry"
    first.disk.before_call = None
    first.engine.state.halted = ""
    first.user.write_file(b"after", b"after")
    world.settle()
    assert world.tree() == {b"d": None, b"d/f": b"d/f", b"g": b"g", b"after": b"after"}
