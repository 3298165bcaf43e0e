"""Counts of what this process did since its start. Invariant: a request is counted once, under its route's template."""

from __future__ import annotations

from collections import Counter

from satchel.server.blocks.service import BlockCounts

OTHER = "other"


class Counters:
    """Requests by method and route, and their answers by status."""

    def __init__(self, blocks: BlockCounts) -> None:
        self._requests: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._pushed = 0
        self._blocks = blocks

    def request(self, method: str, route: str) -> None:
        """Count one request of a route (a template, never a path with people's words in it)."""
        self._requests[f"{method} {route}"] += 1

    def status(self, status: int) -> None:
        """Count one answer."""
        self._statuses[status] += 1

    def pushed(self, entries: int) -> None:
        """Count entries that were pushed on a stream."""
        self._pushed += entries

    def shown(self) -> dict[str, object]:
        """Return all counts as plain data, by name."""
        blocks = self._blocks
        return {
            "satchel_requests_total": dict(sorted(self._requests.items())),
            "satchel_responses_total": {str(status): count for status, count in sorted(self._statuses.items())},
            "satchel_pushed_entries_total": self._pushed,
            "satchel_blocks_received_total": blocks.received,
            "satchel_blocks_received_duplicate_total": blocks.duplicate,
            "satchel_blocks_received_bytes_total": blocks.received_bytes,
            "satchel_blocks_given_total": blocks.given,
            "satchel_blocks_given_bytes_total": blocks.given_bytes,
        }
