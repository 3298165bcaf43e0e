"""Each table whose rows belong to a node says what becomes of them when the node's folder is made a shared one."""

from __future__ import annotations

import re

from satchel.server.sharing.conversion import FOLLOWING, STAYING
from tests.tidy.test_shards import made

OWN = {"files"}


def columns() -> dict[str, list[str]]:
    """Return the columns of each table, as all migrations leave it."""
    text = made()
    found = {
        name: re.findall(r"^\s+(\w+) (?:BYTEA|BIGINT|SMALLINT|TEXT)", body, flags=re.MULTILINE)
        for name, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\)", text, flags=re.DOTALL)
    }
    for table, column in re.findall(r"ALTER TABLE (\w+) ADD COLUMN (\w+)", text):
        found[table].append(column)
    return found


def test_every_table_of_nodes_is_decided_upon() -> None:
    of_nodes = {name for name, found in columns().items() if {"ns", "node_id"} <= set(found)}
    assert of_nodes == OWN | set(FOLLOWING) | set(STAYING)


def test_what_follows_is_named_with_all_of_its_columns() -> None:
    found = columns()
    for table, listed in FOLLOWING.items():
        assert sorted(found[table]) == sorted(["ns", "node_id", *listed.split()])
