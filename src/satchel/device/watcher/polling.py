"""Where nothing watches: one full look now and then. Invariant: it says that it is degraded."""

from __future__ import annotations

from satchel.device.ports import ROOT_PATH, Clock, Hint

LOOK_EVERY_S = 30.0


class PollingWatcher:
    """The Watcher port for systems without a watcher of ours. interval_s: between two full looks."""

    def __init__(self, clock: Clock, interval_s: float = LOOK_EVERY_S) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._next_s = 0.0

    async def start(self) -> bool:
        """Begin; the first look is due after one interval, since every start scans anyway."""
        self._next_s = self._clock.monotonic_s() + self._interval_s
        return False

    async def next_hints(self, timeout_s: float) -> list[Hint]:
        """Wait until the next full look is due; empty at the timeout."""
        wait_s = self._next_s - self._clock.monotonic_s()
        await self._clock.sleep_s(max(0.0, min(wait_s, timeout_s)))
        if wait_s > timeout_s:
            return []
        self._next_s = self._clock.monotonic_s() + self._interval_s
        return [Hint(ROOT_PATH, None, True)]

    async def stop(self) -> None:
        """Nothing is held."""

    @property
    def status_line(self) -> str:
        return f"No watcher on this system: changes are found by a scan every {self._interval_s:.0f} s."

    @property
    def is_degraded(self) -> bool:
        return True
