"""Drives a coroutine that never suspends. Invariant: it ran to its end on the caller's thread, or it is our mistake.

The disk port is `async def` so that the simulation can stop at each call; the real disk never suspends, and a worker
thread runs its coroutines here without an event loop. Source: docs/design/040 (simulation).
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


def drive(coro: Coroutine[object, None, T]) -> T:
    """Run `coro` to its end and return its result; its exceptions pass. A coroutine that suspends is a RuntimeError."""
    try:
        coro.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # StopIteration carries the coroutine's own result
    coro.close()
    raise RuntimeError("a coroutine of a port that never suspends has suspended")
