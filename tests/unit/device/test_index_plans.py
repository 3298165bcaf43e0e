"""Every statement over many rows finds its rows by an index: the cost of planning must grow with the change alone.

A partial index serves only a query that repeats its condition to the letter.
"""

from __future__ import annotations

import pytest

from satchel.device.index import bulk, closure, copies, reader, store, xattr_notes
from satchel.device.index.store import Index

STATEMENTS = [
    text
    for room in (bulk, closure, reader, store)
    for name, text in vars(room).items()
    if name.startswith(("_BY_", "_BELOW_", "_AT_", "_TO_", "_ONLY_", "_AGREE", "_REMOTE_STEPS", "_BLOCKLIST"))
]
OTHERS = (
    "SELECT nid FROM nodes WHERE l_parent = 1 AND l_state > 0",
    "SELECT nid FROM nodes WHERE l_inode = 1 AND l_state > 0 AND l_birth = 1",
    "SELECT nid FROM nodes WHERE l_content = x'00' AND l_state = 1 AND l_kind = 1",
)


@pytest.mark.parametrize("statement", [*STATEMENTS, *OTHERS])
def test_a_statement_searches_and_never_scans(statement: str) -> None:
    index = Index(":memory:")
    index.find_contents()
    query = statement.replace("?", "'[1]'")

    steps = [row[3] for row in index.connection.execute(f"EXPLAIN QUERY PLAN {query}")]

    assert any(step.startswith("SEARCH") for step in steps)
    # The list that comes with the statement is gone through; no table is.
    assert not any(step.startswith("SCAN") and "VIRTUAL TABLE" not in step for step in steps)


def test_conflicted_copies_are_found_by_an_index_of_their_own() -> None:
    index = Index(":memory:")

    steps = [row[3] for row in index.connection.execute(f"EXPLAIN QUERY PLAN {copies.NAMED}")]

    assert steps == ["SCAN nodes USING INDEX nodes_copies"]


def test_notes_lead_to_their_rows() -> None:
    """The other way round each look at the status read the whole tree."""
    index = Index(":memory:")

    steps = [row[3] for row in index.connection.execute(f"EXPLAIN QUERY PLAN {xattr_notes._NOTED}", (20,))]

    assert steps == ["SCAN x", "SEARCH n USING INTEGER PRIMARY KEY (rowid=?)"]
