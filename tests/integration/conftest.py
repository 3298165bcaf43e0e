"""An account for each test of a running server, and a device of it."""

from __future__ import annotations

import itertools

import pytest

from tests.support.server import RunningServer, Session

_numbers = itertools.count()


@pytest.fixture
def session(server: RunningServer) -> Session:
    return server.add_user(f"user {next(_numbers)}").sign_in("laptop")
