"""Plain text of documents, by a limited process each. Invariant: a document is never read in the service's own process,
and its process ends with the call that started it, by its own pid.

Few run at once and few wait; more are told to come again. Source: docs/design/060 (6, 7).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from satchel.core.errors import MessageInvalid, Unavailable
from satchel.server.search import extractor

TEXT_CHARS_MAX = 200_000
DOCUMENT_BYTES_MAX = extractor.DOCUMENT_BYTES_MAX
AT_ONCE = 2
WAITING_MAX = 16
TIME_S_MAX = 30.0
_PIECE_BYTES = 64 * 1024
_ANSWER_BYTES_MAX = 4 * TEXT_CHARS_MAX + 64
_PROGRAM = str(Path(extractor.__file__))
_PLAIN = "txt text md markdown log csv tsv ini toml yaml yml json xml rst tex py js ts c h cpp java go rs sh sql"
KINDS = {**dict.fromkeys(_PLAIN.split(), "plain"), **{kind: kind for kind in extractor.PARTS}}
_TOLD = {
    "unreadable": "This document cannot be read.",
    "too_large": "This document is too large to be read.",
}


class Plain(NamedTuple):
    """A document's text. is_cut: there is more than was taken."""

    text: str
    is_cut: bool


def kind_of(name: str) -> str:
    """Return how a document of this name is read; empty for one that is not."""
    before, _, end = name.rpartition(".")
    return KINDS.get(end.lower(), "") if before else ""


class Extractor:
    """Starts the processes. time_s: what one may take; program: for tests."""

    def __init__(self, *, time_s: float = TIME_S_MAX, program: str = _PROGRAM) -> None:
        self._time_s, self._program = time_s, program
        self._free = asyncio.Semaphore(AT_ONCE)
        self._asked = 0

    async def text_of(self, name: str, data: bytes, *, chars_max: int = TEXT_CHARS_MAX) -> Plain:
        """Return the text of a document, which its name says the kind of.

        Raises: MessageInvalid for one that has none to give, Unavailable (retry) when too many are asked for.
        """
        kind = kind_of(name)
        if not kind:
            raise MessageInvalid("A document of this kind has no text to give.", reason="kind")
        async with self._turn():
            try:
                async with asyncio.timeout(self._time_s):
                    answer = await self._answer(kind, data, chars_max)
            except TimeoutError:
                answer = b"bad too_large\n"
        head, _, body = answer.partition(b"\n")
        if head not in (b"ok", b"cut"):
            # Without an answer it was ended by its limits.
            reason = head.removeprefix(b"bad ").decode(errors="replace")
            reason = reason if reason in _TOLD else "too_large"
            raise MessageInvalid(_TOLD[reason], reason=reason)
        return Plain(body.decode(errors="replace")[:chars_max], head == b"cut")

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._asked >= AT_ONCE + WAITING_MAX:
            raise Unavailable("Too many documents are being read.", where="documents", reason="overload")
        self._asked += 1
        try:
            async with self._free:
                yield
        finally:
            self._asked -= 1

    async def _answer(self, kind: str, data: bytes, chars_max: int) -> bytes:
        # -I and -S: nothing but Python itself can be imported. No environment: what is secret in ours stays here.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-B", self._program, kind, str(chars_max)),
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
                reading = group.create_task(_received(process.stdout))
            return reading.result()
        finally:
            await _end(process)


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


async def _received(answer: asyncio.StreamReader) -> bytes:
    """Return what comes, at most what a whole answer has."""
    got: list[bytes] = []
    left = _ANSWER_BYTES_MAX
    while left > 0 and (piece := await answer.read(min(left, _PIECE_BYTES))):
        got.append(piece)
        left -= len(piece)
    return b"".join(got)
