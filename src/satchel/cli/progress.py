"""What a wait for sync shows: how far it is, how fast, and in the end what it came to. Invariant: it only reckons.

It is given statuses as the daemon tells them. Bytes are counted from those that were done before the wait; they are
files' bytes, not what the wire took. A daemon that began anew counts from zero again, so no count here is below zero.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from satchel.cli import output
from satchel.device.status import LinkStatus, State, gravest

RATE_OVER_S = 5.0
"""A rate is taken over the last seconds: over all of them it would tell of the start for ever."""

_DOING: dict[State, str] = {"offline": "Offline", "halted": "Halted", "paused": "Paused"}


@dataclass(frozen=True, slots=True)
class Glimpse:
    """One moment. what: a word for it; part: how much of the bytes is done, 0 to 1, None while that is unknown."""

    what: str
    part: float | None
    told: str


class Round:
    """One wait for sync. before: statuses at its begin; local: the link that is waited for, "" for all of them."""

    def __init__(self, before: Iterable[LinkStatus], local: str, began_s: float) -> None:
        self._local = local
        self._before = {link.link_id: _moved(link) for link in before}
        self._began_s = began_s
        self._samples = deque([(began_s, 0)])

    def glimpse(self, links: Iterable[LinkStatus], now_s: float) -> Glimpse:
        """Return what to show of these statuses. Call it with times that only grow."""
        mine = [link for link in links if self._local in ("", link.local)]
        moving = [transfer for link in mine for transfer in link.transfers]
        done = sum(self._since(mine))
        on_way = sum(transfer.done for transfer in moving)
        total = done + max(0, sum(link.bytes_up_todo + link.bytes_down_todo for link in mine) - on_way)
        count = sum(link.to_upload + link.to_download for link in mine)
        rate = self._rate(done, now_s)
        parts = []
        if total:
            parts.append(f"{output.size_text(done)} of {output.size_text(total)}")
        if rate:
            parts.append(f"{output.size_text(rate)}/s")
        if count:
            parts.append(f"{count:,} to go")
        parts += [transfer.path for transfer in moving[:1]]
        state = gravest(link.state for link in mine)
        return Glimpse(
            _DOING.get(state, "Syncing" if count else "Looking"), done / total if total else None, "  ".join(parts)
        )

    def summary(self, links: Sequence[LinkStatus], now_s: float) -> str:
        """Return what this wait came to: bytes each way and how long it took, "" when nothing was moved."""
        up, down = self._since(links)
        parts = [f"{output.size_text(size)} {way}" for size, way in ((up, "up"), (down, "down")) if size]
        return f"{', '.join(parts)} in {output.duration_text(now_s - self._began_s)}" if parts else ""

    def _since(self, links: Iterable[LinkStatus]) -> tuple[int, int]:
        """Return the bytes (up, down) that were moved since the begin."""
        up = down = 0
        for link in links:
            before, now = self._before.get(link.link_id, (0, 0)), _moved(link)
            up += max(0, now[0] - before[0])
            down += max(0, now[1] - before[1])
        return up, down

    def _rate(self, done: int, now_s: float) -> int:
        """Return bytes a second over the last RATE_OVER_S, 0 while there is nothing to tell."""
        self._samples.append((now_s, done))
        while self._samples[0][0] < now_s - RATE_OVER_S:
            self._samples.popleft()
        since_s, then = self._samples[0]
        return max(0, int((done - then) / (now_s - since_s))) if now_s > since_s else 0


def _moved(link: LinkStatus) -> tuple[int, int]:
    """Return the bytes (up, down) that a link has moved since its daemon began, parts of files on their way too."""
    parts = {"up": link.bytes_up_done, "down": link.bytes_down_done}
    for transfer in link.transfers:
        parts[transfer.direction] += transfer.done
    return parts["up"], parts["down"]
