"""Two devices, one service, all real: what a person does in one folder is in the other, exactly, and nothing is lost.

One pair of devices serves all scenarios of a module run; each works in a folder of its own. The service is the embedded
server, or what `--service` names.
"""

import os
import shutil
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.devices import Device, device, wait_for, wait_until_equal
from tests.support.service import RunningService
from tests.support.trees import tree_of

MEMBERS = 50
SPARSE_BYTES = 96_000_000
MANY = 1_000


@dataclass(frozen=True, slots=True)
class Pair:
    """Two devices of one account."""

    server: RunningService
    laptop: Device
    desk: Device

    def settle(self, below: str = "") -> None:
        wait_until_equal([self.laptop, self.desk], below=below)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, service: RunningService) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("first-light")
    here, there = service.add_user("ann")
    with device(folder, "laptop", here) as laptop, device(folder, "desk", there) as desk:
        yield Pair(service, laptop, desk)


@pytest.fixture
def pair(running: Pair) -> Iterator[Pair]:
    yield running
    # A scenario that failed half way leaves both daemons and the server running for the next.
    if not running.server.is_running:
        running.server.start()
    for one in (running.laptop, running.desk):
        if one.process is None:
            one.start()


@pytest.fixture
def place(pair: Pair, request: pytest.FixtureRequest) -> str:
    """A folder that both devices have, for this scenario alone."""
    name = request.node.name.replace("test_", "")[:60]
    (pair.laptop.folder / name).mkdir()
    wait_for((pair.desk.folder / name).is_dir, "a new folder does not arrive")
    return name


def in_both(pair: Pair, place: str) -> tuple[Path, Path]:
    return pair.laptop.folder / place, pair.desk.folder / place


def test_every_kind_of_thing_arrives_exactly(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    (here / "plain.txt").write_text("hello")
    (here / "empty.txt").write_bytes(b"")
    (here / "program").write_text("#!/bin/sh\n")
    (here / "program").chmod(0o755)
    (here / "empty folder" / "deeper").mkdir(parents=True)
    (here / "link").symlink_to("plain.txt")
    (here / "dangling").symlink_to("../nowhere/at all")
    (here / "large.bin").write_bytes(os.urandom(5_000_000))
    old = pair.laptop.home / "old.txt"
    old.write_text("written long ago")
    os.utime(old, ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    old.rename(here / "old.txt")
    pair.settle(place)
    assert tree_of(there) == tree_of(here)
    assert len(tree_of(there)) == 9
    assert (there / "old.txt").stat().st_mtime_ns == 1_600_000_000_123_456_789


def test_many_small_files_arrive_both_ways(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    for number in range(MANY):
        folder = (here if number % 2 else there) / f"{number % 2}-{number % 20}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.txt").write_text(f"file {number}\n" * (number % 50))
    pair.settle(place)
    assert len([path for path in tree_of(here) if path.endswith(b".txt")]) == MANY


@pytest.mark.parametrize("edit", ["insert at the head", "overwrite in the middle", "append", "cut short"])
def test_an_edit_arrives(pair: Pair, place: str, edit: str) -> None:
    here, there = in_both(pair, place)
    data = os.urandom(3_000_000)
    (here / "book.bin").write_bytes(data)
    pair.settle(place)
    changed = {
        "insert at the head": b"new beginning" + data,
        "overwrite in the middle": data[:1_500_000] + b"x" * 1_000 + data[1_501_000:],
        "append": data + b"the end",
        "cut short": data[:1_000_000],
    }[edit]
    (here / "book.bin").write_bytes(changed)
    pair.settle(place)
    assert (there / "book.bin").read_bytes() == changed


def test_a_sparse_file_arrives_with_its_holes_and_keeps_them_over_an_edit(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    with (here / "disk.img").open("wb") as file:
        file.truncate(SPARSE_BYTES)
        for part in range(4):
            file.seek(part * SPARSE_BYTES // 4 + 12_345)
            file.write(os.urandom(200_000))
    pair.settle(place)
    assert (there / "disk.img").read_bytes() == (here / "disk.img").read_bytes()
    assert (there / "disk.img").stat().st_blocks * 512 < SPARSE_BYTES // 8
    with (here / "disk.img").open("r+b") as file:
        file.seek(SPARSE_BYTES // 2)
        file.write(b"an edit")
    pair.settle(place)
    assert (there / "disk.img").read_bytes() == (here / "disk.img").read_bytes()
    assert (there / "disk.img").stat().st_blocks * 512 < SPARSE_BYTES // 8


def test_renames_and_moves_of_files_and_folders_arrive(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    (here / "one" / "deep").mkdir(parents=True)
    (here / "one" / "deep" / "a.txt").write_text("a")
    (here / "b.txt").write_text("b")
    (here / "two").mkdir()
    pair.settle(place)
    (here / "b.txt").rename(here / "two" / "c.txt")
    (here / "one").rename(here / "two" / "uno")
    pair.settle(place)
    assert sorted(tree_of(there)) == [b"two", b"two/c.txt", b"two/uno", b"two/uno/deep", b"two/uno/deep/a.txt"]


def test_a_swap_of_two_names_arrives(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    (here / "a").write_text("was a")
    (here / "b").write_text("was b")
    pair.settle(place)
    (here / "a").rename(here / "t")
    (here / "b").rename(here / "a")
    (here / "t").rename(here / "b")
    pair.settle(place)
    assert ((there / "a").read_text(), (there / "b").read_text()) == ("was b", "was a")


def test_a_copied_folder_arrives(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    (here / "original").mkdir()
    (here / "original" / "x.bin").write_bytes(os.urandom(700_000))
    pair.settle(place)
    # Without the times: a file may be committed before its time is set, and a change of the time alone is no commit.
    shutil.copytree(here / "original", here / "copy", copy_function=shutil.copyfile)
    pair.settle(place)
    assert (there / "copy" / "x.bin").read_bytes() == (there / "original" / "x.bin").read_bytes()


def test_a_deleted_tree_of_fifty_files_is_gone_there_too(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    for number in range(MEMBERS):
        (here / "tree" / str(number % 5)).mkdir(parents=True, exist_ok=True)
        (here / "tree" / str(number % 5) / f"{number}").write_text(f"{place} {number}")
    pair.settle(place)
    shutil.rmtree(here / "tree")
    pair.settle(place)
    assert tree_of(there) == {}


def test_a_folder_of_files_saved_one_by_one_is_gone_when_it_is_deleted_there(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    (here / "letters").mkdir()
    for number in range(4):
        # Each alone, so each is read within a moment of being written. To settle would be to look at it once more.
        (here / "letters" / f"{number}").write_text(f"{place} {number}")
        wait_for((there / "letters" / f"{number}").is_file, "a file does not arrive")
    shutil.rmtree(there / "letters")
    wait_for(lambda: not (here / "letters").exists(), "a folder does not go")
    pair.settle(place)
    assert tree_of(here) == {}


def test_odd_names_arrive_byte_for_byte(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    names = [
        "with  two spaces.txt",
        " leading and trailing ",
        "emoji 🧳🇫🇷.txt",
        unicodedata.normalize("NFC", "café crème.txt"),
        unicodedata.normalize("NFD", "naïve äöü.txt"),
        "quote'\"back\\slash`$(x);&|.txt",
        "line\nbreak.txt",
        "日本語のファイル.txt",
        "x" * 251 + ".txt",
        "é" * 127 + "y",
        "-rf",
        "~tilde",
        "...",
    ]
    for name in names:
        (here / name).write_text(name)
    pair.settle(place)
    assert sorted(os.listdir(os.fsencode(there))) == sorted(name.encode() for name in names)


def test_an_editors_save_is_an_edit_of_the_same_file(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    (here / "novel.txt").write_text("first")
    pair.settle(place)
    (here / ".novel.new").write_text("second")
    (here / ".novel.new").rename(here / "novel.txt")
    pair.settle(place)
    assert {path: (there / os.fsdecode(path)).read_text() for path in tree_of(there)} == {b"novel.txt": "second"}
    versions = pair.laptop.cli("versions", f"/{place}/novel.txt", "--json").json()
    assert isinstance(versions, list)
    assert len(versions) == 2


def test_a_file_that_becomes_a_folder_arrives_as_one(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    (here / "thing").write_text("a file")
    pair.settle(place)
    (here / "thing").unlink()
    (here / "thing").mkdir()
    (here / "thing" / "inside").write_text("now a folder")
    pair.settle(place)
    assert (there / "thing" / "inside").read_text() == "now a folder"


def test_the_executable_bit_alone_arrives(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    (here / "tool").write_text("#!/bin/sh\n")
    pair.settle(place)
    (here / "tool").chmod(0o755)
    pair.settle(place)
    assert os.access(there / "tool", os.X_OK)


def test_changes_on_both_while_one_daemon_is_stopped_are_merged(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    for name in ("edit.txt", "gone.txt", "move.txt"):
        (here / name).write_text(f"{place} {name}")
    pair.settle(place)
    pair.desk.stop()
    (there / "new there").mkdir()
    (there / "new there" / "x").write_text("x")
    (there / "move.txt").rename(there / "new there" / "moved.txt")
    (here / "edit.txt").write_text("edited here")
    (here / "gone.txt").unlink()
    assert pair.laptop.wait_in_sync().state == "in_sync"
    pair.desk.start()
    pair.settle(place)
    assert sorted(tree_of(here)) == [b"edit.txt", b"new there", b"new there/moved.txt", b"new there/x"]
    assert (there / "edit.txt").read_text() == "edited here"


def test_changes_on_both_while_the_server_is_down_are_merged(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    pair.server.stop()
    (here / "from laptop").write_text("1")
    (there / "from desk").write_text("2")
    wait_for(lambda: pair.laptop.status().state == "offline", "the laptop does not notice that the server is gone")
    assert pair.laptop.cli("status").code == 12
    pair.server.start()
    pair.settle(place)
    assert sorted(tree_of(here)) == [b"from desk", b"from laptop"]


def test_both_edit_one_file_offline_and_both_contents_are_on_both(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    (here / "plan.txt").write_text("base")
    pair.settle(place)
    pair.desk.stop()
    (there / "plan.txt").write_text("the desk's plan")
    (here / "plan.txt").write_text("the laptop's plan")
    assert pair.laptop.wait_in_sync().state == "in_sync"
    pair.desk.start()
    pair.settle(place)
    found = {os.fsdecode(path): (here / os.fsdecode(path)).read_text() for path in tree_of(here)}
    copies = [name for name in found if name.startswith("plan (desk's conflicted copy ") and name.endswith(").txt")]
    assert (len(found), len(copies)) == (2, 1)
    assert found["plan.txt"] == "the laptop's plan"
    assert found[copies[0]] == "the desk's plan"


def test_equal_edits_of_both_make_no_conflicted_copy(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    (here / "plan.txt").write_text("base")
    pair.settle(place)
    pair.desk.stop()
    for folder in (here, there):
        for name in ("plan.txt", "new.txt"):
            (folder / name).write_text("the same thought")
            # A time alone is no change that travels, so the test has to make the times equal too.
            os.utime(folder / name, ns=(10**18, 10**18))
    assert pair.laptop.wait_in_sync().state == "in_sync"
    pair.desk.start()
    pair.settle(place)
    assert sorted(tree_of(here)) == [b"new.txt", b"plan.txt"]


def test_deleted_here_and_edited_there_keeps_the_edit(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    (here / "letter.txt").write_text("base")
    pair.settle(place)
    pair.desk.stop()
    (there / "letter.txt").write_text("edited at the desk")
    (here / "letter.txt").unlink()
    assert pair.laptop.wait_in_sync().state == "in_sync"
    pair.desk.start()
    pair.settle(place)
    assert (here / "letter.txt").read_text() == "edited at the desk"


def test_many_deletions_at_once_are_held_until_a_person_allows_them(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    (here / "much").mkdir()
    count = 2 * MANY
    for number in range(count):
        (here / "much" / str(number)).write_text(str(number))
    pair.settle(place)
    shutil.rmtree(here / "much")
    assert pair.laptop.wait_in_sync().state == "attention"
    told = pair.laptop.cli("status")
    assert told.code == 11
    assert "held allow" in told.out
    assert len(list((there / "much").iterdir())) == count
    assert pair.laptop.cli("held", "allow").code == 0
    pair.settle(place)
    assert tree_of(there) == {}


def test_held_deletions_that_are_undone_come_back(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    (here / "much").mkdir()
    count = 2 * MANY
    for number in range(count):
        (here / "much" / str(number)).write_text(str(number))
    pair.settle(place)
    shutil.rmtree(here / "much")
    assert pair.laptop.wait_in_sync().state == "attention"
    assert pair.laptop.cli("held", "undo").code == 0
    pair.settle(place)
    assert len(list((here / "much").iterdir())) == count
    assert tree_of(there) == tree_of(here)


def test_a_linked_folder_that_is_gone_halts_and_deletes_nothing(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    (here / "precious.txt").write_text("precious")
    pair.settle(place)
    aside = pair.laptop.folder.with_name("laptop-unmounted")
    pair.laptop.folder.rename(aside)
    pair.laptop.folder.mkdir()
    wait_for(lambda: pair.laptop.wait_in_sync(1).state == "halted", "an unmounted folder does not halt the link")
    assert pair.laptop.cli("status").code == 13
    assert (there / "precious.txt").read_text() == "precious"
    pair.laptop.folder.rmdir()
    aside.rename(pair.laptop.folder)
    assert pair.laptop.cli("resume").code == 0
    pair.settle(place)
    assert (there / "precious.txt").read_text() == "precious"


def test_pausing_keeps_changes_back_until_resumed(pair: Pair, place: str) -> None:
    here, there = in_both(pair, place)
    assert pair.laptop.cli("pause").code == 0
    (here / "later.txt").write_text("later")
    (there / "meanwhile.txt").write_text("meanwhile")
    pair.desk.wait_in_sync()
    assert not (there / "later.txt").exists()
    assert pair.laptop.cli("resume").code == 0
    pair.settle(place)
    assert sorted(tree_of(there)) == [b"later.txt", b"meanwhile.txt"]
