"""The watcher on the real kernel: whatever happens to a folder, some hint covers it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import pytest

from satchel.device.ports import ROOT_PATH, Hint
from satchel.device.watcher.inotify import EVERYTHING, InotifyWatcher
from tests.support.scanned_root import ScanClock

WAIT_S = 20.0


@pytest.fixture(autouse=True, params=["with folders of ours", "without"])
def state_folder(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """By the folders in ours the watcher sees whether links count folders; without any, it lists every folder."""
    (tmp_path / "linked/.satchel").mkdir(parents=True)
    if request.param == "with folders of ours":
        (tmp_path / "linked/.satchel/staging").mkdir()
        (tmp_path / "linked/.satchel/trash").mkdir()


class Watch:
    """A started watcher and the hints that it gave so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.watcher = InotifyWatcher(os.fsencode(root), ScanClock())
        self.hints: list[Hint] = []

    def covers(self, path: str) -> bool:
        """Tell whether a hint asks to look at this path."""
        raw = path.encode()
        folder, _, name = raw.rpartition(b"/")
        return any(
            (hint.folder == folder and (hint.names is None or name in hint.names))
            or (hint.is_deep and (hint.folder == ROOT_PATH or raw.startswith(hint.folder + b"/")))
            for hint in self.hints
        )

    async def until(self, is_enough: Callable[[], bool]) -> None:
        """Gather hints until they are enough; a watcher that never gives them fails the test."""
        async with asyncio.timeout(WAIT_S):
            while not is_enough():
                self.hints += await self.watcher.next_hints(WAIT_S)

    async def until_covered(self, *paths: str) -> None:
        await self.until(lambda: all(self.covers(path) for path in paths))


def run(tmp_path: Path, story: Callable[[Watch], Awaitable[None]]) -> None:
    """Run a story with a watcher on an empty folder."""
    root = tmp_path / "linked"

    async def whole() -> None:
        watch = Watch(root)
        assert await watch.watcher.start()
        try:
            await story(watch)
        finally:
            await watch.watcher.stop()

    asyncio.run(whole())


def test_saved_file_is_hinted_by_its_name(tmp_path: Path) -> None:
    async def story(watch: Watch) -> None:
        (watch.root / "a").write_text("x")
        await watch.until_covered("a")
        assert watch.hints == [Hint(ROOT_PATH, frozenset((b"a",)))]

    run(tmp_path, story)


def test_both_names_of_a_rename_are_hinted(tmp_path: Path) -> None:
    (tmp_path / "linked/sub").mkdir(parents=True)
    (tmp_path / "linked/a").write_text("x")

    async def story(watch: Watch) -> None:
        (watch.root / "a").rename(watch.root / "sub/b")
        await watch.until_covered("a", "sub/b")

    run(tmp_path, story)


@pytest.mark.parametrize("deed", ["delete", "chmod", "link", "symlink", "append", "move in", "move out", "save dance"])
def test_each_deed_is_hinted(tmp_path: Path, deed: str) -> None:
    (tmp_path / "linked/sub").mkdir(parents=True)
    (tmp_path / "linked/sub/a").write_text("x")
    (tmp_path / "outside").write_text("x")

    async def story(watch: Watch) -> None:
        path = watch.root / "sub/a"
        match deed:
            case "delete":
                path.unlink()
            case "chmod":
                path.chmod(0o755)
            case "link":
                os.link(path, watch.root / "sub/b")
            case "symlink":
                (watch.root / "sub/b").symlink_to("a")
            case "append":
                with path.open("a") as file:
                    file.write("y")
            case "move in":
                (tmp_path / "outside").rename(watch.root / "sub/b")
            case "move out":
                path.rename(tmp_path / "elsewhere")
            case _:
                path.rename(watch.root / "sub/b")
                path.write_text("new")
        await watch.until_covered("sub/b" if deed in ("link", "symlink", "move in", "save dance") else "sub/a")

    run(tmp_path, story)


def test_file_saved_in_a_renamed_folder_has_its_new_path(tmp_path: Path) -> None:
    (tmp_path / "linked/a/deep").mkdir(parents=True)

    async def story(watch: Watch) -> None:
        before = watch.watcher.status_line
        (watch.root / "a").rename(watch.root / "b")
        await watch.until_covered("a", "b")
        (watch.root / "b/deep/f").write_text("x")
        await watch.until_covered("b/deep/f")
        assert watch.watcher.status_line == before

    run(tmp_path, story)


def test_what_was_told_of_a_folder_is_told_again_where_it_goes(tmp_path: Path) -> None:
    """The soak, seed 81: a folder went out for a moment, got files there, and came back before anybody had looked at
    where it was; it is the one that is known at its place, and nobody looked into it."""
    (tmp_path / "linked/a/deep").mkdir(parents=True)

    async def story(watch: Watch) -> None:
        (watch.root / "a").rename(watch.root / "b")
        (watch.root / "b/deep/f").write_text("x")
        (watch.root / "b/g").write_text("x")
        await watch.until_covered("b/deep/f", "b/g")
        watch.hints = []
        (watch.root / "b").rename(watch.root / "a")
        await watch.until_covered("a/deep/f", "a/g")
        watch.hints = []
        (watch.root / "a/deep").rename(watch.root / "c")
        await watch.until_covered("c/f")
        assert not watch.covers("a/g") and not watch.covers("c/g")

    run(tmp_path, story)


def test_files_made_before_their_folder_was_watched_are_found(tmp_path: Path) -> None:
    async def story(watch: Watch) -> None:
        choice = random.Random(7)
        paths = []
        for number in range(300):
            folder = "/".join(choice.choice("abcdef") + "x" for _ in range(choice.randrange(1, 6)))
            (watch.root / folder).mkdir(parents=True, exist_ok=True)
            (watch.root / folder / f"f{number}").write_text("x")
            paths.append(f"{folder}/f{number}")
        await watch.until_covered(*paths)

    run(tmp_path, story)


def test_new_folder_is_watched(tmp_path: Path) -> None:
    async def story(watch: Watch) -> None:
        (watch.root / "a/b").mkdir(parents=True)
        await watch.until_covered("a", "a/b")
        watch.hints = []
        (watch.root / "a/b/f").write_text("x")
        await watch.until_covered("a/b/f")

    run(tmp_path, story)


def test_folder_made_in_one_that_had_none_is_watched(tmp_path: Path) -> None:
    (tmp_path / "linked/a/none").mkdir(parents=True)
    (tmp_path / "linked/a/some/b").mkdir(parents=True)

    async def story(watch: Watch) -> None:
        assert watch.watcher.status_line == "Watching 5 folders."
        (watch.root / "a/none/new").mkdir()
        await watch.until_covered("a/none/new")
        watch.hints = []
        for name in ("a/none/new/f", "a/none/f", "a/some/b/f"):
            (watch.root / name).write_text("x")
        await watch.until_covered("a/none/new/f", "a/none/f", "a/some/b/f")

    run(tmp_path, story)


def test_folder_moved_in_is_looked_into_and_watched(tmp_path: Path) -> None:
    (tmp_path / "outside/sub").mkdir(parents=True)

    async def story(watch: Watch) -> None:
        (tmp_path / "outside").rename(watch.root / "in")
        await watch.until_covered("in", "in/sub/anything")
        watch.hints = []
        (watch.root / "in/sub/f").write_text("x")
        await watch.until_covered("in/sub/f")

    run(tmp_path, story)


def test_folder_moved_out_is_not_watched_any_more(tmp_path: Path) -> None:
    (tmp_path / "linked/a/b").mkdir(parents=True)

    async def story(watch: Watch) -> None:
        assert watch.watcher.status_line == "Watching 3 folders."
        (watch.root / "a").rename(tmp_path / "out")
        await watch.until_covered("a")
        (watch.root / "later").write_text("x")
        await watch.until_covered("later")
        assert watch.watcher.status_line == "Watching 1 folders."

    run(tmp_path, story)


def test_folder_moved_out_and_back_in_is_still_watched(tmp_path: Path) -> None:
    (tmp_path / "linked/a/b").mkdir(parents=True)

    async def story(watch: Watch) -> None:
        (watch.root / "a").rename(tmp_path / "out")
        (tmp_path / "out").rename(watch.root / "a")
        await watch.until_covered("a", "a/b/anything")
        (watch.root / "other").write_text("x")
        await watch.until_covered("other")
        watch.hints = []
        (watch.root / "a/b/f").write_text("x")
        await watch.until_covered("a/b/f")

    run(tmp_path, story)


def test_deleted_tree_is_hinted_from_above(tmp_path: Path) -> None:
    (tmp_path / "linked/a/b").mkdir(parents=True)
    (tmp_path / "linked/a/b/f").write_text("x")

    async def story(watch: Watch) -> None:
        shutil.rmtree(watch.root / "a")
        await watch.until_covered("a")

    run(tmp_path, story)


def churn(root: Path, chance: random.Random) -> None:
    """Make, rename, swap and delete folders, under few names, faster than anybody reads of it."""
    for _ in range(60):
        folders = [root, *below(root)]
        where = chance.choice(folders)
        one, other = (where / chance.choice("abc") for _ in range(2))
        with contextlib.suppress(OSError):
            match chance.randrange(6):
                case 0 | 1:
                    one.mkdir()
                case 2:
                    one.rename(chance.choice(folders) / other.name)
                case 3:
                    one.rename(where / "aside")
                    other.rename(one)
                case 4:
                    shutil.rmtree(one)
                case _:
                    one.mkdir()
                    one.rename(other)
                    one.mkdir()


def below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_dir() and ".satchel" not in path.parts]


@pytest.mark.parametrize("seed", range(4))
def test_folders_whose_names_were_used_several_times_in_a_moment_are_all_watched(tmp_path: Path, seed: int) -> None:
    """The event of the first one is read when another has its name."""

    async def story(watch: Watch) -> None:
        chance = random.Random(seed)
        for number in range(3):
            await asyncio.to_thread(churn, watch.root, chance)
            (watch.root / f"end {number}").write_text("x")
            await watch.until_covered(f"end {number}")
            while more := await watch.watcher.next_hints(1.0):
                watch.hints += more
            watch.hints = []
            files = [folder / f"file {number}" for folder in (watch.root, *below(watch.root))]
            for file in files:
                file.write_text("x")
            await watch.until_covered(*(str(file.relative_to(watch.root)) for file in files))

    run(tmp_path, story)


def test_state_folder_is_silent(tmp_path: Path) -> None:
    async def story(watch: Watch) -> None:
        (watch.root / ".satchel/staged").write_text("x")
        (watch.root / "last").write_text("x")
        await watch.until_covered("last")
        assert watch.hints == [Hint(ROOT_PATH, frozenset((b"last",)))]

    run(tmp_path, story)


def test_new_file_renamed_over_a_document_is_hinted(tmp_path: Path) -> None:
    async def story(watch: Watch) -> None:
        (watch.root / ".goutputstream-ABC123").write_text("x")
        (watch.root / ".goutputstream-ABC123").rename(watch.root / "doc")
        await watch.until_covered("doc")

    run(tmp_path, story)


def test_full_queue_asks_for_a_full_look_and_watches_what_it_hid(tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())

    async def story(watch: Watch) -> None:
        # The reading thread is held after its first read, so the kernel's queue runs over whatever that read took.
        go_on, feed = threading.Event(), watch.watcher.feed

        def held(events: Iterable[tuple[int, int, int, bytes]]) -> None:
            taken = list(events)
            go_on.wait(WAIT_S)
            feed(taken)

        watch.watcher.feed = held  # type: ignore[method-assign]
        for number in range(limit):
            os.close(os.open(watch.root / f"f{number % 50}", os.O_WRONLY | os.O_CREAT))
            os.unlink(watch.root / f"f{number % 50}")
        (watch.root / "hidden").mkdir()
        go_on.set()
        await watch.until(lambda: EVERYTHING in watch.hints)
        watch.hints = []
        (watch.root / "hidden/f").write_text("x")
        await watch.until_covered("hidden/f")

    run(tmp_path, story)


def test_missing_root_asks_for_a_full_look(tmp_path: Path) -> None:
    async def story(watch: Watch) -> None:
        watch.root.rename(tmp_path / "elsewhere")
        await watch.until(lambda: EVERYTHING in watch.hints)

    run(tmp_path, story)


def test_no_hint_is_an_empty_answer_at_the_timeout(tmp_path: Path) -> None:
    async def story(watch: Watch) -> None:
        assert await watch.watcher.next_hints(0.01) == []

    run(tmp_path, story)


SHORT_OF_WATCHES = """
import asyncio, os, sys
from pathlib import Path
Path("/proc/sys/user/max_inotify_watches").write_text("5")
from satchel.device.watcher.inotify import InotifyWatcher
from tests.support.scanned_root import ScanClock
async def main():
    watcher = InotifyWatcher(os.fsencode(sys.argv[1]), ScanClock())
    is_whole = await watcher.start()
    Path(sys.argv[1], "f").write_text("x")
    hints = await watcher.next_hints(20)
    print(is_whole, watcher.is_degraded, hints[0].names, watcher.status_line, sep="|")
    await watcher.stop()
asyncio.run(main())
"""


def test_too_few_watches_say_which_setting_to_raise_and_go_on(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"linked/{number}").mkdir(parents=True)
    # A user namespace has a limit of its own, so the machine's is not touched.
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", SHORT_OF_WATCHES, str(tmp_path / "linked")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.stdout.startswith("False|True|frozenset({b'f'})|Not all folders can be watched: "), done.stderr
    assert "sysctl fs.inotify.max_user_watches=" in done.stdout
