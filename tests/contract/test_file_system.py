"""The contract of the `FileSystem` port, over the real disk (ext4 or whatever is under it, tmpfs, without openat2) and
the fake one. Each test is a claim that the scanner, the transfer or the applier rests on."""

from __future__ import annotations

from pathlib import Path

import pytest

from satchel.core.entries import Kind
from satchel.core.errors import Fault, FileChanging, FileUnreadable, NameInvalid, NameTaken, NotFound
from satchel.core.ids import Nid
from satchel.device.disk import LocalDisk
from satchel.device.drive import drive
from satchel.device.ports import ROOT_PATH, Brief, DiskPath, Stat
from tests.support.disk_calls import MTIME_NS, path, staged, stat_of
from tests.support.disk_worlds import World, make_world

HOSTILE_PATHS = [
    b"../x",
    b"a/../../x",
    b"/etc/passwd",
    b"a//b",
    b"a/./b",
    b".",
    b"..",
    b"a\0b",
    b".satchel/marker",
    b"a/",
]


# -- looking ----------------------------------------------------------------------------------------------------------


def test_the_root_keeps_its_identity(world: World) -> None:
    first = drive(world.disk.check_root())
    assert drive(world.disk.check_root()) == first
    assert first.marker


def test_a_listing_is_sorted_and_hides_the_state_folder(world: World) -> None:
    world.user.write_file(b"b", b"1")
    world.user.make_folder(b"a")
    world.user.make_symlink(b"c", b"b")
    listed = drive(world.disk.list_folder(ROOT_PATH))
    assert [(one.name, one.stat.kind) for one in listed] == [
        (b"a", Kind.FOLDER),
        (b"b", Kind.FILE),
        (b"c", Kind.SYMLINK),
    ]


def test_a_listing_agrees_with_stat_but_for_the_birth_time(world: World) -> None:
    world.user.write_file(b"a", b"12345")
    world.user.set_executable(b"a", True)
    (one,) = drive(world.disk.list_folder(ROOT_PATH))
    stat = stat_of(world, "a")
    assert one.stat.birth_ns == 0
    assert stat.birth_ns > 0
    assert (one.stat.size, one.stat.mtime_ns, one.stat.ctime_ns, one.stat.inode) == (
        5,
        stat.mtime_ns,
        stat.ctime_ns,
        stat.inode,
    )
    assert one.stat.is_executable and stat.is_executable
    assert one.stat.same_file(stat)


def rows_of(world: World, at: DiskPath = ROOT_PATH) -> dict[str, Brief]:
    """Return rows that say just what stands in a folder."""
    rows: dict[str, Brief] = {}
    for number, one in enumerate(drive(world.disk.list_folder(at)), 1):
        stat, name = one.stat, one.name.decode(errors="surrogateescape")
        rows[name] = (name, stat.ctime_ns, stat.mtime_ns, stat.size, stat.inode, Nid(number), int(stat.kind or 0))
    return rows


def test_a_comparison_tells_what_is_not_as_the_rows_say(world: World) -> None:
    for name in (b"edited", b"gone", b"same", "\u00e4".encode()):
        world.user.write_file(name, b"1")
    world.user.make_folder(b"folder")
    world.user.make_symlink(b"link", b"same")
    told = rows_of(world)
    world.user.write_file(b"edited", b"12")
    world.user.write_file(b"new", b"")
    world.user.delete(b"gone")
    rows = dict(told)
    found = drive(world.disk.compare_folder(ROOT_PATH, lambda names: rows))
    listed = drive(world.disk.list_folder(ROOT_PATH))
    assert found.others == [one for one in listed if one.name in (b"edited", b"new")]
    assert found.folders == [told["folder"]]
    assert found.same == 4
    assert rows == {name: told[name] for name in ("edited", "gone")}


def test_a_comparison_leaves_out_only_what_is_the_same_in_all(world: World) -> None:
    world.user.write_file(b"file", b"12345")
    (told,) = rows_of(world).values()
    name, ctime_ns, mtime_ns, size, inode, nid, kind = told
    for other in (
        ("File", ctime_ns, mtime_ns, size, inode, nid, kind),
        (name, 0, mtime_ns, size, inode, nid, kind),
        (name, ctime_ns, mtime_ns - 1, size, inode, nid, kind),
        (name, ctime_ns, mtime_ns, size + 1, inode, nid, kind),
        (name, ctime_ns, mtime_ns, size, inode + 1, nid, kind),
        (name, ctime_ns, mtime_ns, size, inode, nid, int(Kind.FOLDER)),
        (name, ctime_ns, mtime_ns, size, inode, nid, int(Kind.SYMLINK)),
    ):
        rows = {other[0]: other}
        found = drive(world.disk.compare_folder(ROOT_PATH, lambda names, rows=rows: rows))  # type: ignore[misc]
        assert ([one.name for one in found.others], found.same, list(rows.values())) == ([b"file"], 0, [other])


def test_listing_what_is_not_there_is_not_found(world: World) -> None:
    world.user.write_file(b"file", b"")
    for missing in ("gone", "gone/below", "file"):
        with pytest.raises(NotFound):
            drive(world.disk.list_folder(path(missing)))
        with pytest.raises(NotFound):
            drive(world.disk.compare_folder(path(missing), lambda names: {}))


def test_stat_of_what_is_not_there_is_none(world: World) -> None:
    world.user.write_file(b"file", b"")
    assert [drive(world.disk.stat(path(one))) for one in ("gone", "gone/below", "file/below")] == [None, None, None]


def test_a_symlink_on_the_way_is_out_of_reach_and_never_absent(world: World) -> None:
    world.user.make_folder(b"real")
    world.user.write_file(b"real/file", b"1")
    world.user.make_symlink(b"link", b"real")
    with pytest.raises(FileUnreadable):
        drive(world.disk.stat(path("link/file")))
    with pytest.raises(FileUnreadable):
        drive(world.disk.list_folder(path("link")))
    with pytest.raises(FileUnreadable):
        drive(world.disk.open_file(path("link/file")))
    assert stat_of(world, "link").kind == Kind.SYMLINK
    assert drive(world.disk.read_link(path("link"))) == b"real"


def test_a_short_file_is_read_whole_with_its_stat(world: World) -> None:
    world.user.write_file(b"file", b"12345")
    world.user.write_file(b"empty", b"")
    assert drive(world.disk.read_short(path("file"), 5)) == (stat_of(world, "file"), b"12345")
    assert drive(world.disk.read_short(path("empty"), 5)) == (stat_of(world, "empty"), b"")
    assert drive(world.disk.read_short(path("file"), 4)) is None, "one that is longer is not read"


def test_only_a_regular_file_is_read_as_a_short_one(world: World) -> None:
    world.user.make_folder(b"folder")
    world.user.make_symlink(b"link", b"folder")
    for wrong in ("folder", "link"):
        with pytest.raises(FileUnreadable):
            drive(world.disk.read_short(path(wrong), 5))
    with pytest.raises(NotFound):
        drive(world.disk.read_short(path("gone"), 5))


def test_only_a_regular_file_is_opened(world: World) -> None:
    world.user.make_folder(b"folder")
    world.user.make_symlink(b"link", b"folder")
    for other in ("folder", "link"):
        with pytest.raises(FileUnreadable):
            drive(world.disk.open_file(path(other)))
    with pytest.raises(NotFound):
        drive(world.disk.open_file(path("gone")))


def test_an_open_file_reads_ranges_and_less_only_at_the_end(world: World) -> None:
    world.user.write_file(b"file", b"0123456789")
    file = drive(world.disk.open_file(path("file")))
    assert drive(file.read(0, 4)) == b"0123"
    assert drive(file.read(8, 100)) == b"89"
    assert drive(file.read(10, 1)) == b""
    assert drive(file.stat()) == stat_of(world, "file")
    drive(file.close())


@pytest.mark.parametrize("hostile", HOSTILE_PATHS)
def test_a_path_that_leaves_the_root_or_names_the_state_folder_is_refused(world: World, hostile: bytes) -> None:
    name, _ = staged(world, b"evil")
    calls = [
        world.disk.stat(path(hostile)),
        world.disk.list_folder(path(hostile)),
        world.disk.compare_folder(path(hostile), lambda names: {}),
        world.disk.open_file(path(hostile)),
        world.disk.place_staged(name, path(hostile)),
        world.disk.make_folder(path(hostile)),
        world.disk.trash(path(hostile)),
        world.disk.set_aside(path(hostile), "m-1.x"),
    ]
    for call in calls:
        with pytest.raises(NameInvalid):
            drive(call)
    assert drive(world.disk.stat_staged(name)) is not None


def test_names_of_255_bytes_and_names_that_are_no_utf8_are_kept(world: World) -> None:
    for raw in (b"n" * 255, b"\xff\xfe latin \xe9", "é" * 127 + "x"):
        name, _ = staged(world, b"data")
        at = path(raw)
        assert drive(world.disk.place_staged(name, at)).size == 4
        assert at in [one.name for one in drive(world.disk.list_folder(ROOT_PATH))]
        assert world.user.tree()[at] == b"data"


def test_a_longer_name_is_refused_and_what_was_staged_stays(world: World) -> None:
    name, _ = staged(world, b"data")
    with pytest.raises(NameInvalid):
        drive(world.disk.place_staged(name, path(b"n" * 256)))
    assert drive(world.disk.stat_staged(name)) is not None


# -- staging ----------------------------------------------------------------------------------------------------------


def test_a_staged_file_can_be_read_back_and_gone_on_with(world: World) -> None:
    file = drive(world.disk.stage())
    drive(file.write(b"first "))
    drive(file.close())
    again = drive(world.disk.open_staged(file.name))
    drive(again.write(memoryview(b"second")))
    assert drive(again.read(0, 100)) == b"first second"
    stat = drive(again.finish(mtime_ns=MTIME_NS, is_executable=True))
    assert (stat.size, stat.mtime_ns, stat.is_executable) == (12, MTIME_NS, True)
    assert drive(world.disk.stat_staged(file.name)) == stat


def test_ranges_of_another_file_are_copied(world: World) -> None:
    world.user.write_file(b"source", bytes(range(256)) * 64)
    source = drive(world.disk.open_file(path("source")))
    file = drive(world.disk.stage())
    drive(file.write(b"head"))
    drive(file.copy_from(source, 4096, 8192))
    drive(file.copy_from(source, 10, 6))
    expected = b"head" + (bytes(range(256)) * 64)[4096:12288] + bytes(range(10, 16))
    assert drive(file.read(0, 1 << 20)) == expected
    drive(source.close())
    drive(file.discard())


def test_a_copy_past_the_end_is_a_fault(world: World) -> None:
    world.user.write_file(b"source", b"short")
    source = drive(world.disk.open_file(path("source")))
    file = drive(world.disk.stage())
    with pytest.raises(Fault) as caught:
        drive(file.copy_from(source, 0, 100))
    assert caught.value.code == "file_changing"
    drive(source.close())
    drive(file.discard())


def test_discarding_is_idempotent(world: World) -> None:
    file = drive(world.disk.stage())
    drive(file.discard())
    drive(file.discard())
    drive(world.disk.discard_staged(file.name))
    assert drive(world.disk.list_staged()) == []


def test_only_downloads_can_be_thrown_away(world: World) -> None:
    name, _ = staged(world, b"data")
    drive(world.disk.rename_staged(name, "x-1.data"))
    with pytest.raises(AssertionError):
        drive(world.disk.discard_staged("x-1.data"))
    assert [one.name for one in drive(world.disk.list_staged())] == [b"x-1.data"]


def test_a_download_cannot_be_exchanged_before_it_is_renamed(world: World) -> None:
    world.user.write_file(b"file", b"old")
    name, _ = staged(world, b"new")
    with pytest.raises(AssertionError):
        drive(world.disk.exchange_staged(name, path("file")))
    assert world.user.tree() == {b"file": b"old"}


def test_renaming_in_staging_replaces_nothing(world: World) -> None:
    one, _ = staged(world, b"one")
    other, _ = staged(world, b"other")
    with pytest.raises(NameTaken):
        drive(world.disk.rename_staged(one, other))
    with pytest.raises(NotFound):
        drive(world.disk.rename_staged("d-gone", "x-1.a"))
    assert world.user.everything() == {b"one", b"other"}


# -- changing ---------------------------------------------------------------------------------------------------------


def test_placing_gives_the_file_its_mtime_and_bit(world: World) -> None:
    name, finished = staged(world, b"data", is_executable=True)
    placed = drive(world.disk.place_staged(name, path("file")))
    assert placed == stat_of(world, "file")
    assert placed.same_file(finished)
    assert (placed.mtime_ns, placed.is_executable) == (MTIME_NS, True)
    assert world.user.tree() == {b"file": b"data"}
    assert drive(world.disk.stat_staged(name)) is None


def test_placing_on_a_taken_name_changes_nothing(world: World) -> None:
    world.user.write_file(b"file", b"mine")
    world.user.make_folder(b"folder")
    world.user.make_symlink(b"link", b"nowhere")
    name, _ = staged(world, b"theirs")
    for taken in ("file", "folder", "link"):
        with pytest.raises(NameTaken):
            drive(world.disk.place_staged(name, path(taken)))
    assert world.user.tree() == {b"file": b"mine", b"folder": None, b"link": b"nowhere"}
    assert drive(world.disk.stat_staged(name)) is not None


def test_placing_into_a_folder_that_is_gone_is_not_found(world: World) -> None:
    name, _ = staged(world, b"data")
    with pytest.raises(NotFound):
        drive(world.disk.place_staged(name, path("gone/file")))


def test_what_comes_into_a_folder_comes_into_that_one_alone(world: World) -> None:
    world.user.make_folder(b"folder")
    world.user.write_file(b"old", b"what moves")
    home = stat_of(world, "folder")
    name, _ = staged(world, b"data")
    drive(world.disk.place_staged(name, path("folder/file"), home))
    drive(world.disk.make_folder(path("folder/in"), home))
    drive(world.disk.move(path("old"), path("folder/old"), None, home))
    world.user.write_file(b"out", b"what was set aside")
    drive(world.disk.set_aside(path("out"), "m-1.out"))
    world.user.rename(b"folder", b"away")
    world.user.make_folder(b"folder")
    before = world.user.tree()
    name, _ = staged(world, b"data")
    for call in (
        world.disk.place_staged(name, path("folder/file"), home),
        world.disk.make_folder(path("folder/in"), home),
        world.disk.move(path("away/old"), path("folder/old"), None, home),
        world.disk.restore_staged("m-1.out", path("folder/out"), home=home),
    ):
        with pytest.raises(NotFound):
            drive(call)
    assert world.user.tree() == before
    assert drive(world.disk.stat_staged(name)) is not None


def test_placing_never_goes_through_a_symlink(world: World) -> None:
    world.user.make_folder(b"target")
    world.user.make_symlink(b"link", b"target")
    name, _ = staged(world, b"data")
    with pytest.raises(FileUnreadable):
        drive(world.disk.place_staged(name, path("link/file")))
    assert world.user.tree() == {b"link": b"target", b"target": None}


def test_an_exchange_swaps_and_tells_what_came_out(world: World) -> None:
    world.user.write_file(b"file", b"the old one")
    before = stat_of(world, "file")
    name, finished = staged(world, b"new")
    drive(world.disk.rename_staged(name, "x-1.file"))
    out, placed = drive(world.disk.exchange_staged("x-1.file", path("file")))
    assert out.same_file(before)
    assert placed is not None and placed.same_file(finished)
    assert stat_of(world, "file") == placed
    assert drive(world.disk.stat_staged("x-1.file")) == out
    assert world.user.tree() == {b"file": b"new"}
    assert world.user.everything() == {b"new", b"the old one"}


def test_an_exchange_with_nothing_is_not_found(world: World) -> None:
    name, _ = staged(world, b"new")
    drive(world.disk.rename_staged(name, "x-1.file"))
    with pytest.raises(NotFound):
        drive(world.disk.exchange_staged("x-1.file", path("gone")))
    assert drive(world.disk.stat_staged("x-1.file")) is not None


def test_a_move_keeps_identity_and_replaces_nothing(world: World) -> None:
    world.user.make_folder(b"folder")
    world.user.write_file(b"a", b"1")
    world.user.write_file(b"b", b"2")
    before = stat_of(world, "a")
    with pytest.raises(NameTaken):
        drive(world.disk.move(path("a"), path("b")))
    with pytest.raises(NotFound):
        drive(world.disk.move(path("a"), path("gone/a")))
    with pytest.raises(NotFound):
        drive(world.disk.move(path("gone"), path("c")))
    moved = drive(world.disk.move(path("a"), path("folder/c")))
    assert moved.same_file(before)
    assert moved == stat_of(world, "folder/c")
    assert world.user.tree() == {b"b": b"2", b"folder": None, b"folder/c": b"1"}


CHANGES = ("move", "exchange", "exchange_staged", "set_aside", "set_executable")


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_as_planned_is_left_alone(world: World, change: str) -> None:
    world.user.write_file(b"file", b"old")
    world.user.write_file(b"other", b"other")
    expected, other = stat_of(world, "file"), stat_of(world, "other")
    name, _ = staged(world, b"new")
    drive(world.disk.rename_staged(name, "x-1.file"))
    world.user.write_file(b"file", b"edited")
    before = world.user.tree()
    with pytest.raises(FileChanging):
        _change(world, change, expected, other)
    assert world.user.tree() == before
    seen = stat_of(world, "file")
    assert not seen.is_executable
    _change(world, change, seen, other)
    is_changed = stat_of(world, "file").is_executable if change == "set_executable" else world.user.tree() != before
    assert is_changed


def _change(world: World, change: str, expected: Stat, other: Stat) -> None:
    match change:
        case "move":
            drive(world.disk.move(path("file"), path("moved"), expected))
        case "exchange":
            drive(world.disk.exchange(path("file"), path("other"), (expected, other)))
        case "exchange_staged":
            drive(world.disk.exchange_staged("x-1.file", path("file"), expected))
        case "set_aside":
            drive(world.disk.set_aside(path("file"), "m-1.file", expected))
        case _:
            drive(world.disk.set_executable(path("file"), True, expected))


def test_a_folder_cannot_move_into_itself(world: World) -> None:
    world.user.make_folder(b"folder")
    world.user.make_folder(b"folder/in")
    with pytest.raises(Fault):
        drive(world.disk.move(path("folder"), path("folder/in/folder")))
    assert world.user.tree() == {b"folder": None, b"folder/in": None}


def test_two_names_change_places(world: World) -> None:
    world.user.make_folder(b"folder")
    world.user.write_file(b"folder/a", b"1")
    world.user.write_file(b"b", b"2")
    drive(world.disk.exchange(path("folder/a"), path("b")))
    assert world.user.tree() == {b"b": b"1", b"folder": None, b"folder/a": b"2"}
    drive(world.disk.exchange(path("folder"), path("b")))
    assert world.user.tree() == {b"b": None, b"b/a": b"2", b"folder": b"1"}
    with pytest.raises(NotFound):
        drive(world.disk.exchange(path("b"), path("gone")))


def test_an_exchange_is_done_though_a_user_deletes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world("disk", lambda where: str(tmp_path).encode())
    world.user.write_file(b"a", b"1")
    world.user.write_file(b"b", b"2")
    swap = LocalDisk._swap

    def swap_and_lose(*args: object, **more: object) -> None:
        swap(*args, **more)  # type: ignore[arg-type]
        world.user.delete(b"a")

    monkeypatch.setattr(LocalDisk, "_swap", swap_and_lose)
    at_one, at_other = drive(world.disk.exchange(path("a"), path("b")))
    assert at_one is None and at_other == stat_of(world, "b")
    assert world.user.tree() == {b"b": b"1"}


def test_folders_and_symlinks_are_made_at_free_names_only(world: World) -> None:
    made = drive(world.disk.make_folder(path("folder")))
    assert (made.kind, made.size) == (Kind.FOLDER, 0)
    link = drive(world.disk.make_symlink(path("folder/link"), b"../somewhere"))
    assert (link.kind, link.size) == (Kind.SYMLINK, len(b"../somewhere"))
    with pytest.raises(NameTaken):
        drive(world.disk.make_folder(path("folder")))
    with pytest.raises(NameTaken):
        drive(world.disk.make_symlink(path("folder/link"), b"x"))
    with pytest.raises(NotFound):
        drive(world.disk.make_folder(path("gone/folder")))
    assert world.user.tree() == {b"folder": None, b"folder/link": b"../somewhere"}


def test_a_staged_symlink_is_placed_like_a_file(world: World) -> None:
    name = drive(world.disk.stage_symlink(b"target"))
    stat = drive(world.disk.stat_staged(name))
    assert stat is not None and stat.kind == Kind.SYMLINK
    assert drive(world.disk.place_staged(name, path("link"))).same_file(stat)
    assert world.user.tree() == {b"link": b"target"}


def test_the_bit_changes_neither_bytes_nor_identity(world: World) -> None:
    world.user.write_file(b"file", b"data")
    before = stat_of(world, "file")
    on = drive(world.disk.set_executable(path("file"), True))
    assert on.is_executable and on.same_file(before) and on == stat_of(world, "file")
    off = drive(world.disk.set_executable(path("file"), False))
    assert not off.is_executable and off.same_file(before)
    with pytest.raises(NotFound):
        drive(world.disk.set_executable(path("gone"), True))


def test_the_bit_is_not_set_through_a_symlink(world: World) -> None:
    world.user.write_file(b"file", b"data")
    world.user.make_symlink(b"link", b"file")
    with pytest.raises(FileUnreadable):
        drive(world.disk.set_executable(path("link"), True))
    assert not stat_of(world, "file").is_executable


def test_a_new_file_at_an_old_inode_has_another_birth_time(world: World) -> None:
    world.user.write_file(b"file", b"data")
    before = stat_of(world, "file")
    world.user.delete(b"file")
    world.user.write_file(b"file", b"data")
    after = stat_of(world, "file")
    assert (after.inode, after.birth_ns) != (before.inode, before.birth_ns)
    assert not after.same_file(before)


def test_a_folder_that_is_gone_needs_no_sync(world: World) -> None:
    drive(world.disk.sync_folder(path("gone")))
    drive(world.disk.sync_folder(ROOT_PATH))


def test_the_volume_is_synced_whoever_wrote_to_it(world: World) -> None:
    world.user.write_file(b"file", b"data")
    drive(world.disk.sync_volume())
    assert world.user.tree() == {b"file": b"data"}


def test_free_bytes_are_told(world: World) -> None:
    assert drive(world.disk.free_bytes()) > 0
