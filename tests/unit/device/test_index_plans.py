"""Every statement of the closure finds its rows by an index: the cost of planning must grow with the change alone.

A partial index serves only a query that repeats its condition to the letter.
"""

from __future__ import annotations

import pytest

from satchel.device.index import closure
from satchel.device.index.store import Index

STATEMENTS = {name: text for name, text in vars(closure).items() if name.startswith(("_BY_", "_BELOW_"))}
OTHERS = (
    "SELECT nid FROM nodes WHERE l_parent = 1 AND l_state > 0",
    "SELECT nid FROM nodes WHERE l_inode = 1 AND l_state > 0 AND l_birth = 1",
    "SELECT nid FROM nodes WHERE l_content = x'00' AND l_state = 1 AND l_kind = 1",
)


@pytest.mark.parametrize("statement", [*STATEMENTS.values(), *OTHERS])
def test_a_statement_searches_and_never_scans(statement: str) -> None:
    index = Index(":memory:")
    query = statement.replace("?", "1")

    steps = [row[3] for row in index.connection.execute(f"EXPLAIN QUERY PLAN {query}")]

    assert steps
    assert all(step.startswith("SEARCH") for step in steps)
