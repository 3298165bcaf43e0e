"""One read for all that ask in the same moment. Invariant: a caller that goes away takes nothing from the others.

There is no task behind this: the first that asks waits a moment for others, reads for all, and tells them. When it is
cancelled meanwhile, the others gather anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from satchel.core.errors import Fault, Unavailable

K = TypeVar("K", bound=Hashable)
Q = TypeVar("Q")
R = TypeVar("R")


class Abandoned(Exception):  # no fault: the caller asks again
    """Whoever read for all went away."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ask(Generic[Q, R]):
    question: Q
    answer: asyncio.Future[R]


class Slots:
    """So many groups are on their way at once. `taken` is a group's pause: what comes while all are taken gathers."""

    def __init__(self, count: int, *, wait_s: float, where: str) -> None:
        self._slots = asyncio.Semaphore(count)
        self._wait_s = wait_s
        self._where = where

    async def taken(self) -> None:
        """Wait for a slot. Raises: Unavailable."""
        try:
            async with asyncio.timeout(self._wait_s):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Unavailable("Too many callers wait for the store.", where=self._where, reason="overload") from error

    def release(self) -> None:
        """Give the slot to the next."""
        self._slots.release()


class Gathering(Generic[K, Q, R]):
    """Questions of one key that are answered together. read: gives one answer a question, in order; pause: how long
    the first waits for others; count_max: with so many a group is full, and the next one begins."""

    def __init__(
        self,
        read: Callable[[K, Sequence[Q]], Awaitable[Sequence[R]]],
        pause: Callable[[], Awaitable[None]],
        *,
        count_max: int,
    ) -> None:
        self._read = read
        self._pause = pause
        self._count_max = count_max
        self._groups: dict[K, list[_Ask[Q, R]]] = {}

    async def ask(self, key: K, question: Q) -> R:
        """Return the answer. Raises: what `read` raises."""
        while True:
            ask: _Ask[Q, R] = _Ask(question, asyncio.get_running_loop().create_future())
            group = self._groups.get(key)
            if group is None:
                self._groups[key] = group = [ask]
                return await self._lead(key, group)
            group.append(ask)
            if len(group) >= self._count_max:
                self._close(key, group)
            try:
                return await ask.answer
            except Abandoned:
                continue

    def _close(self, key: K, group: list[_Ask[Q, R]]) -> None:
        if self._groups.get(key) is group:
            del self._groups[key]

    async def _lead(self, key: K, group: list[_Ask[Q, R]]) -> R:
        try:
            await self._pause()
            self._close(key, group)
            answers = await self._read(key, [ask.question for ask in group])
        except BaseException as error:
            self._close(key, group)
            for ask in group[1:]:
                if not ask.answer.done():
                    ask.answer.set_exception(error if isinstance(error, Fault) else Abandoned())
            raise
        for ask, answer in zip(group, answers, strict=True):
            if not ask.answer.done():
                ask.answer.set_result(answer)
        return answers[0]
