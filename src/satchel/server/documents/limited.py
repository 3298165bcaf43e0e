"""Runs programs that read what strangers made, in a limited process each. Invariant: nothing of it is read in the
service's own process, and its process ends with the call that started it, by its own pid.

Few run at once and few wait; more are told to come again. A program is started by its path; it answers with a line and
what follows it, and limits itself before it reads. Source: docs/design/060 (6, 7).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from satchel.core.errors import MessageInvalid, Unavailable

AT_ONCE = 2
WAITING_MAX = 16
TIME_S_MAX = 30.0
_PIECE_BYTES = 64 * 1024
_TOLD = {
    "unreadable": "This document cannot be read.",
    "too_large": "This document is too large to be read.",
    "kind": "Here is nothing that reads a document of this kind.",
    "no_page": "The document has no such page.",
}


class Limited:
    """Starts the processes of one program. time_s: what one may take; waiting_max: how many may wait for their turn."""

    def __init__(self, program: str, *, time_s: float = TIME_S_MAX, waiting_max: int = WAITING_MAX) -> None:
        self._program, self._time_s, self._waiting_max = program, time_s, waiting_max
        self._free = asyncio.Semaphore(AT_ONCE)
        self._asked = 0

    async def answer(self, arguments: Sequence[str], data: bytes, *, bytes_max: int) -> tuple[str, bytes]:
        """Return the line that the program answers with, and what follows, at most `bytes_max` in all.

        Raises: MessageInvalid when it says `bad` or is ended by its limits (reason: `unreadable`, `too_large`, `kind`
        or `no_page`), or says more than that; Unavailable (retry) when too many are asked for.
        """
        async with self._turn():
            try:
                async with asyncio.timeout(self._time_s):
                    answer = await self._run(arguments, data, bytes_max)
            except TimeoutError:
                answer = b"bad too_large\n"
        if len(answer) > bytes_max:
            answer = b"bad too_large\n"
        head, end, body = answer.partition(b"\n")
        if not end or head.startswith(b"bad"):
            # Without an answer it was ended by its limits.
            reason = head.removeprefix(b"bad ").decode(errors="replace")
            reason = reason if reason in _TOLD else "too_large"
            raise MessageInvalid(told_reason(reason), reason=reason)
        return head.decode(errors="replace"), body

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._asked >= AT_ONCE + self._waiting_max:
            raise Unavailable("Too many documents are being read.", where="documents", reason="overload")
        self._asked += 1
        try:
            async with self._free:
                yield
        finally:
            self._asked -= 1

    async def _run(self, arguments: Sequence[str], data: bytes, bytes_max: int) -> bytes:
        # -I and -S: nothing is imported but Python itself and what the program asks for by a folder that it is told.
        # No environment: what is secret in ours stays here.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-B", self._program, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            cwd="/",
        )
        try:
            assert process.stdin is not None and process.stdout is not None
            async with asyncio.TaskGroup() as group:
                group.create_task(_send(process.stdin, data))
                reading = group.create_task(_received(process.stdout, bytes_max + 1))
            return reading.result()
        finally:
            await _end(process)


def told_reason(reason: str) -> str:
    """Return what is told to people of a reason that a program gave."""
    return _TOLD[reason]


def folder_of(package: str) -> str:
    """Return the folder that a package is imported from, for a program that needs it; empty when it is not there."""
    found = importlib.util.find_spec(package)
    return str(Path(found.origin).parent.parent) if found is not None and found.origin else ""


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the process. It counts as ended once its pipes are: what is still in them is thrown away."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    assert process.stdin is not None and process.stdout is not None
    if not process.stdin.is_closing():
        process.stdin.transport.abort()
    while await process.stdout.read(_PIECE_BYTES):
        pass
    await process.wait()


async def _send(into: asyncio.StreamWriter, data: bytes) -> None:
    # A process that was ended by its limits reads no more.
    with contextlib.suppress(ConnectionError):
        into.write(data)
        await into.drain()
    into.close()


async def _received(answer: asyncio.StreamReader, bytes_max: int) -> bytes:
    """Return what comes, at most so many bytes."""
    got: list[bytes] = []
    left = bytes_max
    while left > 0 and (piece := await answer.read(min(left, _PIECE_BYTES))):
        got.append(piece)
        left -= len(piece)
    return b"".join(got)
