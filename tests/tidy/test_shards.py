"""The script that spreads the tables names every table, and each unique key holds the column it is spread by."""

from __future__ import annotations

import re

from tests.tidy.sources import ROOT, document

SCRIPT = "deploy/citus.sql"
MIGRATIONS = "src/satchel/server/db/migrations"
ELSEWHERE = "src/satchel/server/db/schema.py"
"""Where the table of migrations is made, before any of them."""


def made() -> str:
    """Return what all migrations say, in order, without comments."""
    paths = sorted((ROOT / MIGRATIONS).glob("*.sql"))
    text = "".join(path.read_text() for path in paths) + document(ELSEWHERE)
    return re.sub(r"--.*", "", text)


def tables() -> set[str]:
    return set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", made()))


def spread() -> dict[str, str]:
    return dict(re.findall(r"^SELECT create_distributed_table\('(\w+)', '(\w+)'", document(SCRIPT), flags=re.MULTILINE))


def copied() -> set[str]:
    return set(re.findall(r"^SELECT create_reference_table\('(\w+)'\);", document(SCRIPT), flags=re.MULTILINE))


def unique_keys(table: str) -> list[list[str]]:
    """Return the columns of the table's primary key and of all that is unique in it."""
    text = made()
    body = re.search(rf"CREATE TABLE (?:IF NOT EXISTS )?{table} \((.*?)(?:\n\)|\"\n)", text, flags=re.DOTALL)
    assert body is not None
    keys = [[name] for name in re.findall(r"^\s+(\w+) \w+[^,\n]*(?:PRIMARY KEY|UNIQUE)", body[1], flags=re.MULTILINE)]
    keys += [
        key.split(", ") for key in re.findall(r"^\s+(?:PRIMARY KEY|UNIQUE) \(([^)]*)\)", body[1], flags=re.MULTILINE)
    ]
    keys += [key.split(", ") for key in re.findall(rf"CREATE UNIQUE INDEX \w+ ON {table} \(([^)]*)\)", text)]
    return keys


def test_every_table_of_the_migrations_is_spread_or_copied_and_no_other() -> None:
    assert set(spread()) & copied() == set()
    assert set(spread()) | copied() == tables()


def test_every_unique_key_holds_the_column_its_table_is_spread_by() -> None:
    keys = {table: unique_keys(table) for table in spread()}
    assert [table for table, found in keys.items() if not found] == []
    wrong = [(table, key) for table, found in keys.items() for key in found if spread()[table] not in key]
    assert wrong == []


def test_the_tables_that_cannot_be_spread_are_those_the_design_names() -> None:
    # Each has a unique column beside its key: spread by one of the two, the other could not be kept unique.
    torn = {table for table in copied() if len(unique_keys(table)) > 1}
    assert torn == {"accounts", "devices"}
    assert all(f"`{name}`" in document("docs/design/080-shards.md") for name in ("account_names", "device_tokens"))


def test_tables_of_one_key_stand_together() -> None:
    lines = [line for line in document(SCRIPT).splitlines() if "create_distributed_table" in line]
    first: dict[str, str] = {}
    for line in lines:
        table, column = re.findall(r"'(\w+)', '(\w+)'", line)[0]
        together = re.search(r"colocate_with => '(\w+)'", line)
        if column in first:
            assert together is not None and together[1] == first[column], line
        else:
            first[column] = table


def test_the_design_names_every_table() -> None:
    page = document("docs/design/080-shards.md")
    assert [table for table in tables() if f"`{table}`" not in page] == []
