"""A person who carries things between a folder of their own and a shared one, as files are carried over any edge."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

from tests.soak.savers import text

MANY = 150


def carried(own: Path, team: Path, chance: random.Random) -> None:
    """Files and folders go over, come back, take the place of others, and change places with them."""
    for _ in range(chance.randrange(1, 10)):
        here, there = (own, team) if chance.random() < 0.5 else (team, own)
        for place in (here, there):
            place.mkdir(exist_ok=True)
        match chance.randrange(8):
            case 0 | 1:
                _fill(here / f"f{chance.randrange(4)}", chance)
            case 2:
                _go(_file(here, chance), there / f"{chance.getrandbits(24):x}.txt")
            case 3:
                _go(_file(here, chance), _file(there, chance))
            case 4:
                _go(_folder(here, chance), there / f"f{chance.randrange(4)}")
            case 5:
                _swap(_folder(here, chance), _folder(there, chance))
            case 6:
                out = _folder(here, chance)
                if out is not None:
                    aside = there / f"aside {chance.getrandbits(24):x}"
                    os.rename(out, aside)
                    time.sleep(chance.choice((0, 0.3, 1.0)))
                    _fill(aside, chance)
                    os.rename(aside, out)
            case _:
                one = _folder(here, chance)
                if one is not None:
                    shutil.copytree(one, there / f"copy {chance.getrandbits(24):x}")
        time.sleep(chance.choice((0, 0, 0.05, 0.5, 1.5)))
    for place in (own, team):
        place.mkdir(exist_ok=True)
        if sum(1 for _ in place.rglob("*")) > MANY:
            shutil.rmtree(place)
            place.mkdir()


def _fill(folder: Path, chance: random.Random) -> None:
    for _ in range(chance.randrange(1, 8)):
        inside = folder / chance.choice(("", "", "deep", "deep/er"))
        inside.mkdir(parents=True, exist_ok=True)
        (inside / f"{chance.randrange(12)}.txt").write_bytes(text(chance))


def _file(place: Path, chance: random.Random) -> Path | None:
    found = [path for path in sorted(place.rglob("*")) if path.is_file()]
    return chance.choice(found) if found else None


def _folder(place: Path, chance: random.Random) -> Path | None:
    found = [path for path in sorted(place.rglob("*")) if path.is_dir()]
    return chance.choice(found) if found else None


def _go(source: Path | None, target: Path | None) -> None:
    """Move it there; a folder in its place goes first."""
    if source is None or target is None:
        return
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(source, target)


def _swap(one: Path | None, other: Path | None) -> None:
    if one is None or other is None:
        return
    between = one.with_name("between")
    os.rename(one, between)
    os.rename(other, one)
    os.rename(between, other)
