"""Counts of what this process did since its start. Invariant: a request is counted once, under its route's template,
when it was answered; nothing here has a path, a name or an id in it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

from satchel.core.messages import Conflict, Moved, NeedBlocks, Outcome, Refused, Stored
from satchel.server.blocks.service import BlockCounts
from satchel.server.metrics import Histogram

OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WS"}).union(
    ("COPY", "LOCK", "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "UNLOCK")
)
GONE = 499
"""Counted for a request whose other side went away before it had an answer."""


class Answered(NamedTuple):
    """What answers are counted by. code: of the fault, empty for none."""

    method: str
    route: str
    status: int
    code: str


class Counters:
    """Requests and what became of them, commits, and streams. Times in seconds."""

    def __init__(self, blocks: BlockCounts) -> None:
        self.blocks = blocks
        self.answers: Counter[Answered] = Counter()
        self.seconds: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.in_progress = 0
        self.received_bytes = 0
        self.sent_bytes = 0
        self.cut: Counter[str] = Counter()
        self.commits = 0
        self.outcomes: Counter[str] = Counter()
        self.pushed_entries = 0
        self.streams = 0
        self.closed_streams: Counter[int] = Counter()

    def answered(
        self, method: str, route: str, status: int, *, code: str, sent_bytes: int, seconds: float | None = None
    ) -> None:
        """Count one request that is over. route: a template, never a path with people's words in it; method: one
        of METHODS, or OTHER."""
        self.answers[Answered(method, route, status, code)] += 1
        if seconds is not None:
            self.seconds[route].observe(seconds)
        self.sent_bytes += sent_bytes

    def committed(self, outcomes: tuple[Outcome, ...]) -> None:
        """Count one commit with the outcomes of its operations."""
        self.commits += 1
        for outcome in outcomes:
            self.outcomes[_outcome_name(outcome)] += 1

    def shown(self) -> dict[str, object]:
        """Return the older ones of the counts as plain data, by name; all of them are served as metrics."""
        requests: Counter[str] = Counter()
        statuses: Counter[int] = Counter()
        for answer, count in self.answers.items():
            requests[f"{answer.method} {answer.route}"] += count
            statuses[answer.status] += count
        blocks = self.blocks
        return {
            "satchel_requests_total": dict(sorted(requests.items())),
            "satchel_responses_total": {str(status): count for status, count in sorted(statuses.items())},
            "satchel_pushed_entries_total": self.pushed_entries,
            "satchel_blocks_received_total": blocks.received,
            "satchel_blocks_received_duplicate_total": blocks.duplicate,
            "satchel_blocks_received_bytes_total": blocks.received_bytes,
            "satchel_blocks_given_total": blocks.given,
            "satchel_blocks_given_bytes_total": blocks.given_bytes,
        }


def _outcome_name(outcome: Outcome) -> str:
    match outcome:
        case Stored():
            return "stored" if outcome.seq else "unchanged"
        case Conflict():
            return "conflict"
        case NeedBlocks():
            return "need_blocks"
        case Moved():
            return "moved"
        case Refused():
            return "refused"
