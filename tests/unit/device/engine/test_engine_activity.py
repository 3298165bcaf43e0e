"""What the engine decides and does is there to be told and taken back."""

from __future__ import annotations

import json

from satchel.core.entries import Action
from satchel.core.messages import Conflict
from satchel.device.index.activity import ACTIVITY_ROWS_MAX, Act, Activity, What, put_acts
from satchel.device.tasks import SeenChanged, TrashUnit
from tests.support.engine_rig import NODE_A, NODE_B, Rig, blocks_of, entry, hash_of, pushed, stat


def acts(rig: Rig, limit: int = 100) -> list[Act]:
    return [row.act for row in Activity(rig.index.connection).newest(limit)]


def edited_there(rig: Rig, seq: int = 2, data: bytes = b"two") -> None:
    rig.step(pushed(seq - 1, entry(seq, NODE_A, "a.txt", data, action=Action.EDIT, place_rev=1), contents=[data]))


def edit_here(rig: Rig, data: bytes) -> None:
    local = rig.index.reader.local(rig.nid(NODE_A))
    assert local is not None
    fact = SeenChanged(local.nid, local.version, stat(local.stat.inode, data), hash_of(data), blocks_of(data))
    rig.scan(fact)


def test_a_replaced_file_is_recorded_with_what_was_before_and_where_it_went() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    edited_there(rig)
    rig.apply()
    (act,) = acts(rig)
    assert (act.what, act.node_id, act.path) == (What.REPLACED, NODE_A, "a.txt")
    assert (act.was_content, act.content, act.trashed) == (hash_of(b"one"), hash_of(b"two"), "1-x")


def test_a_removed_unit_is_recorded_with_its_name_in_the_trash() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(pushed(1, entry(2, NODE_A, "a.txt", b"one", action=Action.DELETE, is_live=False)))
    rig.wait(3)
    assert isinstance(rig.apply().tasks[0], TrashUnit)
    (act,) = acts(rig)
    assert (act.what, act.path, act.trashed, act.was_content) == (What.REMOVED, "a.txt", "2-x", hash_of(b"one"))


def test_a_move_is_recorded_with_both_places() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    rig.step(pushed(1, entry(2, NODE_A, "b.txt", b"one", action=Action.MOVE, content_rev=1)))
    rig.apply()
    (act,) = acts(rig)
    assert (act.what, act.was_path, act.path) == (What.MOVED, "a.txt", "b.txt")


def test_a_conflict_is_recorded_with_its_rule_and_all_three_sides() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    edit_here(rig, b"mine")
    rig.commit(Conflict(entry(2, NODE_A, "a.txt", b"theirs", place_rev=1)), head_seq=2)
    edited_there(rig, data=b"theirs")
    rig.wait(1.0)
    decided = next(act for act in acts(rig) if act.what is What.DECIDED)
    assert decided.rule == "edit/edit" and decided.path == "a.txt"
    assert decided.beside.startswith("a (laptop's conflicted copy")
    sides = json.loads(decided.sides)
    contents = [sides[which]["content"] for which in ("base", "local", "remote")]
    assert contents == [hash_of(data).hex() for data in (b"one", b"mine", b"theirs")]


def test_what_comes_after_a_rest_is_a_run_of_its_own() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    edited_there(rig)
    rig.apply()
    rig.wait(20)
    edited_there(rig, 3, b"three")
    rig.apply()
    runs = [row.run for row in Activity(rig.index.connection).newest(10)]
    assert runs == [2, 1]


def test_what_follows_at_once_belongs_to_the_same_run_over_a_restart_too() -> None:
    rig = Rig()
    rig.synced((NODE_A, "a.txt", b"one"))
    edited_there(rig)
    rig.apply()
    assert rig.restarted().state.acts.run == 1
    edited_there(rig, 3, b"three")
    rig.apply()
    assert {row.run for row in Activity(rig.index.connection).last_changes(10)} == {1}


def test_the_oldest_rows_go_when_there_are_too_many() -> None:
    rig = Rig()
    act = Act(What.CREATED, NODE_B, "b", "remote create")
    for _ in range(2):
        put_acts(rig.index, [act] * ACTIVITY_ROWS_MAX, run=1, at_ms=1, device="laptop")
    ((count, first),) = rig.index.connection.execute("SELECT COUNT(*), MIN(id) FROM activity")
    assert count == ACTIVITY_ROWS_MAX and first == ACTIVITY_ROWS_MAX + 1


def test_rows_are_read_by_page_by_node_and_by_any_path_they_had() -> None:
    rig = Rig()
    made = [Act(What.MOVED, NODE_A, f"new{n}", "remote move", was_path=f"old{n}") for n in range(5)]
    put_acts(rig.index, made, run=1, at_ms=1, device="laptop")
    activity = Activity(rig.index.connection)
    first = activity.newest(2)
    assert [row.act.path for row in first + activity.newest(2, before=first[-1].number)] == [
        "new4",
        "new3",
        "new2",
        "new1",
    ]
    assert [row.act.path for row in activity.at_path("old3", 5)] == ["new3"]
    assert len(activity.of_node(NODE_A, 5)) == 5 and activity.of_node(NODE_B, 5) == []
