"""Runs many seeds in parts, and keeps what is done in a file, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def arguments(parser: argparse.ArgumentParser, *, total: int) -> argparse.ArgumentParser:
    """Add what all of these runs take."""
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first seed")
    parser.add_argument("--total", type=int, default=total, help="seeds to run")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--ledger", type=Path, help="file of what is done; what stands there is not done again")
    parser.add_argument("--seed", type=int, help="run this one alone, and tell its steps")
    return parser


class Ledger:
    """What is done, a line of JSON a part, by its first seed. A part in which something was found is done again."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.done: dict[int, dict[str, object]] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                part = json.loads(line)
                if not part["failed"]:
                    self.done[part["first"]] = part

    def add(self, part: dict[str, object]) -> None:
        """Note a part. It has `first` and `failed`."""
        self.done[int(str(part["first"]))] = part
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(json.dumps(part) + "\n")


def parts(
    work: Callable[[int, int], T], *, first: int, total: int, size: int, jobs: int, done: dict[int, dict[str, object]]
) -> Iterator[T]:
    """Yield what `work(first seed, count)` gives for each part that is not done, in order. A few wait, never all."""
    starts = [start for start in range(first, first + total, size) if start not in done]
    waiting: list[Future[T]] = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        while starts or waiting:
            while starts and len(waiting) < 2 * jobs:
                start = starts.pop(0)
                waiting.append(pool.submit(work, start, min(size, first + total - start)))
            yield waiting.pop(0).result()
