"""Numbers the writes of local sides. Invariant: no number is used twice, also after a crash.

What is not durable yet is told from what is by its number, so an old one must not pass for a new one. The index says
up to where numbers may be used; after a crash the next start goes on there, instead of a search through all rows.
"""

from __future__ import annotations

from contextlib import suppress

import apsw

AT_ONCE = 100_000
"""So many numbers are taken with one write, and at most so many are left out after a crash."""

_KEY = "versions"
_GET = "SELECT value FROM meta WHERE key = ?"
_PUT = "INSERT OR REPLACE INTO meta VALUES (?, ?)"


class Versions:
    """The numbers of one index; its only writer holds it."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._end = 0
        """Up to here the index says that numbers are used; 0 when that is not sure."""
        found = self._meta(_KEY)
        if found is None:
            # An index of before: this once, all rows are looked through.
            found = next(iter(connection.execute("SELECT COALESCE(MAX(l_version), 0) FROM nodes")))[0]
        self.newest = max(found, self._meta("durable") or 0)

    def _meta(self, key: str) -> int | None:
        found = next(iter(self._connection.execute(_GET, (key,))), (None,))[0]
        return found if isinstance(found, int) else None

    def next(self) -> int:
        """Return the number of a write, which is in the same transaction."""
        self.newest += 1
        if self.newest > self._end:
            self._end = self.newest + AT_ONCE
            self._connection.execute(_PUT, (_KEY, self._end))
        return self.newest

    def rolled_back(self) -> None:
        """What was written last does not hold; perhaps what the index says of numbers neither."""
        self._end = 0

    def close(self) -> None:
        """Let the next start go on just where this one ends."""
        if self._end:
            with suppress(apsw.Error):
                self._connection.execute(_PUT, (_KEY, self.newest))
