"""Which positions a follower of the event log has dealt with. Invariant: what it forgot is news again, never old.

Events come at least once, and a namespace's newer ones may overtake an older one that is sent again. A follower that
keeps to this does each position once nearly always, and never skips one.
"""

from __future__ import annotations

from collections import OrderedDict

from satchel.core.ids import NamespaceId

NAMESPACES_MAX = 100_000


class Newest:
    """The highest seq that was dealt with of each namespace, of at most `namespaces_max`; the longest unused goes.

    It lasts as long as the process: a store that was put back to an earlier state begins with a fresh one.
    """

    def __init__(self, namespaces_max: int = NAMESPACES_MAX) -> None:
        self._seqs: OrderedDict[NamespaceId, int] = OrderedDict()
        self._max = namespaces_max

    def __len__(self) -> int:
        return len(self._seqs)

    def is_news(self, ns: NamespaceId, seq: int) -> bool:
        """Tell whether this position is beyond what was dealt with. Asking does not count as dealing with it."""
        return seq > self._seqs.get(ns, -1)

    def dealt_with(self, ns: NamespaceId, seq: int) -> None:
        """Remember the position; to be called after the effect, so that one that failed is news again."""
        self._seqs[ns] = max(seq, self._seqs.get(ns, -1))
        self._seqs.move_to_end(ns)
        if len(self._seqs) > self._max:
            self._seqs.popitem(last=False)
