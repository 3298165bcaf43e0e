"""Keeps one link running: starts its runner, and starts it again after a fault that may pass.

Invariant: a fault of one link never touches another, and a link that does not run says why in its status. What waiting
cannot cure (signed out, another schema) halts until a person resumes or reloads.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from satchel.core.errors import Fault, RootMissing, Unauthenticated, Unavailable
from satchel.core.ids import short
from satchel.device.links import Link
from satchel.device.logs import EventLog
from satchel.device.ports import Clock
from satchel.device.status import Amended, Excluded, HeldItem, LinkStatus, State

log = EventLog(__name__)

RETRY_S_MIN = 1.0
RETRY_S_MAX = 60.0
ANEW_S = 0.1


class Runner(Protocol):
    """One link's engine and its hands."""

    @property
    def has_begun(self) -> bool:
        """True once the linked folder was found to be there and the same."""
        ...

    async def run(self, stop: asyncio.Event) -> None:
        """Sync until `stop`; leaves nothing half done. Raises a Fault when it cannot go on at all."""
        ...

    def status(self) -> LinkStatus: ...

    def hint_all(self) -> None:
        """Look at the whole folder and ask the server at once."""
        ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def held(self) -> list[HeldItem]: ...

    def allow_held(self) -> int:
        """Let the held deletions go on; result: how many."""
        ...

    def undo_held(self) -> int:
        """Take the held deletions back; result: how many."""
        ...

    def exclude(self, paths: Sequence[str]) -> list[Excluded]:
        """Keep these off this disk; result: all that is left out."""
        ...

    def include(self, paths: Sequence[str]) -> list[Excluded]:
        """Bring these back; result: all that is left out still, or on its way back."""
        ...

    def excluded(self) -> list[Excluded]:
        """Return what is left out."""
        ...

    async def undo(self, *, with_new: bool) -> list[Amended]:
        """Take back what the last run did to the disk."""
        ...

    async def resolve(self, paths: Sequence[str], keep: str) -> list[Amended]:
        """End the conflicts of these conflicted copies."""
        ...

    async def wait_in_sync(self, timeout_s: float) -> LinkStatus:
        """Return when in sync, or when the time is over, with the status then."""
        ...


OpenRunner = Callable[[Link], AbstractAsyncContextManager[Runner]]
"""Makes a link's runner, with its connection; both are closed on leaving."""


class LinkKeeper:
    """One link of the daemon. `run` lasts until `stop`; everything else may be called at any time."""

    def __init__(self, link: Link, open_runner: OpenRunner, clock: Clock) -> None:
        self.link = link
        self._open_runner = open_runner
        self._clock = clock
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        self._runner: Runner | None = None
        self._trouble: tuple[State, str] = ("syncing", "")
        self._is_paused = False
        self._is_anew = False
        self.is_over = asyncio.Event()

    def stop(self) -> None:
        """Ask the link to end; `is_over` tells when it has."""
        self._stop.set()
        self._wake.set()

    def status(self) -> LinkStatus:
        """Return the runner's status, or why there is none; what halted the link holds until a start got past it."""
        is_halted = self._trouble[0] == "halted"
        if self._runner is not None and (self._runner.has_begun or not is_halted):
            with contextlib.suppress(Unavailable):
                return self._runner.status()
        state, message = self._trouble
        return LinkStatus(self.link.local, self.link.remote, state, self.link.link_id.hex(), message=message)

    @property
    def is_paused(self) -> bool:
        """True after `pause`, until `resume`."""
        return self._is_paused

    def pause(self) -> None:
        self._is_paused = True
        if self._runner is not None:
            self._runner.pause()

    def resume(self) -> None:
        self._is_paused = False
        self._wake.set()
        if self._runner is not None:
            # One that is just being closed is not paused when it starts again.
            with contextlib.suppress(Unavailable):
                self._runner.resume()

    def hint_all(self) -> None:
        self._wake.set()
        if self._runner is not None:
            # A link that is being closed looks at everything when it starts again.
            with contextlib.suppress(Unavailable):
                self._runner.hint_all()

    def held(self) -> list[HeldItem]:
        return self._runner.held() if self._runner is not None else []

    def allow_held(self) -> int:
        return self._runner.allow_held() if self._runner is not None else 0

    def undo_held(self) -> int:
        return self._runner.undo_held() if self._runner is not None else 0

    def exclude(self, paths: Sequence[str]) -> list[Excluded]:
        """Keep these off this disk. Raises: Unavailable while the link does not run, NotFound, LimitExceeded."""
        return self._running().exclude(paths)

    def include(self, paths: Sequence[str]) -> list[Excluded]:
        """Bring these back. Raises: Unavailable while the link does not run, NotFound."""
        return self._running().include(paths)

    def excluded(self) -> list[Excluded]:
        """Return what is left out. Raises: Unavailable while the link does not run."""
        return self._running().excluded()

    async def undo(self, *, with_new: bool) -> list[Amended]:
        """Take back what the last run did to the disk. Raises: Unavailable while the link does not run."""
        return await self._running().undo(with_new=with_new)

    async def resolve(self, paths: Sequence[str], keep: str) -> list[Amended]:
        """End the conflicts of these conflicted copies. Raises: Unavailable while the link does not run."""
        return await self._running().resolve(paths, keep)

    def _running(self) -> Runner:
        if self._runner is None:
            raise Unavailable("The link does not run now; see 'satchel status'.", where="link", reason=self._trouble[1])
        return self._runner

    async def wait_in_sync(self, timeout_s: float) -> LinkStatus:
        """Return when in sync or halted, or when the time is over, with the status then."""
        until = self._clock.monotonic_s() + timeout_s
        while (left_s := until - self._clock.monotonic_s()) > 0:
            if self._runner is not None:
                with contextlib.suppress(Unavailable):
                    return await self._runner.wait_in_sync(left_s)
                # It is just being closed; why will be known in a moment.
            elif self._trouble[0] == "halted" or self._stop.is_set():
                break
            await self._clock.sleep_s(min(0.1, left_s))
        return self.status()

    async def run(self) -> None:
        """Run the link until `stop`."""
        wait_s = RETRY_S_MIN
        try:
            while not self._stop.is_set():
                began_s = self._clock.monotonic_s()
                self._is_anew = False
                may_pass = await self._run_once()
                if self._is_anew:
                    await self._pause_before_retry(ANEW_S)
                    continue
                if self._clock.monotonic_s() - began_s > RETRY_S_MAX:
                    wait_s = RETRY_S_MIN
                await self._pause_before_retry(wait_s if may_pass else None)
                wait_s = min(wait_s * 2, RETRY_S_MAX)
        finally:
            self.is_over.set()

    async def _run_once(self) -> bool:
        """Run until a fault or the end. Result: whether waiting may cure what ended it."""
        name = short(self.link.link_id)
        try:
            async with self._open_runner(self.link) as runner:
                if self._is_paused:
                    runner.pause()
                self._runner = runner
                log.info("link.running", link=name)
                await runner.run(self._stop)
            # It ended by itself: what it has to do next is done at a start.
            self._trouble = ("syncing", "")
            self._is_anew = not self.link.outer
            return True
        except Unauthenticated as fault:
            self._trouble = ("halted", "This device is signed out. Sign in again with 'satchel login'; all files stay.")
            log.warning("link.signed_out", link=name, code=fault.code)
            return False
        except Fault as fault:
            may_pass = fault.retryable or isinstance(fault, RootMissing)
            self._trouble = ("offline" if fault.retryable else "halted", f"{fault.message} {fault.hint}".strip())
            log.warning("link.stopped", link=name, code=fault.code, may_pass=may_pass)
            return may_pass
        except Exception:
            # The last line of defence of this link: quarantined with its trace, tried again, the others go on.
            self._trouble = (
                "halted",
                "An internal error stopped this folder; the daemon's log has it. No file is lost.",
            )
            log.exception("link.failed", link=name)
            return True
        finally:
            self._runner = None

    async def _pause_before_retry(self, wait_s: float | None) -> None:
        """Wait, at most `wait_s` (None: for a person), until told to go on."""
        if self._stop.is_set():
            return
        self._wake.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            pass
