"""How programs save one document: what editors, office suites and tools do on the disk, call by call."""

from __future__ import annotations

import mmap
import os
import random
import shutil
import subprocess
import time
from pathlib import Path

DOCUMENTS = 6
PAUSE_S_MAX = 0.5


def text(chance: random.Random) -> bytes:
    """Return a text that no other save has."""
    line = f"{chance.getrandbits(64):x}\n".encode()
    return line * chance.randrange(1, 400)


def in_place(path: Path, chance: random.Random) -> None:
    path.write_bytes(text(chance))


def appended(path: Path, chance: random.Random) -> None:
    with path.open("ab") as opened:
        opened.write(text(chance))


def over_a_backup(path: Path, chance: random.Random) -> None:
    """As vim does with `backupcopy=no`: the old one steps aside, the new one is written, the old one goes."""
    backup = path.with_name(path.name + "~")
    if path.exists():
        os.rename(path, backup)
    path.write_bytes(text(chance))
    backup.unlink(missing_ok=True)


def renamed_over(path: Path, chance: random.Random) -> None:
    """As most do today: a new file beside it, made durable, renamed over it."""
    beside = path.with_name(f".{path.name}.{chance.getrandbits(24):x}")
    with beside.open("wb") as opened:
        opened.write(text(chance))
        opened.flush()
        os.fsync(opened.fileno())
    os.replace(beside, path)


def with_a_lock(path: Path, chance: random.Random) -> None:
    """As office suites do: a lock file, the old one deleted, the new one renamed to its name."""
    lock = path.with_name(f".~lock.{path.name}#")
    lock.write_text(",ann,laptop,")
    beside = path.with_name(f"lu{chance.getrandbits(24):x}.tmp")
    beside.write_bytes(text(chance))
    path.unlink(missing_ok=True)
    time.sleep(chance.random() * PAUSE_S_MAX)
    os.rename(beside, path)
    lock.unlink()


def swapped_by_two_renames(path: Path, chance: random.Random) -> None:
    """As Microsoft Word does: new to a temporary name, old to another, new to its name, old away."""
    new, old = (path.with_name(f"~WR{kind}{chance.getrandbits(24):x}.tmp") for kind in "DL")
    new.write_bytes(text(chance))
    if path.exists():
        os.rename(path, old)
    os.rename(new, path)
    old.unlink(missing_ok=True)


def of_equal_size_and_time(path: Path, chance: random.Random) -> None:
    """As tools do that put the time back: no size and no modification time tells of it."""
    if not path.exists() or not path.stat().st_size:
        return in_place(path, chance)
    seen = path.stat()
    with path.open("r+b") as opened:
        opened.seek(chance.randrange(seen.st_size))
        opened.write(bytes([chance.randrange(97, 123)]))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    return None


def through_memory(path: Path, chance: random.Random) -> None:
    """As databases do: pages of a mapped file change, nothing is written by a call."""
    if not path.exists() or not path.stat().st_size:
        return in_place(path, chance)
    with path.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        mapped[chance.randrange(len(mapped))] = chance.randrange(97, 123)
        mapped.flush()
    return None


def cut_and_written(path: Path, chance: random.Random) -> None:
    """A shell's `>`: for a while it is empty, then half, then whole."""
    whole = text(chance)
    with path.open("wb", buffering=0) as opened:
        for part in (whole[: len(whole) // 2], whole[len(whole) // 2 :]):
            time.sleep(chance.random() * PAUSE_S_MAX)
            opened.write(part)


def only_touched(path: Path, chance: random.Random) -> None:
    path.touch()
    if chance.random() < 0.5:
        path.chmod(path.stat().st_mode ^ 0o100)


def by_vim(path: Path, chance: random.Random) -> None:
    """Vim itself, with its swap file."""
    command = ["vim", "-Es", "-u", "NONE", "-c", f"normal Go{text(chance)[:40].decode()}", "-c", "wq", str(path)]
    subprocess.run(command, check=False, timeout=20, stdin=subprocess.DEVNULL, capture_output=True)


def by_sed(path: Path, chance: random.Random) -> None:
    if path.exists():
        subprocess.run(["sed", "-i", f"1i {chance.getrandbits(40):x}", str(path)], check=True, timeout=20)


WAYS = (
    in_place,
    appended,
    over_a_backup,
    renamed_over,
    with_a_lock,
    swapped_by_two_renames,
    of_equal_size_and_time,
    through_memory,
    cut_and_written,
    only_touched,
    by_sed,
    *((by_vim,) if shutil.which("vim") else ()),
)


def saved(place: Path, chance: random.Random) -> None:
    """Some documents, saved in all ways, now in a row, now a little apart."""
    pause_s = chance.choice((0.0, 0.05, PAUSE_S_MAX))
    for _ in range(chance.randrange(1, 25)):
        document = place / f"document {chance.randrange(DOCUMENTS)}.txt"
        chance.choice(WAYS)(document, chance)
        time.sleep(chance.random() * pause_s)
