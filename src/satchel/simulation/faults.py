"""The kinds of fault, what each is in this world of one process, and who decides when they strike.

Invariant: each kind draws from a stream of its own, so that switching one off shifts no other; what struck is counted.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import NamedTuple


class FaultKind(NamedTuple):
    """share: of the run's rate, at each call that the kind can strike; 0: the script says when."""

    name: str
    where: str
    share: float
    here: str


KINDS = (
    FaultKind(
        "crash", "client", 0.02, "the process ends at a call of the disk or the network; the kernel keeps its writes"
    ),
    FaultKind("power_cut", "client", 0.004, "nothing but what was fsynced is left; at any call too"),
    FaultKind("torn_writes", "client", 0.004, "a power cut that leaves a random part of the rest, torn and reordered"),
    FaultKind("eio_once", "client", 0.3, "one call that writes fails"),
    FaultKind("eio_sticky", "client", 0.02, "every call that writes fails, for up to a minute"),
    FaultKind("enospc", "client", 0.02, "the disk is full, for up to a minute"),
    FaultKind("eacces", "client", 0.1, "a file or a folder cannot be read, for up to 20 s"),
    FaultKind("changed_while_read", "client", 0.2, "a user writes to the file that is being read"),
    FaultKind("watcher_lost", "client", 0.0, "the watcher says nothing of what users did (half of all hints)"),
    FaultKind("index_lost", "client", 0.0, "the index is gone, or an older one is back, at the next start"),
    FaultKind("refused", "network", 1.0, "no connection"),
    FaultKind("lost_request", "network", 1.0, "the line breaks before the request arrives"),
    FaultKind("lost_reply", "network", 1.0, "the line breaks after the request was served"),
    FaultKind(
        "delay", "network", 0.5, "up to 120 s on the way; the device gives up after 30 s, the request still arrives"
    ),
    FaultKind("duplicate", "network", 1.0, "the request arrives twice"),
    FaultKind("reordered", "network", 0.6, "the reply comes after those of later requests"),
    FaultKind("truncated", "network", 0.3, "the reply ends early: the line is lost while it is read"),
    FaultKind("wrong_bytes", "network", 0.5, "a byte of a block is another one, up or down"),
    FaultKind("server_killed", "server", 0.1, "all requests in flight end, and it starts again a few seconds later"),
    FaultKind(
        "rolling_version",
        "server",
        0.0,
        "the service or a device is replaced by one a protocol version apart",
    ),
    FaultKind("out_of_descriptors", "server", 0.2, "no pack can be opened: the store fails with EMFILE"),
    FaultKind("out_of_memory", "server", 0.1, "the kernel ends it in a request's transaction"),
    FaultKind("cut_in_transaction", "metadata", 0.4, "the outcome is unknown: it was committed, or it was not"),
    FaultKind("restart_in_commit", "metadata", 0.2, "the transaction is lost when all its statements were done"),
    FaultKind("serialization", "metadata", 1.0, "aborted and run again, as the PostgreSQL adapter does"),
    FaultKind("store_error", "blocks", 0.6, "a call of the block store fails"),
    FaultKind("store_unsure", "blocks", 0.6, "stored, and then a timeout"),
    FaultKind("store_slow", "blocks", 0.4, "5 to 30 s"),
    FaultKind("store_bad", "blocks", 0.4, "a stored object is not found, or comes back with a wrong byte; once"),
    FaultKind("wakeups_gone", "bus", 0.5, "all who wait are forgotten"),
    FaultKind("bus_trouble", "bus", 1.0, "a wake-up is lost, comes late, or twice"),
    FaultKind("clock_jump", "time", 0.0, "a machine's clock: an hour, a day, ten years, either way"),
)
EXTRA = (
    *(
        "late_write",
        "server_down",
        "index_went_back",
        "deletions_allowed",
        "device_restored",
        "service_restored",
        "left_out",
        "taken_back",
    ),
    *("shared_share", "shared_accept", "shared_leave", "shared_remove", "shared_view", "shared_edit", "shared_stop"),
    *("shared_again", "over_swap", "marked", "from_afar"),
    *("over_in", "over_out", "over_rename", "over_nest", "over_delete"),
)
IN_CALLS = {kind.name: kind.share for kind in KINDS if kind.share}


class Faults:
    """Decides what goes wrong. rate 0: nothing does. fired: what did, by kind."""

    def __init__(self, seed: int, rate: float, kinds: frozenset[str]) -> None:
        self._seed = seed
        self.rate = 0.0
        self.rate_later = rate
        self._shares = {name: IN_CALLS[name] for name in sorted(kinds)}
        self._streams: dict[str, random.Random] = {}
        self.fired: Counter[str] = Counter()

    def happens(self, kind: str) -> bool:
        """Draw; True counts as fired."""
        if not self.rate or kind not in self._shares:
            return False
        if self.stream(kind).random() >= self.rate * self._shares[kind]:
            return False
        self.fired[kind] += 1
        return True

    def stream(self, kind: str) -> random.Random:
        """Return the kind's own stream."""
        found = self._streams.get(kind)
        if found is None:
            found = self._streams[kind] = random.Random(f"{self._seed}:fault:{kind}")
        return found


def table(fired: Counter[str]) -> str:
    """Return the 32 kinds, one a line, with how often each struck."""
    lines = [f"  {kind.where:9}{kind.name:20}{fired[kind.name]:>10,}  {kind.here}" for kind in KINDS]
    lines += [f"  {'more':9}{name:20}{fired[name]:>10,}" for name in EXTRA]
    struck = sum(bool(fired[kind.name]) for kind in KINDS)
    return "\n".join([f"faults: {struck} of {len(KINDS)} kinds struck", *lines])
