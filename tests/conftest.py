"""Fixtures and options that many tests share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.support import cheap_passwords, warm
from tests.support.server import RunningServer, running_server

__all__ = ["cheap_passwords"]

pytest_plugins = [
    "tests.support.databases",
    "tests.support.kafka",
    "tests.support.oidc",
    "tests.support.s3",
    "tests.support.valkey",
    "tests.support.webdav",
    # The last, since it imports the others, which must be known as plugins before.
    "tests.support.service",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--service",
        choices=("embedded", "cluster", "alone"),
        default="embedded",
        help="what the end-to-end tests of two devices run on (see tests/support/service.py)",
    )


def pytest_configure() -> None:
    warm.begin()
    gc.disable()


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the collector need not walk it, neither meanwhile nor beside each test."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """An embedded server for one file of tests."""
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running
