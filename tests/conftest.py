"""Fixtures and options that many tests share."""

import gc

import pytest

from tests.support import warm

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


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the collector need not walk it again beside each test."""
    gc.collect()
    gc.freeze()
