"""A stream of rows is read as it was written, or not at all."""

from __future__ import annotations

import pytest

from satchel.core.errors import StorageFailed
from satchel.server.upkeep.backup.pages import pack_page, pack_totals, unpacked
from satchel.server.upkeep.backup.tables import COPIED

META = pack_page("store_meta", [("epoch", b"e"), ("run", b"1")])
RUNS = pack_page("link_runs", [(b"d", b"l", 7)])
TOTALS = pack_totals({table.name: {"store_meta": 2, "link_runs": 1}.get(table.name, 0) for table in COPIED})


def test_pages_come_back_in_order_with_their_tables() -> None:
    found = [(table.name, rows) for table, rows in unpacked(iter([META, RUNS, TOTALS]), "here")]
    assert found == [("store_meta", [("epoch", b"e"), ("run", b"1")]), ("link_runs", [(b"d", b"l", 7)])]


@pytest.mark.parametrize(
    "parts",
    [
        [META, TOTALS],
        [META, RUNS],
        [META, RUNS, RUNS, TOTALS],
        [META, RUNS, TOTALS, META],
        [META, None, TOTALS],
        [META, RUNS, pack_page("upkeep_tasks", []), TOTALS],
        [META, RUNS, pack_page("link_runs", [(b"d",)]), TOTALS],
        [META, RUNS, pack_page("link_runs", [(b"d", b"l", 0.5)]), TOTALS],
        [META, RUNS[:-3], TOTALS],
        [META, b"not a page", TOTALS],
        [],
    ],
)
def test_a_stream_that_is_not_whole_is_refused(parts: list[bytes | None]) -> None:
    with pytest.raises(StorageFailed):
        list(unpacked(iter(parts), "here"))
