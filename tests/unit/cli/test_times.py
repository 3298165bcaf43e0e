"""Times as people write them, in the zone of the machine."""

from __future__ import annotations

import datetime

import pytest

from satchel.cli.times import parse_time_ms
from satchel.core.errors import Fault

NOW = datetime.datetime(2026, 11, 29, 15, 30, 20)


def local(*parts: int) -> int:
    return int(datetime.datetime(*parts).timestamp() * 1000)  # type: ignore[arg-type]  # year to seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-28", local(2026, 11, 28)),
        ("2026-11-28 14:00", local(2026, 11, 28, 14)),
        ("2026-11-28T14:00:05", local(2026, 11, 28, 14, 0, 5)),
        ("2026-11-28 14:00+00:00", 1_795_874_400_000),
        ("now", local(2026, 11, 29, 15, 30, 20)),
        ("today", local(2026, 11, 29)),
        ("9:05", local(2026, 11, 29, 9, 5)),
        ("yesterday", local(2026, 11, 28, 15, 30, 20)),
        ("Yesterday 23:59:58", local(2026, 11, 28, 23, 59, 58)),
        ("2h", local(2026, 11, 29, 13, 30, 20)),
        ("2 hours ago", local(2026, 11, 29, 13, 30, 20)),
        ("an hour ago", local(2026, 11, 29, 14, 30, 20)),
        ("a week ago", local(2026, 11, 22, 15, 30, 20)),
        ("90 s ago", local(2026, 11, 29, 15, 28, 50)),
        ("3d", local(2026, 11, 26, 15, 30, 20)),
        ("1 minute ago", local(2026, 11, 29, 15, 29, 20)),
        ("99999999999 weeks ago", 0),
    ],
)
def test_a_time_is_understood(text: str, expected: int) -> None:
    assert parse_time_ms(text, NOW.timestamp()) == expected


@pytest.mark.parametrize("text", ["", "soon", "25:00", "2 parsecs ago", "tomorrow", "-1h", "2026-13-01", "1h 2m", "12"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Fault):
        parse_time_ms(text, NOW.timestamp())
