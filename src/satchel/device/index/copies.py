"""The conflicted copies on this disk. Invariant: found without a look at every row, since status asks each time."""

from __future__ import annotations

from itertools import islice

import apsw

from satchel.core.conflicts import is_conflicted_copy
from satchel.core.ids import Nid
from satchel.device.index.schema import NAMED_AS_COPY

COPIES_COUNTED_MAX = 1_000

NAMED = f"SELECT nid, l_name FROM nodes WHERE {NAMED_AS_COPY} ORDER BY nid"


def conflicted_copies(connection: apsw.Connection, limit: int) -> list[Nid]:
    """Return the rows of files on this disk that have the name of a conflicted copy, the oldest first."""
    found = (Nid(nid) for nid, name in connection.execute(NAMED) if is_conflicted_copy(name))
    return list(islice(found, limit))
