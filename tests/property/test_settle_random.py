"""Random events at random times: none is forgotten, and each is due in its time."""

from __future__ import annotations

import random

import pytest

from satchel.device.watcher.settle import BURST_S, HOT_S_MAX, MEMORY_S, Due, Settle

KEYS = [(folder, name) for folder in (1, 2) for name in (b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h")]
GRAIN_S = 1e-6


class Watched:
    """Drives a Settle by virtual time and remembers when each key was due."""

    def __init__(self) -> None:
        self.settle = Settle()
        self.now_s = 100.0
        self.due: list[tuple[float, Due]] = []

    def look(self) -> None:
        self.due += [(self.now_s, one) for one in self.settle.due(self.now_s)]

    def wait_until(self, time_s: float) -> None:
        """Let time pass, looking exactly when the settle asks for it."""
        while (next_s := self.settle.next_due_s()) is not None and next_s <= time_s:
            self.now_s = max(self.now_s, next_s) + GRAIN_S
            self.look()
        self.now_s = max(self.now_s, time_s)
        self.look()

    def first_due_s(self, key: tuple[int, bytes], since_s: float) -> float:
        for time_s, one in self.due:
            if time_s >= since_s and one.folder == key[0] and (one.names is None or key[1] in one.names):
                return time_s
        raise AssertionError(f"{key} at {since_s} was forgotten")


@pytest.mark.parametrize("seed", range(200), ids=[f"seed_{seed}" for seed in range(200)])
def test_no_event_is_forgotten_and_each_is_due_in_its_time(seed: int) -> None:
    choice = random.Random(seed)
    watched = Watched()
    pace_s = choice.choice((0.001, 0.02, 0.1, 0.4))
    events: list[tuple[float, tuple[int, bytes], bool]] = []
    for _ in range(300):
        watched.wait_until(watched.now_s + choice.expovariate(1 / pace_s))
        key, other = choice.sample(KEYS, 2)
        now_s = watched.now_s
        deed = choice.randrange(5)
        match deed:
            case 0 | 1:
                watched.settle.ready(*key, now_s)
            case 2:
                watched.settle.gone(*key, now_s)
            case 3:
                watched.settle.renamed(key, other, now_s)
                events.append((now_s, other, False))
            case _:
                watched.settle.written(*key, now_s, is_made=choice.random() < 0.5)
        events.append((now_s, key, deed == 4))
        if choice.random() < 0.5:
            watched.look()
    watched.wait_until(watched.now_s + 10 * HOT_S_MAX)

    for since_s, key, is_write in events:
        wait_s = watched.first_due_s(key, since_s) - since_s
        # A name is hot only after many looks within a short time.
        looks = sum(1 for time_s, one in watched.due if one.folder == key[0] and time_s <= since_s + HOT_S_MAX)
        if is_write or looks > 10:
            assert wait_s <= HOT_S_MAX + BURST_S + 0.01
        else:
            assert wait_s <= BURST_S + 0.01


@pytest.mark.parametrize("seed", range(50), ids=[f"seed_{seed}" for seed in range(50)])
def test_lone_saves_are_due_at_once_whatever_came_before(seed: int) -> None:
    choice = random.Random(seed)
    watched = Watched()
    for _ in range(choice.randrange(200)):
        watched.settle.ready(*choice.choice(KEYS), watched.now_s)
        watched.wait_until(watched.now_s + choice.expovariate(100))
    watched.wait_until(watched.now_s + 4 * HOT_S_MAX + MEMORY_S)

    key = choice.choice(KEYS)
    watched.settle.ready(*key, watched.now_s)
    watched.look()

    assert watched.first_due_s(key, watched.now_s) == watched.now_s
