"""Deletions wait for quiet; many at once wait for a person's word, in either direction and over restarts."""

from __future__ import annotations

import pytest

from satchel.core.entries import Action
from satchel.core.ids import NodeId
from satchel.core.messages import Conflict, CreateOp, DeleteOp
from satchel.device.engine import guard
from satchel.device.tasks import ApplyTask, CommitTask, PlaceFile, SeenGone, SeenUnknown, TrashUnit
from tests.support.engine_rig import LINK, NODE_A, NODE_B, Rig, entry, new, pushed


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(16, "big"))


def many(count: int) -> Rig:
    """Start with so many synced empty files in the linked folder."""
    rig = Rig()
    remote = [entry(number, node(number), f"f{number}") for number in range(1, count + 1)]
    rig.start(remote, [new(number, f"f{number}") for number in range(1, count + 1)])
    assert rig.engine.is_settled
    rig.pending.clear()
    return rig


def delete_here(rig: Rig, first: int, last: int) -> None:
    rows = [rig.index.reader.local(rig.nid(node(number))) for number in range(first, last + 1)]
    rig.scan(*(SeenGone(row.nid, row.version) for row in rows if row is not None))


def delete_there(rig: Rig, first: int, last: int, seq: int) -> None:
    dead = [
        entry(seq + at + 1, node(number), f"f{number}", action=Action.DELETE, is_live=False)
        for at, number in enumerate(range(first, last + 1))
    ]
    rig.step(pushed(seq, *dead))


def deletes(rig: Rig) -> int:
    """Take all commits that are due now. Result: how many deletions they hold."""
    found = 0
    while rig.has(CommitTask):
        found += sum(isinstance(op, DeleteOp) for op in rig.take(CommitTask).request.ops)
    return found


def trashes(rig: Rig) -> int:
    found = 0
    while rig.has(ApplyTask):
        found += sum(isinstance(task, TrashUnit) for task in rig.apply().tasks)
    return found


# -- quiet ------------------------------------------------------------------------------------------------------------


def test_a_deletion_waits_two_seconds_of_quiet() -> None:
    rig = many(3)
    delete_here(rig, 1, 1)
    rig.wait(1.9)
    assert deletes(rig) == 0
    rig.wait(0.2)
    assert deletes(rig) == 1


def test_each_further_deletion_begins_the_quiet_anew_for_thirty_seconds_at_most() -> None:
    rig = many(30)
    passed_s = 0.0
    for number in range(1, 19):
        delete_here(rig, number, number)
        rig.wait(1.5)
        passed_s += 1.5
        assert deletes(rig) == 0, passed_s
    delete_here(rig, 19, 19)
    rig.wait(3.1)
    assert deletes(rig) == 19


def test_a_file_that_comes_back_within_the_quiet_is_no_deletion() -> None:
    rig = many(3)
    delete_here(rig, 1, 1)
    rig.wait(1.0)
    rig.scan(new(1, "f1"))
    rig.wait(5.0)
    assert deletes(rig) == 0 and rig.engine.is_settled


def test_before_the_first_scan_nothing_is_missing() -> None:
    rig = many(3)
    again = rig.restarted()
    again.step()
    again.connect(head=3)
    again.wait(60.0)
    assert not again.has(CommitTask)


# -- many at once -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "gone", "held"), [(300, 200, False), (300, 201, True), (1200, 240, False)])
def test_up_to_200_files_or_a_fifth_may_go_at_once(count: int, gone: int, held: bool) -> None:
    rig = many(count)
    delete_here(rig, 1, gone)
    rig.wait(2.1)
    assert (deletes(rig) == 0) is held
    assert rig.held_codes() == (["mass_deletion"] * gone if held else [])


def test_more_than_a_fifth_of_many_is_held() -> None:
    rig = many(1200)
    delete_here(rig, 1, 241)
    rig.wait(2.1)
    assert deletes(rig) == 0 and set(rig.held_codes()) == {"mass_deletion"}


def test_a_deletion_that_is_planned_again_counts_once() -> None:
    """Seed 4789: the service had something newer, so 155 files were planned to go twice, and were held as 310."""
    rig = many(300)
    delete_here(rig, 1, 150)
    rig.wait(2.1)
    rig.answer(*(Conflict(None) for _ in rig.take_commit()))
    rig.wait(10.0)
    assert "mass_deletion" not in rig.held_codes() and deletes(rig) == 150


def test_deletions_in_small_portions_add_up_within_a_minute() -> None:
    rig = many(400)
    delete_here(rig, 1, 150)
    rig.wait(2.1)
    assert deletes(rig) == 150
    delete_here(rig, 151, 250)
    rig.wait(2.1)
    assert deletes(rig) == 0 and len(rig.held_codes()) == 100


def test_deletions_elsewhere_are_held_before_this_disk_loses_a_file() -> None:
    rig = many(300)
    delete_there(rig, 1, 250, 300)
    rig.wait(2.1)
    assert trashes(rig) == 0 and len(rig.held_codes()) == 250
    for _ in range(3):
        rig.wait(3_600.0)
        rig.scan(is_full=True)
    assert trashes(rig) == 0, "no time makes up for a word"


def test_while_deletions_are_held_the_rest_goes_on() -> None:
    rig = many(300)
    delete_here(rig, 1, 250)
    rig.wait(2.1)
    rig.scan(new(900, "fresh.txt", b"fresh"))
    rig.wait(0.5)
    (op,) = rig.take(CommitTask).request.ops
    assert isinstance(op, CreateOp) and op.name == "fresh.txt"


# -- the word ---------------------------------------------------------------------------------------------------------


def test_allowed_deletions_go_and_ask_no_more() -> None:
    rig = many(300)
    delete_here(rig, 1, 250)
    rig.wait(2.1)
    assert guard.allow_held(rig.state) == 250
    rig.wait(3.0)
    assert deletes(rig) == 250


def test_undone_deletions_bring_the_files_back_here() -> None:
    rig = many(300)
    delete_here(rig, 1, 250)
    rig.wait(2.1)
    assert guard.undo_held(rig.state) == 250
    rig.wait(1.0)
    placed = rig.apply().tasks
    assert all(isinstance(task, PlaceFile) and task.expected is None for task in placed)
    while rig.has(ApplyTask):
        placed += rig.apply().tasks
    assert len(placed) == 250 and deletes(rig) == 0 and rig.engine.is_settled


def test_undone_deletions_of_another_device_go_back_to_the_service() -> None:
    rig = many(300)
    delete_there(rig, 1, 250, 300)
    rig.wait(2.1)
    assert guard.undo_held(rig.state) == 250
    rig.wait(1.0)
    ops = rig.take(CommitTask).request.ops
    assert {type(op).__name__ for op in ops} == {"UndeleteOp"} and len(ops) == 250
    assert trashes(rig) == 0


def test_held_deletions_are_still_held_after_a_restart() -> None:
    rig = many(300)
    delete_here(rig, 1, 250)
    rig.wait(2.1)
    again = rig.restarted()
    again.start(head=300)
    again.wait(10.0)
    assert deletes(again) == 0 and len(again.held_codes()) == 250
    assert guard.allow_held(again.state) == 250
    again.wait(3.0)
    assert deletes(again) == 250


def test_an_allowed_deletion_is_still_allowed_after_a_restart() -> None:
    rig = many(300)
    delete_here(rig, 1, 250)
    rig.wait(2.1)
    guard.allow_held(rig.state)
    again = rig.restarted()
    again.start(head=300)
    again.wait(10.0)
    assert deletes(again) == 250


@pytest.mark.parametrize("is_older", [False, True])
def test_no_deletion_goes_before_the_service_has_answered_a_hello(*, is_older: bool) -> None:
    """The index may be that of an older image: then the file was left out, or deleted and made anew, since."""
    rig = many(3)
    again = rig.restarted()
    again.step()
    again.connect(head=3)
    row = again.index.reader.local(again.nid(node(1)))
    assert row is not None
    again.scan(SeenGone(row.nid, row.version), is_full=True)
    again.wait(60.0)
    assert deletes(again) == 0
    again.welcome(recover=is_older)
    if is_older:
        again.join([entry(number, node(number), f"f{number}") for number in (1, 2, 3)], 3)
    again.wait(3.0)
    again.wait(60.0)
    assert deletes(again) == (0 if is_older else 1)


# -- unknown is not gone ----------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_never_a_deletion() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"), (NODE_B, "b.txt", b"two"))
    rig.scan(SeenUnknown(rig.nid(NODE_A), None, b"a.txt", "file_unreadable", "no right", True))
    for _ in range(3):
        rig.wait(60.0)
    assert deletes(rig) == 0
    assert rig.held_codes() == ["file_unreadable"]


def test_an_own_deletion_that_the_feed_brings_settles() -> None:
    rig = many(2)
    delete_here(rig, 1, 1)
    rig.wait(2.1)
    (op,) = rig.take_commit()
    rig.step(pushed(2, entry(3, node(1), "f1", action=Action.DELETE, is_live=False, link=LINK, op_id=op.op_id)))
    from satchel.core.messages import Stored

    rig.answer(Stored(3), head_seq=3)
    assert rig.engine.is_settled and rig.index.reader.nid_of(node(1)) is None
