"""The disks that the contract suites of the file system run over."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disk_worlds import WORLD_NAMES, World, make_world


@pytest.fixture(params=WORLD_NAMES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made: list[str] = []

    def folder(where: str) -> bytes:
        if where == "disk":
            return str(tmp_path).encode()
        made.append(tempfile.mkdtemp(prefix="satchel-", dir="/dev/shm"))
        return made[-1].encode()

    yield make_world(request.param, folder)
    for one in made:
        shutil.rmtree(one)
