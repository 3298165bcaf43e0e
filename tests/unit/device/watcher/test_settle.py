"""When a changed name is due, event by event."""

from __future__ import annotations

import itertools

from satchel.device.watcher.settle import BURST_S, HOT_S_MAX, QUIET_S, Due, Settle

ROOT = 1


def names(due: list[Due]) -> set[bytes]:
    return {name for one in due for name in one.names or ()}


def test_lone_closed_file_is_due_at_once() -> None:
    settle = Settle()
    settle.written(ROOT, b"a", 10.0, is_made=True)
    settle.ready(ROOT, b"a", 10.001)

    assert settle.due(10.001) == [Due(ROOT, frozenset((b"a",)))]
    assert settle.next_due_s() is None


def test_file_that_is_being_written_waits_for_its_writer() -> None:
    settle = Settle()
    settle.written(ROOT, b"a", 10.0, is_made=True)

    assert settle.due(10.9) == []
    assert settle.next_due_s() == 11.0


def test_file_that_stays_open_and_quiet_is_looked_at() -> None:
    settle = Settle()
    settle.written(ROOT, b"a", 10.0)
    settle.written(ROOT, b"a", 10.5)

    assert settle.due(11.4) == []
    assert names(settle.due(11.5)) == {b"a"}


def test_file_that_is_written_without_pause_is_looked_at_each_minute() -> None:
    settle = Settle()
    looked = []
    for tick in range(1300):
        settle.written(ROOT, b"db", tick / 10)
        if settle.due(tick / 10):
            looked.append(tick / 10)

    assert looked == [HOT_S_MAX, 2 * HOT_S_MAX + 0.1]


def test_rename_waits_for_an_editor_that_writes_the_old_name_again() -> None:
    settle = Settle()
    settle.renamed((ROOT, b"doc"), (ROOT, b"doc~"), 10.0)
    assert settle.due(10.0) == []
    assert settle.next_due_s() == 10.05

    settle.written(ROOT, b"doc", 10.02, is_made=True)
    assert settle.due(10.06) == []

    settle.ready(ROOT, b"doc", 10.08)
    assert names(settle.due(10.08)) == {b"doc", b"doc~"}


def test_plain_rename_is_due_after_its_grace() -> None:
    settle = Settle()
    settle.renamed((ROOT, b"a"), (2, b"b"), 10.0)

    assert sorted(settle.due(10.051), key=str) == [Due(1, frozenset((b"a",))), Due(2, frozenset((b"b",)))]


def test_new_file_renamed_over_a_document_is_due_at_once() -> None:
    settle = Settle()
    settle.written(ROOT, b"tmp", 10.0, is_made=True)
    settle.ready(ROOT, b"tmp", 10.001)
    settle.renamed((ROOT, b"tmp"), (ROOT, b"doc"), 10.002)

    assert names(settle.due(10.002)) == {b"tmp", b"doc"}


def test_absence_waits_for_what_may_come_instead() -> None:
    settle = Settle()
    settle.gone(ROOT, b"a", 10.0)

    assert settle.due(10.1) == []
    assert names(settle.due(10.2)) == {b"a"}


def test_burst_waits_until_it_is_quiet() -> None:
    settle = Settle()
    for number in range(20):
        settle.ready(ROOT, b"%d" % number, 10.0 + number / 100)

    assert settle.due(10.2) == []
    assert settle.next_due_s() == 10.15 + QUIET_S
    assert len(names(settle.due(10.16 + QUIET_S))) == 20


def test_burst_without_end_is_due_in_half_a_second() -> None:
    settle = Settle()
    due: list[float] = []
    for number in range(200):
        settle.ready(ROOT, b"%d" % number, 10.0 + number / 100)
        if settle.due(10.0 + number / 100):
            due.append(number / 100)

    assert due[:4] == [0.0, 0.01, 0.02, 0.03]
    assert all(BURST_S <= later - sooner <= BURST_S + 0.02 for sooner, later in itertools.pairwise(due[3:]))
    assert len(due) >= 6


def test_steady_single_saves_are_never_a_burst() -> None:
    settle = Settle()
    for number in range(100):
        settle.ready(ROOT, b"%d" % number, 10.0 + number / 10)
        assert names(settle.due(10.0 + number / 10)) == {b"%d" % number}


def test_name_saved_all_the_time_is_looked_at_ever_less_and_recovers() -> None:
    settle = Settle()
    looks = 0
    for tick in range(1000):
        settle.ready(ROOT, b"log", tick / 10)
        looks += len(settle.due(tick / 10))
    assert 10 < looks < 20

    settle.due(500.0)
    settle.ready(ROOT, b"log", 1000.0)
    assert names(settle.due(1000.0)) == {b"log"}


def test_many_names_in_one_folder_become_the_folder() -> None:
    settle = Settle()
    for number in range(5000):
        settle.ready(ROOT, b"%d" % number, 10.0)

    assert settle.due(11.0) == [Due(ROOT, None)]


def test_lost_events_make_everything_due() -> None:
    settle = Settle()
    settle.ready(ROOT, b"a", 10.0)
    settle.everything()

    assert settle.due(10.0) == [Due(None, None, True)]
    assert settle.due(20.0) == []
    assert settle.next_due_s() is None


def test_the_last_of_many_saves_is_looked_at_when_nobody_saves_any_more() -> None:
    settle = Settle()
    for tick in range(1_000):
        settle.ready(ROOT, b"doc", tick / 10)
        settle.due(tick / 10)
    assert settle.due(106.5) == [] and settle.next_due_s() is not None
    assert names(settle.due(99.9 + HOT_S_MAX / 8)) == {b"doc"}

    settle.ready(ROOT, b"doc", 110.0)
    assert settle.next_due_s() == 110.0 + HOT_S_MAX / 8
