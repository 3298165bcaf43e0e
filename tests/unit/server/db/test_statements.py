"""Every statement of the hot paths names its namespace and finds its rows by index: none reads a whole namespace."""

from __future__ import annotations

import re

import apsw
import pytest

from satchel.core.ids import ROOT_NODE, LinkId, NodeId, Tag
from satchel.core.messages import (
    ChangesRequest,
    DeleteOp,
    EditOp,
    ManifestsRequest,
    MoveOp,
    Placement,
    Position,
    UndeleteOp,
)
from satchel.server.accounts.audit import Place, read_newest
from satchel.server.db import sqlite
from satchel.server.db.engine import drive, numbered
from satchel.server.db.schema import migrate
from satchel.server.feed.seed import sync
from satchel.server.feed.service import changes, manifests
from satchel.server.metadata.namespaces import namespaces
from satchel.server.metadata.restore import restore_unit, restore_version
from satchel.server.metadata.tree import blocklist_of, list_folder, path_of, resolve, trash, versions
from tests.support.clocks import SteppingClock
from tests.support.writers import NoInline, Writer, content_of, create_file, new_id, op_id

HOT = {
    *("files", "file_versions", "manifests", "file_changes", "op_results", "outbox"),
    *("namespaces", "namespace_blocks", "blocks", "block_refs"),
}
BY_HASH = {"blocks", "block_refs"}


async def _use_everything(ada: Writer) -> None:
    db, who, ns = ada.db, ada.principal, ada.principal.root_ns
    other = await ada.other_device()
    top = await ada.folder("top")
    file = await ada.file("file", b"one", top)
    await other.stored(EditOp(op_id(), file, 2, content_of(b"two")), blocks=[b"two"])
    await ada.stored(MoveOp(op_id(), (Placement(file, 2, ROOT_NODE, "moved"),)))
    await ada.commit(DeleteOp(op_id(), top, 1), DeleteOp(op_id(), file, 9))
    await ada.stored(UndeleteOp(op_id(), top, ROOT_NODE, "top"))
    await restore_unit(db, ada.clock, who, ns, file)
    await restore_version(db, ada.clock, who, ns, file, 2)
    await ada.stored(*(create_file(NodeId(new_id()), f"{at}", b"one", top) for at in range(600)))
    await ada.snapshot()
    await ada.snapshot(top)
    await changes(db, NoInline(), who, ChangesRequest(Position(ns, 0, Tag(b"")), LinkId(b"")))  # type: ignore[arg-type]
    await manifests(db, who, ManifestsRequest(ns, (content_of(b"one").content_hash,)))
    await sync(db, who, (await sync(db, who)).cursor)
    await namespaces(db, who)
    await resolve(db, who, ns, "/top")
    await path_of(db, who, ns, top)
    await list_folder(db, who, ns, top)
    await versions(db, who, ns, file)
    await blocklist_of(db, ns, content_of(b"one").content_hash)
    await trash(db, who, ns)
    await trash(db, who, ns, f"0-{'ff' * 16}")


@pytest.fixture(scope="module")
def statements() -> tuple[sqlite.InlineSqliteDatabase, list[str]]:
    """A store, and all statements that the service ran on it after its schema was there."""
    db = sqlite.InlineSqliteDatabase()
    drive(migrate(db, SteppingClock()))
    ada = drive(Writer.new(db))
    seen: dict[str, None] = {}

    def recorded(sql: str) -> str:
        seen.setdefault(numbered(sql))
        return numbered(sql)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "numbered", recorded)
        drive(_use_everything(ada))
    texts = [numbered(sql) for sql in seen]
    return db, [text for text in texts if _tables(text) & HOT]


def _tables(sql: str) -> set[str]:
    return set(re.findall(r"(?:FROM|JOIN|INTO|UPDATE) (?!SET)(\w+)", sql))


def test_every_statement_on_a_hot_table_names_the_namespace_or_the_hash(
    statements: tuple[sqlite.InlineSqliteDatabase, list[str]],
) -> None:
    _, texts = statements
    assert len(texts) > 25
    bare = [text for text in texts if not re.search(r"\bns\b", text) and not _tables(text) <= BY_HASH | {"packs"}]
    assert bare == []


def test_no_statement_reads_a_whole_namespace(statements: tuple[sqlite.InlineSqliteDatabase, list[str]]) -> None:
    db, texts = statements
    wide = []
    for text in texts:
        if text.startswith("INSERT"):
            continue
        for step in _plan(db, text):
            # The index of mounts holds nothing else, and an account has at most MOUNTS_MAX of them.
            is_small = any(name in step for name in ("namespaces", "outbox", "files_mounts"))
            is_wide = re.search(r"\(ns=\?\)$", step) and not is_small
            if is_wide or re.match(r"SCAN (?!w\b|u\b|CONSTANT|\d+|\(subquery)", step):
                wide.append((step, text))
    assert wide == []


def _plan(db: sqlite.InlineSqliteDatabase, text: str) -> list[str]:
    numbers = [int(number) for number in re.findall(r"\?(\d+)", text)]
    raw: apsw.Connection = db._raw
    return [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {text}", (None,) * max(numbers, default=0)).fetchall()]


def test_the_newest_of_the_audit_log_is_found_by_its_index(monkeypatch: pytest.MonkeyPatch) -> None:
    db = sqlite.InlineSqliteDatabase()
    drive(migrate(db, SteppingClock()))
    asked: list[str] = []

    def recorded(sql: str) -> str:
        asked.append(numbered(sql))
        return numbered(sql)

    monkeypatch.setattr(sqlite, "numbered", recorded)
    drive(read_newest(db, 50))
    drive(read_newest(db, 50, after=Place(5, b"c" * 16, 9)))
    first, further = [_plan(db, text) for text in asked if "FROM audit" in text]
    assert first == ["SCAN audit USING INDEX audit_by_time"]
    assert further == ["SEARCH audit USING INDEX audit_by_time (at<?)"]
