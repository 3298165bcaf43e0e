"""A look at the scenarios in every test run, on few servers and for a few seconds; `make chaos` does them in full."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from tests.chaos.__main__ import played
from tests.chaos.scene import Scene
from tests.chaos.servers import Servers
from tests.support.s3 import S3Server
from tests.support.valkey import ValkeyServer

pytestmark = pytest.mark.usefixtures("s3_keys")

SEED = 4711
SCALE = 0.02


@pytest.mark.parametrize("name", ["postgres"])
def test_a_short_run_holds(name: str, tmp_path: Path, s3_server: S3Server, valkey_running: ValkeyServer) -> None:
    with contextlib.ExitStack() as stack:
        servers = Servers(stack, is_lean=True, s3=s3_server, valkey=valkey_running)
        figures = asyncio.run(played(Scene(name, tmp_path, SEED, SCALE), servers))
    assert figures["ops acknowledged"]
