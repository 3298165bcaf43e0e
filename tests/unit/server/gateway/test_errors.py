"""Faults outside: one form for each protocol, and nothing of the inside in a 5xx."""

from __future__ import annotations

import json

import pytest

from satchel.core.errors import (
    Fault,
    LimitExceeded,
    StorageFailed,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    every_fault,
)
from satchel.core.messages import ErrorReply, decode_plain
from satchel.server.adapters.machine import MachineClock
from satchel.server.gateway.errors import as_fault, frame_body, headers_of, json_body


def shown(error: Exception) -> tuple[Fault, dict[str, object], ErrorReply]:
    fault, number = as_fault(error, MachineClock(), route="test")
    told = json.loads(json_body(fault, number))["error"]
    assert told["id"] == number
    return fault, told, decode_plain(frame_body(fault, number), ErrorReply)


@pytest.mark.parametrize("kind", every_fault())
def test_every_fault_has_its_code_and_a_hint_in_both_protocols(kind: type[Fault]) -> None:
    _, told, reply = shown(kind("Text.", number=7, raw=b"\x01"))
    assert told["code"] == reply.code == kind.code
    assert told["hint"] == reply.hint != ""
    assert told["fields"] == {"number": 7, "raw": "01"}


def test_an_unforeseen_error_says_nothing_but_an_id() -> None:
    fault, told, reply = shown(KeyError("secret"))
    assert (fault.status, told["code"], reply.code) == (500, "fault", "fault")
    assert "secret" not in json.dumps(told) + reply.message
    assert str(told["id"]) in reply.message


def test_paths_of_this_machine_do_not_leave_with_a_5xx() -> None:
    _, told, reply = shown(StorageFailed("It failed.", where="/var/lib/satchel", reason="EIO"))
    assert told["fields"] == {}
    assert "/var/lib" not in reply.message


def test_a_limit_is_told_by_name() -> None:
    _, told, reply = shown(LimitExceeded("Too long.", limit="NAME_BYTES_MAX", maximum=255, actual=256))
    assert told["fields"] == {"limit": "NAME_BYTES_MAX", "maximum": 255, "actual": 256}
    assert "NAME_BYTES_MAX" in reply.message


def test_headers_say_when_to_come_again_and_how_to_sign_in() -> None:
    assert (b"retry-after", b"7") in headers_of(TooManyRequests(retry_after_s=7), b"x", b"")
    assert any(name == b"retry-after" for name, _ in headers_of(Unavailable(), b"x", b""))
    assert not any(name == b"retry-after" for name, _ in headers_of(LimitExceeded(), b"x", b""))
    assert (b"www-authenticate", b"Bearer") in headers_of(Unauthenticated(), b"x", b"")
