"""What hashing costs: as the RFC asks in the service, the least in what the tests start."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import argon2

from satchel.server.accounts import passwords


def shipped() -> ModuleType:
    """Return the module as the service has it, which no test changed."""
    assert passwords.__spec__ is not None and passwords.__spec__.loader is not None
    made = importlib.util.module_from_spec(passwords.__spec__)
    passwords.__spec__.loader.exec_module(made)
    return made


def test_the_service_hashes_at_the_cost_of_the_rfc() -> None:
    stored = shipped()._hasher.hash(b"a password")

    assert argon2.extract_parameters(stored) == argon2.profiles.RFC_9106_LOW_MEMORY


def test_a_hash_of_the_tests_differs_in_its_cost_alone() -> None:
    dear, cheap = (argon2.extract_parameters(one._hasher.hash(b"p")) for one in (shipped(), passwords))

    assert (cheap.type, cheap.version, cheap.salt_len, cheap.hash_len) == (
        dear.type,
        dear.version,
        dear.salt_len,
        dear.hash_len,
    )
