"""The disks that the contract suites of the file system run over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disk_worlds import WORLD_NAMES, World, world_at


@pytest.fixture(params=WORLD_NAMES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    yield from world_at(request.param, tmp_path)
