"""An account for each test, with its first device; and somebody else with one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.devices import Device, device
from tests.support.server import RunningServer, User


@pytest.fixture
def user(server: RunningServer, request: pytest.FixtureRequest) -> User:
    return server.add_user(f"user{abs(hash(request.node.name)) % 10**9}")


@pytest.fixture
def laptop(tmp_path: Path, user: User) -> Iterator[Device]:
    with device(tmp_path, "laptop", user) as made:
        yield made


@pytest.fixture
def bob(server: RunningServer, request: pytest.FixtureRequest) -> User:
    return server.add_user(f"bob{abs(hash(request.node.name)) % 10**9}")


@pytest.fixture
def phone(tmp_path: Path, bob: User) -> Iterator[Device]:
    with device(tmp_path, "phone", bob) as made:
        yield made
