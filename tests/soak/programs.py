"""Programs at work in a folder of their own. Each goes on with what it finds, from whichever device it came.

A program finds fault by itself where it can: a repository that does not pass its own check, a database that is not
whole. What it leaves is what must stand on every device.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import sqlite3
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.soak.savers import saved, text

Program = Callable[[Path, random.Random], None]
COMMAND_S_MAX = 60
_AUTHOR = ("-c", "user.name=ann", "-c", "user.email=ann@example.org", "-c", "gc.auto=0")


class Unsound(AssertionError):
    """A program found what it had left on another device not whole."""


def _git(place: Path, *arguments: str, may_fail: bool = False) -> str:
    done = subprocess.run(
        ["git", *_AUTHOR, *arguments], cwd=place, timeout=COMMAND_S_MAX, capture_output=True, text=True, check=False
    )
    if done.returncode and not may_fail:
        raise Unsound(f"git {' '.join(arguments)}: {done.stdout[-500:]} {done.stderr[-500:]}")
    return done.stdout


def repository(place: Path, chance: random.Random) -> None:
    """Commits, branches, merges, rebases, stashes, and now and then everything packed anew."""
    if not (place / ".git").exists():
        _git(place, "init", "-q", "-b", "main")
        (place / "README").write_bytes(text(chance))
        _git(place, "add", ".")
        _git(place, "commit", "-qm", "first")
    _git(place, "fsck", "--no-dangling", "--strict")
    if left := _git(place, "status", "--porcelain"):
        raise Unsound(f"what was committed is not what stands there: {left[:500]}")
    for _ in range(chance.randrange(1, 6)):
        branch = f"b{chance.getrandbits(32):x}"
        _git(place, "checkout", "-qb", branch)
        for _ in range(chance.randrange(1, 4)):
            _change_sources(place, chance)
            _git(place, "add", "-A")
            _git(place, "commit", "-qm", branch, "--allow-empty")
        match chance.randrange(4):
            case 0:
                _git(place, "checkout", "-q", "main")
                _git(place, "merge", "-q", "--no-ff", "-m", "merged", branch)
            case 1:
                _git(place, "checkout", "-q", "main")
            case 2:
                _git(place, "branch", "-qf", "main", branch)
            case _:
                (place / "README").write_bytes(text(chance))
                _git(place, "stash", "-q")
                _git(place, "checkout", "-q", "main")
                _git(place, "stash", "drop", "-q")
    if chance.random() < 0.3:
        _git(place, "gc", "-q", "--prune=now")


def _change_sources(place: Path, chance: random.Random) -> None:
    for _ in range(chance.randrange(1, 12)):
        source = place / f"src/{chance.choice('abc')}/{chance.randrange(8)}.py"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(text(chance))
    if chance.random() < 0.3:
        shutil.rmtree(place / f"src/{chance.choice('abc')}", ignore_errors=True)
        (place / "src").mkdir(exist_ok=True)
        (place / "src/keep").touch()


def database(place: Path, chance: random.Random) -> None:
    """A database in use, with its journal or its write-ahead log beside it."""
    with closing(sqlite3.connect(place / "app.db", timeout=20)) as opened:
        found = opened.execute("PRAGMA integrity_check").fetchall()
        if found != [("ok",)]:
            raise Unsound(f"the database is not whole: {found[:3]}")
        opened.execute(f"PRAGMA journal_mode={chance.choice(('wal', 'delete', 'truncate', 'persist'))}")
        opened.execute("CREATE TABLE IF NOT EXISTS t (x BLOB)")
        for _ in range(chance.randrange(1, 60)):
            with opened:
                opened.execute("INSERT INTO t VALUES (?)", (chance.randbytes(chance.randrange(3_000)),))
                if chance.random() < 0.1:
                    opened.execute("DELETE FROM t WHERE rowid % 3 = 0")
            time.sleep(chance.random() * 0.05)
        if chance.random() < 0.2:
            opened.execute("VACUUM")


def logs(place: Path, chance: random.Random) -> None:
    """A log that is written on and rotated: each number goes one up, the last one away."""
    for _ in range(chance.randrange(1, 5)):
        with (place / "app.log").open("ab", buffering=0) as opened:
            for _ in range(chance.randrange(1, 15)):
                opened.write(text(chance))
                time.sleep(chance.random() * 0.1)
        for number in reversed(range(1, 5)):
            if (place / f"app.log.{number}").exists():
                os.replace(place / f"app.log.{number}", place / f"app.log.{number + 1}")
        os.rename(place / "app.log", place / "app.log.1")


def archives(place: Path, chance: random.Random) -> None:
    """Packed, deleted, unpacked over what is left; times and bits come from the archive."""
    tree = place / "tree"
    if not tree.exists():
        _grow(tree, chance, 40)
    packed = place / "tree.tar"
    if chance.random() < 0.5:
        with tarfile.open(packed, "w") as opened:
            opened.add(tree, "tree")
        _thin(tree, chance, 0.5)
        with tarfile.open(packed) as opened:
            opened.extractall(place, filter="tar")
    else:
        with zipfile.ZipFile(place / "tree.zip", "w") as opened_zip:
            for path in sorted(tree.rglob("*")):
                opened_zip.write(path, path.relative_to(place))
        shutil.rmtree(tree)
        with zipfile.ZipFile(place / "tree.zip") as opened_zip:
            opened_zip.extractall(place)
    _grow(tree, chance, 5)


def _grow(tree: Path, chance: random.Random, files: int) -> None:
    for _ in range(files):
        path = tree / "/".join(f"d{chance.randrange(3)}" for _ in range(chance.randrange(4)))
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{chance.getrandbits(32):x}.txt").write_bytes(text(chance))


def _thin(tree: Path, chance: random.Random, share: float) -> None:
    for path in sorted(tree.rglob("*.txt")):
        if chance.random() < share:
            path.unlink()


def trees(place: Path, chance: random.Random) -> None:
    """Whole folders copied, moved, swapped, deleted, and made again under the same names."""
    names = [place / name for name in "abcd"]
    for _ in range(chance.randrange(1, 8)):
        one, other = chance.sample(names, 2)
        match chance.randrange(7):
            case 0:
                _grow(one, chance, 12)
            case 1 if one.exists():
                shutil.copytree(one, other, dirs_exist_ok=True)
            case 2 if one.exists() and not other.exists():
                os.rename(one, other)
            case 3 if one.exists() and other.exists():
                os.rename(one, place / "aside")
                os.rename(other, one)
                os.rename(place / "aside", other)
            case 4 if one.exists():
                shutil.rmtree(one)
                _grow(one, chance, 6)
            case 5 if one.exists() and other.exists():
                os.rename(one, other / f"in {chance.getrandbits(16):x}")
            case 6:
                deep = one / "x/y/z"
                deep.mkdir(parents=True, exist_ok=True)
                (deep / "f.txt").write_bytes(text(chance))
                os.rename(one / "x", one / f"x{chance.getrandbits(16):x}")
            case _:
                _grow(one, chance, 2)
        time.sleep(chance.choice((0, 0, 0.05, 0.6)))
    for path in names:
        if sum(1 for _ in path.rglob("*")) > 300:
            shutil.rmtree(path)


def downloads(place: Path, chance: random.Random) -> None:
    """Files that grow for a while and get their name at the end; some are given up."""
    for _ in range(chance.randrange(1, 4)):
        name = place / f"film {chance.randrange(5)}.mkv"
        part = name.with_name(f"{name.name}.part")
        with part.open("wb", buffering=0) as opened:
            for _ in range(chance.randrange(1, 12)):
                opened.write(chance.randbytes(chance.randrange(600_000)))
                time.sleep(chance.random() * 0.15)
        if chance.random() < 0.2:
            part.unlink()
        else:
            os.replace(part, name)


def large(place: Path, chance: random.Random) -> None:
    """A large file, changed here and there: a few bytes, a hole, an end cut off, an end that grows."""
    path = place / "disk.img"
    if not path.exists():
        path.write_bytes(chance.randbytes(6_000_000))
    for _ in range(chance.randrange(1, 6)):
        size = path.stat().st_size
        with path.open("r+b") as opened:
            match chance.randrange(4):
                case 0:
                    opened.seek(chance.randrange(size))
                    opened.write(chance.randbytes(1_000))
                case 1:
                    opened.truncate(max(1_000_000, size - chance.randrange(2_000_000)))
                case 2:
                    opened.truncate(min(20_000_000, size + chance.randrange(2_000_000)))
                case _:
                    opened.seek(0, os.SEEK_END)
                    opened.write(chance.randbytes(300_000))
        time.sleep(chance.random() * 0.5)


def names(place: Path, chance: random.Random) -> None:
    """Names that are hard: in another case, with marks, long, with what other systems forbid, swapped in circles."""
    hard = ["Größe.txt", "cafe\u0301.txt", "日本語.txt", "x" * 200 + ".txt", " both ends ", "what?.txt", "🗄.txt", "-rf"]
    for _ in range(chance.randrange(1, 12)):
        path = place / chance.choice(hard)
        match chance.randrange(5):
            case 0 | 1:
                path.write_bytes(text(chance))
            case 2 if path.exists():
                aside = place / f"aside {chance.getrandbits(16):x}"
                os.rename(path, aside)
                os.rename(aside, path.with_name(path.name.upper()))
                os.rename(path.with_name(path.name.upper()), path)
            case 3:
                _turn([item for item in sorted(place.iterdir()) if item.is_file()][: chance.randrange(2, 5)])
            case _:
                path.unlink(missing_ok=True)
        time.sleep(chance.choice((0, 0.02, 0.4)))


def _turn(circle: list[Path]) -> None:
    """Give each the name of the next, the last one that of the first."""
    if len(circle) < 2:
        return
    aside = circle[0].with_name("aside")
    os.rename(circle[-1], aside)
    for one, following in reversed(list(itertools.pairwise(circle))):
        os.rename(one, following)
    os.rename(aside, circle[0])


def photos(place: Path, chance: random.Random) -> None:
    """A card is read in, with the camera's times; then all are numbered anew, or sorted into folders."""
    for _ in range(chance.randrange(5, 40)):
        path = place / f"IMG_{chance.randrange(10_000):04}.JPG"
        path.write_bytes(chance.randbytes(chance.randrange(1, 60_000)))
        taken_s = 1_500_000_000 + chance.randrange(10_000_000)
        os.utime(path, (taken_s, taken_s))
    match chance.randrange(3):
        case 0:
            for number, path in reversed(list(enumerate(sorted(place.glob("IMG_*.JPG")), 1))):
                aside = place / f"trip {number:03}.jpg"
                os.replace(path, aside)
        case 1:
            for path in sorted(place.glob("*.*")):
                month = place / f"2017-{chance.randrange(1, 13):02}"
                month.mkdir(exist_ok=True)
                os.replace(path, month / path.name)
        case _:
            pass
    if sum(1 for _ in place.rglob("*")) > 300:
        shutil.rmtree(chance.choice([item for item in place.iterdir() if item.is_dir()] or [place / "none"]), True)
        _thin_to(place, 100)


def _thin_to(place: Path, most: int) -> None:
    for path in [item for item in sorted(place.rglob("*")) if item.is_file()][most:]:
        path.unlink()


def builds(place: Path, chance: random.Random) -> None:
    """A build: many small files, most of them deleted and made again."""
    out = place / "build"
    if chance.random() < 0.5:
        shutil.rmtree(out, ignore_errors=True)
    for number in range(chance.randrange(10, 80)):
        folder = out / f"o{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / f"{number}.o"
        made.write_bytes(chance.randbytes(chance.randrange(4_000)))
        if chance.random() < 0.2:
            made.chmod(0o755)
    (out / "o0/lib.so").unlink(missing_ok=True)
    (out / "o0/lib.so").symlink_to(f"0.o.{chance.randrange(3)}")


def packages(place: Path, chance: random.Random) -> None:
    """Packages as installers put them: made beside, the old one aside, the new one to its name, the old one away."""
    for _ in range(chance.randrange(1, 5)):
        name = place / f"node_modules/p{chance.randrange(4)}"
        beside = place / f"node_modules/.p-{chance.getrandbits(24):x}"
        _grow(beside, chance, chance.randrange(3, 25))
        old = place / f"node_modules/.old-{chance.getrandbits(24):x}"
        if name.exists():
            os.rename(name, old)
        os.rename(beside, name)
        shutil.rmtree(old, ignore_errors=True)


def mail(place: Path, chance: random.Random) -> None:
    """A maildir: each message is made in `tmp`, comes by a rename, is read, flagged, moved, deleted."""
    for folder in ("tmp", "new", "cur"):
        (place / folder).mkdir(exist_ok=True)
    for _ in range(chance.randrange(3, 30)):
        message = f"{chance.getrandbits(40)}.host"
        (place / "tmp" / message).write_bytes(text(chance))
        os.rename(place / "tmp" / message, place / "new" / message)
    for path in sorted((place / "new").iterdir()):
        if chance.random() < 0.6:
            os.rename(path, place / "cur" / f"{path.name}:2,")
    for path in sorted((place / "cur").iterdir()):
        if chance.random() < 0.3:
            os.rename(path, path.with_name(path.name + chance.choice("SRFT")))
        elif chance.random() < 0.2:
            path.unlink()


def kinds(place: Path, chance: random.Random) -> None:
    """One name is a file, then a folder, then a link; two names are one file."""
    for _ in range(chance.randrange(1, 14)):
        path = place / f"n{chance.randrange(5)}"
        match chance.randrange(6):
            case 0:
                _away(path)
                path.write_bytes(text(chance))
            case 1:
                _away(path)
                _grow(path, chance, chance.randrange(1, 6))
                path.mkdir(exist_ok=True)
            case 2:
                _away(path)
                path.symlink_to(f"n{chance.randrange(5)}")
            case 3 if path.is_file() and not path.is_symlink():
                twin = place / f"n{chance.randrange(5)}"
                if not os.path.lexists(twin):
                    os.link(path, twin)
            case 4:
                other = place / f"n{chance.randrange(5)}"
                if os.path.lexists(path) and not os.path.lexists(other):
                    os.rename(path, other)
            case _:
                _away(path)
        time.sleep(chance.choice((0, 0, 0.03, 0.5)))


def _away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


PROGRAMS: dict[str, Program] = {
    "archives": archives,
    "builds": builds,
    "database": database,
    "documents": saved,
    "downloads": downloads,
    "kinds": kinds,
    "large": large,
    "logs": logs,
    "mail": mail,
    "names": names,
    "packages": packages,
    "photos": photos,
    "repository": repository,
    "trees": trees,
}
