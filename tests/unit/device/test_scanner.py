"""What the scanner says of a real folder, case by case."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.core.entries import Kind
from satchel.core.hashing import EMPTY_CONTENT, packed_content_hash
from satchel.core.ids import ROOT_NID
from satchel.core.limits import MIB
from satchel.device.ports import ROOT_PATH, DiskPath, Hint
from satchel.device.tasks import LocalFact, NewParent, SeenChanged, SeenGone, SeenMoved, SeenNew
from tests.support.scanned_root import ScannedRoot, content_of


@pytest.fixture
def root(tmp_path: Path) -> Iterator[ScannedRoot]:
    linked = ScannedRoot(tmp_path / "linked")
    yield linked
    linked.scan()
    assert linked.known.tree() == linked.disk_tree()


def kinds(facts: list[LocalFact]) -> list[str]:
    return [type(fact).__name__ for fact in facts]


def moves(facts: list[LocalFact]) -> dict[int, bytes]:
    return {fact.nid: fact.name for fact in facts if isinstance(fact, SeenMoved)}


def names_of(facts: list[LocalFact]) -> list[bytes]:
    return [fact.name for fact in facts if isinstance(fact, SeenNew)]


# -- what is new, the same, changed -----------------------------------------------------------------------------------


def test_first_scan_reports_everything_with_parents_first(root: ScannedRoot) -> None:
    root.write("a/b/c.txt", "deep")
    root.write("empty", b"")
    (root.root / "link").symlink_to("a/b")

    facts = root.scan()

    assert kinds(facts) == ["SeenNew"] * 5
    assert [fact.order for fact in facts if isinstance(fact, SeenNew)] == [1, 2, 3, 4, 5]
    assert root.known.tree() == root.disk_tree()
    assert root.known.tree()[DiskPath(b"empty")] == (Kind.FILE, EMPTY_CONTENT)
    assert root.known.tree()[DiskPath(b"link")] == (Kind.SYMLINK, b"a/b")


def test_new_file_in_new_folder_names_its_parent_by_order(root: ScannedRoot) -> None:
    root.write("a/f", "1")

    folder, file = root.scan()

    assert isinstance(folder, SeenNew) and isinstance(file, SeenNew)
    assert folder.parent == ROOT_NID
    assert file.parent == NewParent(folder.order)


def test_second_scan_says_nothing(root: ScannedRoot) -> None:
    root.write("a/f", "1")
    (root.root / "a/link").symlink_to("f")
    root.scan()

    assert root.scan() == []


def test_edit_in_place_is_a_change_with_blocks(root: ScannedRoot) -> None:
    root.write("f", "one")
    root.scan()
    nid = root.known.nid_at("f")
    root.write("f", "three")

    (fact,) = root.scan()

    assert isinstance(fact, SeenChanged)
    assert (fact.nid, fact.content) == (nid, content_of(b"three"))
    assert packed_content_hash(fact.blocks) == fact.content


def test_touched_file_refreshes_the_stat_alone(root: ScannedRoot) -> None:
    path = root.write("f", "one")
    root.scan()
    os.utime(path, ns=(5, 5))

    (fact,) = root.scan()

    assert isinstance(fact, SeenChanged)
    assert (fact.stat.mtime_ns, fact.content) == (5, content_of(b"one"))
    assert root.scan() == []


def test_mtime_set_back_on_an_edit_of_equal_size_is_seen(root: ScannedRoot) -> None:
    path = root.write("f", "one")
    before = path.stat().st_mtime_ns
    root.scan()
    path.write_text("two")
    os.utime(path, ns=(before, before))

    (fact,) = root.scan()

    assert isinstance(fact, SeenChanged)
    assert fact.content == content_of(b"two")


def test_executable_bit_is_a_change_of_the_same_content(root: ScannedRoot) -> None:
    path = root.write("run", "#!")
    root.scan()
    path.chmod(0o755)

    (fact,) = root.scan()

    assert isinstance(fact, SeenChanged)
    assert fact.stat.is_executable
    assert fact.content == content_of(b"#!")


def test_long_file_is_cut_and_its_blocklist_is_its_content(root: ScannedRoot) -> None:
    root.write("long", os.urandom(1024) * 5000)

    (fact,) = root.scan()

    assert isinstance(fact, SeenNew)
    assert packed_content_hash(fact.blocks) == fact.content
    assert (
        sum(int.from_bytes(fact.blocks[at + 32 : at + 36], "big") for at in range(0, len(fact.blocks), 36)) == 5120000
    )
    (root.root / "long").unlink()


def test_file_written_this_instant_is_hashed_again_by_the_next_scan(root: ScannedRoot) -> None:
    path = root.write("f", "one")
    os.utime(path)
    root.clock.stands_at_ns = path.stat().st_ctime_ns

    (fact,) = root.scan()
    assert isinstance(fact, SeenNew)
    assert fact.stat.ctime_ns == 0

    root.clock.stands_at_ns = None
    (again,) = root.scan()
    assert isinstance(again, SeenChanged)
    assert again.stat.ctime_ns == path.stat().st_ctime_ns
    assert root.scan() == []


def test_file_with_a_time_in_the_future_is_not_hashed_for_ever(root: ScannedRoot) -> None:
    path = root.write("f", "one")
    os.utime(path, ns=(4 * 10**18, 4 * 10**18))
    root.scan()

    assert root.scan() == []


# -- moves ------------------------------------------------------------------------------------------------------------


def test_renamed_file_keeps_its_node(root: ScannedRoot) -> None:
    root.write("a", "one")
    root.scan()
    nid = root.known.nid_at("a")
    (root.root / "a").rename(root.root / "b")

    (fact,) = root.scan()

    assert isinstance(fact, SeenMoved)
    assert (fact.nid, fact.name, fact.content) == (nid, b"b", content_of(b"one"))


def test_renamed_and_edited_file_is_one_move_with_blocks(root: ScannedRoot) -> None:
    root.write("a", "one")
    root.scan()
    (root.root / "a").rename(root.root / "b")
    root.write("b", "other")

    (fact,) = root.scan()

    assert isinstance(fact, SeenMoved)
    assert packed_content_hash(fact.blocks) == content_of(b"other")


def test_hint_of_the_new_place_alone_is_enough_for_a_move(root: ScannedRoot) -> None:
    root.write("from/a", "one")
    root.write("to/other", "two")
    root.scan()
    nid = root.known.nid_at("from/a")
    (root.root / "from/a").rename(root.root / "to/b")

    (fact,) = root.look("to", "b")

    assert moves([fact]) == {nid: b"b"}


def test_moved_folder_is_one_fact(root: ScannedRoot) -> None:
    for number in range(20):
        root.write(f"a/sub/f{number}", str(number))
    root.scan()
    nid = root.known.nid_at("a")
    root.write("b/x", "1")
    (root.root / "a").rename(root.root / "b/c")

    facts = root.scan()

    assert moves(facts) == {nid: b"c"}
    assert kinds(facts).count("SeenNew") == 2
    assert len(facts) == 3


def test_file_moved_out_of_a_deleted_folder_survives_it(root: ScannedRoot) -> None:
    root.write("a/keep", "one")
    root.write("a/lose", "two")
    root.scan()
    keep, folder = root.known.nid_at("a/keep"), root.known.nid_at("a")
    (root.root / "a/keep").rename(root.root / "z")
    shutil.rmtree(root.root / "a")

    facts = root.scan()

    assert kinds(facts) == ["SeenMoved", "SeenGone"]
    assert moves(facts) == {keep: b"z"}
    assert facts[1] == SeenGone(folder, facts[1].base)  # type: ignore[union-attr]  # kinds were checked above


def test_swapped_names_are_two_moves(root: ScannedRoot) -> None:
    root.write("a", "one")
    root.write("sub/b", "two")
    root.scan()
    one, two = root.known.nid_at("a"), root.known.nid_at("sub/b")
    (root.root / "a").rename(root.root / "t")
    (root.root / "sub/b").rename(root.root / "a")
    (root.root / "t").rename(root.root / "sub/b")

    facts = root.scan()

    assert moves(facts) == {one: b"b", two: b"a"}
    assert len(facts) == 2


def test_a_folder_and_the_one_inside_it_may_change_places(root: ScannedRoot) -> None:
    root.write("a/b/deep", "one")
    root.write("a/flat", "two")
    root.scan()
    outer, inner = root.known.nid_at("a"), root.known.nid_at("a/b")
    (root.root / "a/b").rename(root.root / "t")
    (root.root / "a").rename(root.root / "t/b")
    (root.root / "t").rename(root.root / "a")

    root.scan()

    assert (root.known.nid_at("a"), root.known.nid_at("a/b")) == (inner, outer)
    assert root.known.tree() == root.disk_tree()


def test_chain_of_renames_is_moves(root: ScannedRoot) -> None:
    root.write("a", "one")
    root.write("b", "two")
    root.scan()
    one, two = root.known.nid_at("a"), root.known.nid_at("b")
    (root.root / "b").rename(root.root / "c")
    (root.root / "a").rename(root.root / "b")

    facts = root.scan()

    assert moves(facts) == {one: b"b", two: b"c"}
    assert len(facts) == 2


def test_swapped_folders_are_two_moves(root: ScannedRoot) -> None:
    root.write("a/x", "one")
    root.write("b/y", "two")
    root.scan()
    one, two = root.known.nid_at("a"), root.known.nid_at("b")
    (root.root / "a").rename(root.root / "t")
    (root.root / "b").rename(root.root / "a")
    (root.root / "t").rename(root.root / "b")

    facts = root.scan()

    assert moves(facts) == {one: b"b", two: b"a"}
    assert len(facts) == 2


def test_folder_moved_onto_the_name_of_a_deleted_one_is_a_move(root: ScannedRoot) -> None:
    root.write("a/x", "one")
    root.write("b/y", "two")
    root.scan()
    one, two = root.known.nid_at("a"), root.known.nid_at("b")
    shutil.rmtree(root.root / "a")
    (root.root / "b").rename(root.root / "a")

    facts = root.scan()

    assert kinds(facts) == ["SeenGone", "SeenMoved"]
    assert moves(facts) == {two: b"a"}
    assert one not in root.known.rows


def test_hint_inside_a_renamed_folder_follows_it(root: ScannedRoot) -> None:
    root.write("a/deep/f", "one")
    root.scan()
    nid = root.known.nid_at("a/deep/f")
    (root.root / "a/deep/f").write_text("other")
    (root.root / "a").rename(root.root / "b")

    facts = root.scan(Hint(ROOT_PATH, frozenset((b"a", b"b"))), Hint(DiskPath(b"a/deep"), frozenset((b"f",))))

    assert kinds(facts) == ["SeenMoved", "SeenChanged"]
    assert isinstance(facts[1], SeenChanged)
    assert facts[1].nid == nid


def test_hint_at_the_new_place_of_a_folder_that_took_the_name_of_another_is_looked_at(root: ScannedRoot) -> None:
    """As packages are put in place: made beside, the old one away, the new one to its name."""
    root.write("p/deep/old", "one")
    root.write(".new/deep/f", "two")
    root.scan()
    nid = root.known.nid_at(".new")
    shutil.rmtree(root.root / "p")
    root.write(".new/deep/more/g", "three")
    (root.root / ".new").rename(root.root / "p")

    facts = root.scan(
        Hint(ROOT_PATH, frozenset((b".new", b"p"))),
        Hint(DiskPath(b"p/deep"), frozenset((b"more",))),
        Hint(DiskPath(b"p/deep/more"), None, True),
    )

    assert moves(facts) == {nid: b"p"}
    assert names_of(facts) == [b"more", b"g"]


def test_hints_at_a_name_are_for_the_folder_that_left_it_and_for_the_one_that_took_it(root: ScannedRoot) -> None:
    root.write("a/deep/f", "one")
    root.write("b/deep/g", "two")
    root.scan()
    (root.root / "a").rename(root.root / "c")
    (root.root / "b").rename(root.root / "a")
    root.write("c/deep/more", "three")
    root.write("a/deep/other", "four")

    facts = root.scan(
        Hint(ROOT_PATH, frozenset((b"a", b"b", b"c"))), Hint(DiskPath(b"a/deep"), frozenset((b"more", b"other")))
    )

    assert sorted(names_of(facts)) == [b"more", b"other"]


def test_copy_and_delete_of_equal_content_is_a_move(root: ScannedRoot) -> None:
    path = root.write("a", "same bytes")
    root.scan()
    nid = root.known.nid_at("a")
    shutil.copy(path, root.root / "b")
    path.unlink()

    assert moves(root.scan()) == {nid: b"b"}


def test_two_candidates_of_equal_content_are_no_move(root: ScannedRoot) -> None:
    path = root.write("a", "same bytes")
    root.scan()
    shutil.copy(path, root.root / "b")
    shutil.copy(path, root.root / "c")
    path.unlink()

    assert sorted(kinds(root.scan())) == ["SeenGone", "SeenNew", "SeenNew"]


def test_moved_long_file_is_not_read_but_checked_by_the_next_scan(root: ScannedRoot) -> None:
    root.write("a", b"\0" * (17 * MIB))
    root.scan()
    (root.root / "a").rename(root.root / "b")

    (fact,) = root.scan()
    assert isinstance(fact, SeenMoved)
    assert fact.stat.ctime_ns == 0

    (again,) = root.scan()
    assert isinstance(again, SeenChanged)
    assert again.stat.ctime_ns == (root.root / "b").stat().st_ctime_ns
    (root.root / "b").unlink()


# -- the save dances of editors ---------------------------------------------------------------------------------------


def test_file_replaced_by_rename_is_an_edit_of_its_node(root: ScannedRoot) -> None:
    root.write("doc", "old")
    root.scan()
    nid = root.known.nid_at("doc")
    root.write("doc.tmp", "new")
    (root.root / "doc.tmp").rename(root.root / "doc")

    (fact,) = root.scan()

    assert isinstance(fact, SeenChanged)
    assert (fact.nid, fact.stat.inode) == (nid, (root.root / "doc").stat().st_ino)


def test_backup_by_rename_and_a_new_file_is_an_edit_and_a_new_node(root: ScannedRoot) -> None:
    root.write("doc", "old")
    root.scan()
    nid = root.known.nid_at("doc")
    (root.root / "doc").rename(root.root / "doc~")
    root.write("doc", "new")

    facts = root.scan()

    assert sorted(kinds(facts)) == ["SeenChanged", "SeenNew"]
    assert root.known.nid_at("doc") == nid
    assert root.known.nid_at("doc~") != nid


def test_known_temporary_file_renamed_over_a_document_edits_the_document(root: ScannedRoot) -> None:
    root.write("doc", "old")
    root.write("tmp", "new")
    root.scan()
    nid = root.known.nid_at("doc")
    (root.root / "tmp").rename(root.root / "doc")

    facts = root.scan()

    assert kinds(facts) == ["SeenChanged", "SeenGone"]
    assert root.known.nid_at("doc") == nid


def test_rotated_log_files_are_edits(root: ScannedRoot) -> None:
    root.write("log", "newest")
    root.write("log.1", "older")
    root.scan()
    nids = root.known.nid_at("log"), root.known.nid_at("log.1")
    (root.root / "log.1").rename(root.root / "log.2")
    (root.root / "log").rename(root.root / "log.1")
    root.write("log", "fresh")

    root.scan()

    assert (root.known.nid_at("log"), root.known.nid_at("log.1")) == nids


# -- hard links, kinds, folders made again ----------------------------------------------------------------------------


def test_second_name_of_a_file_is_a_new_node(root: ScannedRoot) -> None:
    root.write("a", "one")
    root.scan()
    os.link(root.root / "a", root.root / "b")

    facts = root.scan()

    assert sorted(kinds(facts)) == ["SeenChanged", "SeenNew"]


def test_file_that_became_a_folder_is_gone_and_new(root: ScannedRoot) -> None:
    path = root.write("a", "one")
    root.scan()
    path.unlink()
    root.write("a/inside", "two")

    assert kinds(root.scan()) == ["SeenGone", "SeenNew", "SeenNew"]


def test_folder_that_became_a_symlink_is_gone_and_new(root: ScannedRoot) -> None:
    root.write("a/inside", "one")
    root.write("b/inside", "two")
    root.scan()
    shutil.rmtree(root.root / "a")
    (root.root / "a").symlink_to("b")

    assert kinds(root.scan()) == ["SeenGone", "SeenNew"]


def test_folder_made_again_keeps_its_node_and_those_of_its_names(root: ScannedRoot) -> None:
    root.write("a/same", "one")
    root.write("a/lost", "two")
    root.scan()
    nids = root.known.nid_at("a"), root.known.nid_at("a/same")
    shutil.rmtree(root.root / "a")
    root.write("spacer/x", "")
    root.write("a/same", "three")

    root.scan()

    assert (root.known.nid_at("a"), root.known.nid_at("a/same")) == nids
    assert DiskPath(b"a/lost") not in root.known.tree()


def test_folder_moved_away_with_a_new_one_in_its_place_is_a_move(root: ScannedRoot) -> None:
    root.write("project/f", "one")
    root.scan()
    nid = root.known.nid_at("project")
    (root.root / "zold").mkdir()
    (root.root / "project").rename(root.root / "zold/project")
    root.write("project/g", "two")

    facts = root.scan()

    assert moves(facts) == {nid: b"project"}
    assert "SeenGone" not in kinds(facts)


def test_deleted_folder_is_one_fact(root: ScannedRoot) -> None:
    root.write("a/b/c", "one")
    root.write("a/d", "two")
    root.scan()
    nid = root.known.nid_at("a")
    shutil.rmtree(root.root / "a")

    (fact,) = root.scan()

    assert isinstance(fact, SeenGone)
    assert fact.nid == nid


# -- hints ------------------------------------------------------------------------------------------------------------


def test_named_hint_looks_at_nothing_else(root: ScannedRoot) -> None:
    root.write("a/f", "one")
    root.write("a/g", "two")
    root.scan()
    root.write("a/f", "three")
    root.write("a/g", "four!")

    (fact,) = root.look("a", "f")

    assert isinstance(fact, SeenChanged)
    assert fact.nid == root.known.nid_at("a/f")


def test_hint_in_a_folder_that_no_row_knows_finds_it_from_above(root: ScannedRoot) -> None:
    root.write("a/b/f", "one")

    assert kinds(root.look("a/b", "f")) == ["SeenNew", "SeenNew", "SeenNew"]


def test_hint_in_a_folder_that_is_gone_reports_the_folder(root: ScannedRoot) -> None:
    root.write("a/b/f", "one")
    root.scan()
    nid = root.known.nid_at("a")
    shutil.rmtree(root.root / "a")

    (fact,) = root.look("a/b", "f")

    assert fact == SeenGone(nid, fact.base)  # type: ignore[union-attr]  # a SeenUnknown would not be equal


def test_deep_hint_below_another_is_looked_at_once(root: ScannedRoot) -> None:
    root.write("a/b/f", "one")

    facts = root.scan(Hint(ROOT_PATH, None, True), Hint(DiskPath(b"a/b"), None, True), Hint(DiskPath(b"a"), None))

    assert kinds(facts) == ["SeenNew", "SeenNew", "SeenNew"]


def test_many_names_in_one_folder_are_found_by_listing(root: ScannedRoot) -> None:
    for number in range(200):
        root.write(f"f{number}", str(number))

    assert len(root.look("", *(f"f{number}" for number in range(200)))) == 200
