"""Turns: the urgent go first, and nobody works beside another."""

from __future__ import annotations

import threading
from collections.abc import Callable

from satchel.device.turns import Turns


def test_an_urgent_one_goes_before_a_patient_one_that_waits() -> None:
    turns, order = Turns(), list[str]()
    begun = threading.Event()

    def patient() -> None:
        begun.set()
        with turns.patient:
            order.append("patient")

    with turns.urgent():
        waiting = threading.Thread(target=lambda: _urgent(turns, order))
        waiting.start()
        assert until(lambda: not turns._calm.is_set()), "it waits for the turn"
        late = threading.Thread(target=patient)
        late.start()
        assert begun.wait(10)
    for thread in (waiting, late):
        thread.join(10)

    assert order == ["urgent", "patient"]


def until(claim: Callable[[], bool]) -> bool:
    """Tell whether it comes true within ten seconds."""
    pause = threading.Event()
    return any(claim() or pause.wait(0.001) for _ in range(10_000))


def _urgent(turns: Turns, order: list[str]) -> None:
    with turns.urgent():
        order.append("urgent")


def test_two_never_hold_the_turn_at_once() -> None:
    turns = Turns()
    inside, most = 0, 0

    def work(*, is_urgent: bool) -> None:
        nonlocal inside, most
        for _ in range(300):
            with turns.urgent() if is_urgent else turns.patient:
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work, kwargs={"is_urgent": number % 2 == 0}) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert most == 1
    assert not any(thread.is_alive() for thread in threads)
