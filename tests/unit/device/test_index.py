"""The index: what is equal is agreed, units go whole, and what is held or unread is told until looked at again."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from satchel.core.entries import Kind
from satchel.core.errors import IndexDamaged, StorageFailed, VersionUnsupported
from satchel.core.hashing import Block, block_hash, content_hash, pack_blocks
from satchel.core.ids import ROOT_NID, ContentHash, Nid, NodeId
from satchel.core.trees import UNKNOWN, Item
from satchel.core.xattrs import TOO_LARGE, UNHELD, pack_xattrs
from satchel.device.index.bulk import standing_at
from satchel.device.index.copies import conflicted_copies
from satchel.device.index.late import LateRow, clamp_late, drop_late, due_late, next_late_ms, put_late, put_off
from satchel.device.index.mounts import load_mounts
from satchel.device.index.rows import Standing
from satchel.device.index.schema import SCHEMA_VERSION
from satchel.device.index.store import LATE_ROWS_MAX, Index
from satchel.device.index.xattr_notes import noted
from satchel.device.ports import DiskPath
from tests.support.engine_rig import NODE_A, NODE_B, NODE_C, NODE_D, blocks_of, entry, folder, hash_of, stat


@pytest.fixture
def index() -> Index:
    return Index(":memory:")


def put_both(index: Index, data: bytes = b"one") -> Nid:
    """Add a file that both sides have alike, not settled yet."""
    nid = index.add(NODE_A)
    index.set_remote(nid, ROOT_NID, entry(5, NODE_A, "a.txt", data))
    index.set_local(nid, ROOT_NID, "a.txt", hash_of(data), stat(7, data))
    return nid


def put_folder_tree(index: Index) -> tuple[Nid, Nid, Nid]:
    """Add d/, d/e/ and d/e/a.txt to all three trees."""
    top, below, file = index.add(NODE_D), index.add(NODE_C), index.add(NODE_A)
    index.set_remote(top, ROOT_NID, folder(1, NODE_D, "d"))
    index.set_remote(below, top, folder(2, NODE_C, "e", parent=NODE_D))
    index.set_remote(file, below, entry(3, NODE_A, "a.txt", b"one", parent=NODE_C))
    index.set_local(top, ROOT_NID, "d", b"", stat(1, kind=Kind.FOLDER))
    index.set_local(below, top, "e", b"", stat(2, kind=Kind.FOLDER))
    index.set_local(file, below, "a.txt", hash_of(b"one"), stat(3, b"one"))
    assert index.settle([top, below, file]) == []
    return top, below, file


# -- settling ---------------------------------------------------------------------------------------------------------


def test_equal_sides_are_agreed_and_clean(index: Index) -> None:
    nid = put_both(index)
    assert index.settle([nid]) == []
    row = index.row(nid)
    assert row is not None and row.synced == Item(ROOT_NID, "a.txt", Kind.FILE, hash_of(b"one"))
    assert index.dirty_nids() == []


@pytest.mark.parametrize(
    ("name", "data", "bit"),
    [("b.txt", b"one", False), ("a.txt", b"two", False), ("a.txt", b"one", True), ("A.txt", b"one", False)],
)
def test_any_difference_of_synced_values_is_dirty_and_agrees_nothing(
    index: Index, name: str, data: bytes, bit: bool
) -> None:
    nid = put_both(index)
    index.set_local(nid, ROOT_NID, name, hash_of(data), stat(7, data, is_executable=bit))
    assert index.settle([nid]) == [nid]
    row = index.row(nid)
    assert row is not None and row.synced is None
    assert index.dirty_nids() == [nid]


def test_another_mtime_is_no_difference(index: Index) -> None:
    nid = put_both(index)
    index.set_remote(nid, ROOT_NID, entry(9, NODE_A, "a.txt", b"one"))
    assert index.settle([nid]) == []


def test_an_unknown_side_agrees_nothing(index: Index) -> None:
    nid = put_both(index)
    index.set_local_unknown(nid)
    assert index.settle([nid]) == [nid]
    row = index.row(nid)
    assert row is not None and row.local is UNKNOWN and row.synced is None


def test_a_row_absent_everywhere_goes_unless_it_is_kept(index: Index) -> None:
    gone, kept = index.add(NODE_A), index.add(NODE_B)
    assert index.settle([gone, kept], keep=lambda nid: nid == kept) == []
    assert not index.exists(gone) and index.exists(kept)


def test_a_row_gone_on_both_sides_forgets_what_was_agreed(index: Index) -> None:
    nid = put_both(index)
    index.settle([nid])
    index.clear_remote_unit(nid, 9)
    assert index.settle([nid]) == [nid], "gone on one side alone is a difference"
    index.clear_local_unit(nid)
    assert index.settle([nid]) == []
    assert not index.exists(nid)


def test_settling_releases_a_held_row(index: Index) -> None:
    nid = put_both(index)
    index.hold(nid, "quota_exceeded", "no room", 77)
    assert index.held() == [(nid, "quota_exceeded", "no room", 77)]
    index.settle([nid])
    assert index.held() == []


# -- units ------------------------------------------------------------------------------------------------------------


def test_a_unit_is_all_rows_below_the_top_first(index: Index) -> None:
    top, below, file = put_folder_tree(index)
    assert index.unit("l", top) == [top, below, file]
    assert index.unit("r", below) == [below, file]


def test_a_deleted_folder_takes_all_below_with_it_on_that_side_alone(index: Index) -> None:
    top, below, file = put_folder_tree(index)
    assert index.clear_remote_unit(top, 9) == [top, below, file]
    rows = [index.row(nid) for nid in (top, below, file)]
    assert [row.remote for row in rows if row] == [None, None, None]
    assert all(isinstance(row.local, Item) for row in rows if row)
    assert [index.remote_seq(nid) for nid in (top, below, file)] == [9, 9, 9]


def test_what_moved_out_of_a_unit_is_not_of_it(index: Index) -> None:
    top, below, file = put_folder_tree(index)
    index.set_remote(file, ROOT_NID, entry(8, NODE_A, "a.txt", b"one"))
    assert index.clear_remote_unit(top, 9) == [top, below]
    assert index.is_remote(file)


def test_a_snapshot_row_that_was_not_named_is_found(index: Index) -> None:
    old, fresh = index.add(NODE_A), index.add(NODE_B)
    index.set_remote(old, ROOT_NID, entry(1, NODE_A, "a", b"1"), mark=1)
    index.set_remote(fresh, ROOT_NID, entry(2, NODE_B, "b", b"2"), mark=2)
    assert index.unmarked_remote(2, seq=10) == [old]
    assert index.unmarked_remote(2, seq=0) == [], "what the feed brought after the snapshot is not judged by it"


# -- paths and names --------------------------------------------------------------------------------------------------


def test_paths_follow_a_renamed_folder(index: Index) -> None:
    top, _, file = put_folder_tree(index)
    assert index.reader.path_of(file) == b"d/e/a.txt"
    index.set_local(top, ROOT_NID, "new", b"", stat(1, kind=Kind.FOLDER))
    assert index.reader.path_of(file) == b"new/e/a.txt"
    assert index.reader.remote_path_of(file) == "/d/e/a.txt"


def test_nothing_has_a_path_below_a_folder_that_is_gone(index: Index) -> None:
    top, _, file = put_folder_tree(index)
    index.clear_local_unit(top)
    assert index.reader.path_of(file) is None
    assert index.reader.remote_path_of(file) == "/d/e/a.txt"


def test_a_name_is_found_by_its_exact_bytes_and_taken_by_its_key(index: Index) -> None:
    nid = put_both(index)
    found = index.reader.find(ROOT_NID, b"a.txt")
    assert found is not None and found.nid == nid
    assert index.reader.find(ROOT_NID, b"A.TXT") is None
    assert index.reader.find(ROOT_NID, b"\xff") is None
    assert index.is_taken(ROOT_NID, "a.txt") and not index.is_taken(ROOT_NID, "b.txt")


def test_a_place_gives_the_node_that_this_disk_never_had(index: Index) -> None:
    nid = index.add(NODE_A)
    index.set_remote(nid, ROOT_NID, entry(5, NODE_A, "a.txt", b"one"))
    here, there = standing_at(index, [(ROOT_NID, "a.txt"), (ROOT_NID, "b.txt")])
    (one,) = there[ROOT_NID, "a.txt"]
    assert not here and len(there) == 1
    assert one == Standing(nid, "a.txt", 1, hash_of(b"one"), 0, b"", l_state=0, s_state=0)
    index.set_synced(nid, Item(ROOT_NID, "a.txt", Kind.FILE, hash_of(b"one")))
    (one,) = standing_at(index, [(ROOT_NID, "a.txt")])[1][ROOT_NID, "a.txt"]
    assert one.s_state == 1, "this disk had it once, so its absence is a deletion"


def test_each_write_of_the_local_side_gives_a_new_version(index: Index) -> None:
    nid = put_both(index)
    first = index.reader.local(nid)
    index.set_local(nid, ROOT_NID, "a.txt", hash_of(b"one"), stat(7, b"one"))
    second = index.reader.local(nid)
    assert first is not None and second is not None and second.version > first.version
    index.set_remote(nid, ROOT_NID, entry(9, NODE_A, "a.txt", b"two"))
    third = index.reader.local(nid)
    assert third is not None and third.version == second.version


# -- held and unread --------------------------------------------------------------------------------------------------


def test_held_rows_are_told_until_they_are_released(index: Index) -> None:
    first, second = index.add(NODE_A), index.add(NODE_B)
    index.hold(first, "name_invalid", "too long", None)
    index.hold(second, "quota_exceeded", "no room", 1234)
    assert index.held() == [(first, "name_invalid", "too long", None), (second, "quota_exceeded", "no room", 1234)]
    index.release([first])
    assert index.held() == [(second, "quota_exceeded", "no room", 1234)]


def test_unread_paths_below_a_folder_are_cleared_and_no_others(index: Index) -> None:
    for path in (b"d", b"d/a", b"d/e/a", b"d.txt", b"d0", b"da"):
        index.put_unread(path, "file_unreadable", "no right", None)
    index.clear_unread(b"d", is_deep=True)
    assert [path for path, *_ in index.unread()] == [b"d.txt", b"d0", b"da"]
    index.clear_unread(b"d0", is_deep=False)
    assert [path for path, *_ in index.unread()] == [b"d.txt", b"da"]
    index.clear_unread(b"", is_deep=True)
    assert index.unread() == []


# -- blocks -----------------------------------------------------------------------------------------------------------


def test_a_block_is_had_from_whatever_local_file_holds_it(index: Index) -> None:
    parts = [b"first part", b"second part"]
    packed = pack_blocks([Block(block_hash(part), len(part)) for part in parts])
    whole = content_hash([block_hash(part) for part in parts])
    nid = index.add(NODE_A)
    index.set_local(nid, ROOT_NID, "big", whole, stat(7, b"".join(parts)))
    index.put_local_blocks(whole, packed)
    wanted = pack_blocks([Block(block_hash(b"second part"), 11), Block(block_hash(b"elsewhere"), 9)])
    found = index.reader.sources(wanted, ROOT_NID)
    assert {key: [(one.path, one.offset) for one in places] for key, places in found.items()} == {
        block_hash(b"second part"): [(b"big", 10)]
    }


def test_the_blocklist_of_a_remote_file_is_known_by_its_content(index: Index) -> None:
    nid = index.add(NODE_A)
    index.set_remote(nid, ROOT_NID, entry(5, NODE_A, "a.txt", b"one"))
    assert index.reader.blocklist(hash_of(b"one")) == blocks_of(b"one")
    assert index.reader.blocklist(hash_of(b"two")) is None
    assert index.reader.is_synced_content(hash_of(b"one")) and not index.reader.is_synced_content(hash_of(b"two"))


# -- the whole --------------------------------------------------------------------------------------------------------


def test_an_image_opens_as_the_same_index(index: Index) -> None:
    nid = put_both(index)
    index.put("seq", 12)
    again = Index(":memory:", image=index.image())
    assert again.row(nid) == index.row(nid) and again.get("seq") == 12
    assert again.add(NODE_B) == nid + 1, "no nid is given twice"


def test_the_version_agreed_before_a_remote_edit_is_known_until_the_disk_shows_another(index: Index) -> None:
    nid = put_both(index)
    index.settle([nid])
    index.set_remote(nid, ROOT_NID, entry(6, NODE_A, "a.txt", b"two"))
    assert index.reader.is_synced_content(hash_of(b"one")) and index.reader.is_synced_content(hash_of(b"two"))
    index.set_local(nid, ROOT_NID, "a.txt", hash_of(b"mine"), stat(8, b"mine"))
    assert not index.reader.is_synced_content(hash_of(b"mine"))


def test_an_index_that_cannot_be_opened_is_a_fault(tmp_path: Path) -> None:
    damaged = tmp_path / "index.db"
    damaged.write_bytes(b"this is no database, however long it may be" * 100)
    with pytest.raises(IndexDamaged):
        Index(str(damaged))
    with pytest.raises(StorageFailed):
        Index(str(tmp_path / "no such folder" / "index.db"))


def test_a_newer_index_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = str(tmp_path / "index.db")
    index = Index(path)
    index.connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    index.close()
    before = Path(path).read_bytes()
    with pytest.raises(VersionUnsupported):
        Index(path)
    assert Path(path).read_bytes() == before


def test_a_mount_that_an_older_version_held_becomes_a_folder_that_is_a_leaf(tmp_path: Path) -> None:
    path = str(tmp_path / "index.db")
    index = Index(path)
    nid = index.add(NODE_A)
    index.set_remote(nid, ROOT_NID, entry(1, NODE_A, "d", b"s" * 16, kind=Kind.MOUNT))
    index.connection.execute("DROP TABLE mounts; DROP TABLE carried; PRAGMA user_version = 7")
    index.close()
    index = Index(path)
    row = index.row(nid)
    assert row is not None and isinstance(row.remote, Item)
    assert (row.remote.kind, row.remote.content) == (Kind.FOLDER, b"")
    assert {nid: mount.ns for nid, mount in load_mounts(index).items()} == {nid: b"s" * 16}


def test_forgotten_agreements_leave_no_deletion_to_derive(index: Index) -> None:
    top, below, file = put_folder_tree(index)
    index.forget_agreements()
    rows = [index.row(nid) for nid in (top, below, file)]
    assert [row.synced for row in rows if row] == [None, None, None]
    assert index.dirty_nids() == [top, below, file]


def test_a_failed_transaction_leaves_nothing(index: Index) -> None:
    with pytest.raises(ZeroDivisionError), index.transaction():
        index.add(NODE_A)
        raise ZeroDivisionError
    assert index.reader.nid_of(NODE_A) is None


# -- late looks -------------------------------------------------------------------------------------------------------


def test_late_looks_come_when_due_and_with_all_that_was_known(index: Index) -> None:
    file = LateRow("1-a", DiskPath(b"d/a"), {b"": stat(7, b"one")}, hash_of(b"one"))
    unit = LateRow("2-d", DiskPath(b"d"), {b"": stat(8, kind=Kind.FOLDER), b"x": stat(9, b"two")}, b"")
    put_late(index, file, 2_000)
    put_late(index, unit, 1_000)
    assert next_late_ms(index) == 1_000
    assert due_late(index, 999, 10) == []
    assert due_late(index, 2_000, 10) == [unit, file]
    put_off(index, "2-d", 1, 30_000)
    assert [row.trashed for row in due_late(index, 2_000, 10)] == ["1-a"]
    drop_late(index, "1-a")
    assert next_late_ms(index) == 30_000
    clamp_late(index, 5_000)
    assert next_late_ms(index) == 5_000


def test_an_index_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    path = str(tmp_path / "index.db")
    made = Index(path)
    nid = put_both(made)
    made.connection.execute(
        "ALTER TABLE nodes DROP COLUMN l_blocks; ALTER TABLE nodes DROP COLUMN r_blocks; PRAGMA user_version = 1;"
        " ALTER TABLE nodes DROP COLUMN r_xattrs; ALTER TABLE nodes DROP COLUMN l_xattrs;"
        " ALTER TABLE nodes DROP COLUMN s_xattrs;"
        " DROP TABLE activity; CREATE TABLE activity (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL,"
        " node_id BLOB NOT NULL, path TEXT NOT NULL, rule TEXT NOT NULL)"
    )
    made.close()

    index = Index(path)

    index.set_local(nid, ROOT_NID, "a.txt", hash_of(b"two"), stat(7, b"two"), blocks_of(b"two"))
    assert index.reader.blocklist(hash_of(b"two")) == blocks_of(b"two")
    index.close()


def test_the_blocklist_of_a_row_goes_with_its_content(index: Index) -> None:
    nid = index.add(NODE_A)
    index.set_local(nid, ROOT_NID, "a.txt", hash_of(b"one"), stat(7, b"one"), blocks_of(b"one"))
    index.set_local(nid, ROOT_NID, "b.txt", hash_of(b"one"), stat(7, b"one"))
    assert index.reader.blocklist(hash_of(b"one")) == blocks_of(b"one"), "a move says nothing of the content"

    index.set_local(nid, ROOT_NID, "b.txt", hash_of(b"two"), stat(7, b"two"))
    assert index.reader.blocklist(hash_of(b"two")) is None, "the list of one content is never that of another"


def test_a_doubted_file_does_not_look_unchanged(index: Index) -> None:
    nid = put_both(index)
    index.doubt_local(nid)
    row = index.reader.local(nid)
    assert row is not None and row.stat.ctime_ns == 0


# -- by content -------------------------------------------------------------------------------------------------------


def indexes(index: Index) -> set[str]:
    return {row[0] for row in index.connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")}


def test_a_new_index_is_made_to_find_contents_when_one_is_first_looked_for(index: Index) -> None:
    nid = put_both(index)
    assert "nodes_content" not in indexes(index) and not index.has_contents

    (holder,) = index.reader.holders(ContentHash(hash_of(b"one")))

    assert holder[0] == index.reader.path_of(nid)
    assert {"nodes_content", "nodes_remote_content"} <= indexes(index) and index.has_contents


def test_the_next_start_finds_contents(index: Index) -> None:
    put_both(index)
    again = Index(":memory:", image=index.image())
    assert again.has_contents and {"nodes_content", "nodes_remote_content"} <= indexes(again)


def test_an_index_that_grows_large_finds_contents_before_that_costs_much(index: Index) -> None:
    for _ in range(LATE_ROWS_MAX - 1):
        index.reserve()
    assert not index.has_contents

    index.reserve()

    assert index.has_contents


def test_a_folder_is_read_as_a_whole_as_its_rows_are_one_by_one(index: Index) -> None:
    names = ["a", "A", "\u00e4", "a\u0308", "b", "c"]
    nids = {name: index.add(NodeId(bytes([at]) * 16)) for at, name in enumerate(names, 1)}
    for at, (name, nid) in enumerate(nids.items(), 1):
        index.set_local(nid, ROOT_NID, name, hash_of(b"one"), stat(at, b"one"))
    index.set_local_unknown(nids["b"])
    index.clear_local_unit(nids["c"])
    reader = index.reader
    rows = {row.nid: row for row in reader.children(ROOT_NID)}

    told = {brief[5]: brief for brief in reader.briefs(ROOT_NID)}

    assert told.keys() == rows.keys() == {nid for name, nid in nids.items() if name != "c"}
    for nid, row in rows.items():
        at = row.stat
        assert told[nid] == (row.name.decode(), at.ctime_ns, at.mtime_ns, at.size, at.inode, nid, int(row.kind))
    assert told[nids["b"]][1] == 0, "of what is unknown nothing is the same"
    assert sorted(reader.names(ROOT_NID)) == sorted(brief[0] for brief in told.values())
    for wanted in (["a"], ["\u00e4"], ["a", "b", "c", "none"], ["no-\udcff-text"], []):
        some = [nids[name] for name in wanted if name in nids and name != "c"]
        assert sorted(brief[5] for brief in reader.briefs_named(ROOT_NID, wanted)) == sorted(some)
        raw = [name.encode(errors="surrogateescape") for name in wanted]
        assert sorted(row.nid for row in reader.all_named(ROOT_NID, raw)) == sorted(some)
    assert reader.holds(5) and not reader.holds(6)
    assert reader.count_files() == 4


# -- extended attributes (hard case I5) -------------------------------------------------------------------------------

RED = pack_xattrs({b"colour": b"red"})


def xattrs_of(index: Index, nid: Nid) -> tuple[bytes, bytes, bytes]:
    """Return those of the remote, the local and the synced side."""
    query = "SELECT r_xattrs, l_xattrs, s_xattrs FROM nodes WHERE nid = ?"
    return next(iter(index.connection.execute(query, (nid,))))


def put_marked(index: Index) -> Nid:
    """A file whose three sides have the same attributes."""
    nid = index.add(NODE_A)
    index.set_remote(nid, ROOT_NID, replace(entry(5, NODE_A, "a.txt", b"one"), xattrs=RED))
    index.set_local(nid, ROOT_NID, "a.txt", hash_of(b"one"), replace(stat(7, b"one"), xattrs=RED))
    assert index.settle([nid]) == []
    assert xattrs_of(index, nid) == (RED, RED, RED)
    return nid


def test_i5_other_attributes_make_a_row_dirty(index: Index) -> None:
    nid = put_marked(index)
    index.set_local(nid, ROOT_NID, "a.txt", hash_of(b"one"), replace(stat(7, b"one"), xattrs=b""))
    assert index.settle([nid]) == [nid]
    row = index.row(nid)
    assert row is not None and isinstance(row.local, Item) and row.local.xattrs == b""


def test_i5_what_is_not_told_of_attributes_changes_none(index: Index) -> None:
    nid = put_marked(index)
    index.set_local(nid, ROOT_NID, "a.txt", hash_of(b"two"), stat(7, b"two"))
    index.set_remote(nid, ROOT_NID, entry(6, NODE_A, "a.txt", b"two"))
    assert index.settle([nid]) == []
    assert xattrs_of(index, nid) == (RED, RED, RED)


def test_i5_attributes_past_a_limit_are_noted_until_they_are_not(index: Index) -> None:
    nid = put_marked(index)
    index.set_local(nid, ROOT_NID, "a.txt", hash_of(b"one"), replace(stat(7, b"one"), xattrs=TOO_LARGE))
    assert index.settle([nid]) == []
    assert noted(index.connection) == [(nid, TOO_LARGE)]
    index.set_local(nid, ROOT_NID, "a.txt", hash_of(b"one"), replace(stat(7, b"one"), xattrs=RED))
    assert noted(index.connection) == []


def test_i5_where_the_disk_did_not_take_them_what_it_shows_counts_for_nothing(index: Index) -> None:
    nid = put_marked(index)
    index.set_local(nid, ROOT_NID, "a.txt", hash_of(b"one"), replace(stat(7, b"one"), xattrs=UNHELD))
    index.set_local(nid, ROOT_NID, "a.txt", hash_of(b"one"), replace(stat(7, b"one"), xattrs=b""))
    assert index.settle([nid]) == []
    assert (noted(index.connection), xattrs_of(index, nid)) == ([(nid, UNHELD)], (RED, RED, RED))


def test_i5_an_index_of_the_version_before_has_no_attributes(tmp_path: Path) -> None:
    path = str(tmp_path / "index.db")
    made = Index(path)
    nid = put_both(made)
    made.connection.execute(
        "ALTER TABLE nodes DROP COLUMN r_xattrs; ALTER TABLE nodes DROP COLUMN l_xattrs;"
        " ALTER TABLE nodes DROP COLUMN s_xattrs; DROP TABLE xattr_notes; PRAGMA user_version = 5"
    )
    made.close()
    index = Index(path)
    assert xattrs_of(index, nid) == (b"", b"", b"")
    assert noted(index.connection) == []
    index.close()


def test_an_index_of_the_version_before_tells_its_conflicted_copies(tmp_path: Path) -> None:
    path = str(tmp_path / "index.db")
    made = Index(path)
    nids = [made.add(node_id) for node_id in (NodeId(b"x" * 16), NodeId(b"y" * 16))]
    names = ("a (Desk's conflicted copy 2026-11-29).txt", "what's conflicted copy 2.txt")
    for inode, (nid, name) in enumerate(zip(nids, names, strict=True), 1):
        made.set_local(nid, ROOT_NID, name, hash_of(b"one"), stat(inode, b"one"))
    made.connection.execute("DROP INDEX nodes_copies; PRAGMA user_version = 6")
    made.close()
    index = Index(path)
    assert conflicted_copies(index.connection, 10) == nids[:1]
    index.close()
