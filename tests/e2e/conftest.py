"""A server for each file of tests, an account for each test, and its first device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.devices import Device, device
from tests.support.server import RunningServer, User, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def user(server: RunningServer, request: pytest.FixtureRequest) -> User:
    return server.add_user(f"user{abs(hash(request.node.name)) % 10**9}")


@pytest.fixture
def laptop(tmp_path: Path, user: User) -> Iterator[Device]:
    with device(tmp_path, "laptop", user) as made:
        yield made
