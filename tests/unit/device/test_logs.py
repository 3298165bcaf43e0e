"""The daemon's log: what a line holds, in the file and on a terminal."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.device.logs import LOG_NAME, EventLog, configure_logs


@pytest.fixture(autouse=True)
def _root_logger_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def _lines(home: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (home / LOG_NAME).read_text().splitlines()]


def test_an_event_is_one_json_line_with_its_fields(tmp_path: Path) -> None:
    configure_logs(tmp_path, "info", to_terminal=False)
    EventLog("satchel.here").info("link.running 100%", link="a\nb", count=2, raw=b"\xff", name="\udcff")
    (line,) = _lines(tmp_path)
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {
        "event": "link.running 100%",
        "level": "info",
        "logger": "satchel.here",
        "link": "a\nb",
        "count": 2,
        "raw": "b'\\xff'",
        "name": "\udcff",
    }


def test_below_the_wanted_level_nothing_is_told(tmp_path: Path) -> None:
    configure_logs(tmp_path, "warning", to_terminal=False)
    log = EventLog("satchel.here")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert [(line["event"], line["level"]) for line in _lines(tmp_path)] == [("c", "warning"), ("d", "error")]


def test_an_exception_brings_its_trace(tmp_path: Path) -> None:
    configure_logs(tmp_path, "info", to_terminal=False)
    try:
        raise ValueError("no good")
    except ValueError:
        EventLog("satchel.here").exception("link.failed", link="x")
    (line,) = _lines(tmp_path)
    assert (line["event"], line["level"], line["link"]) == ("link.failed", "error", "x")
    assert "ValueError: no good" in str(line["exception"])


def test_a_library_that_logs_is_told_too(tmp_path: Path) -> None:
    configure_logs(tmp_path, "info", to_terminal=False)
    logging.getLogger("library").warning("%s of %s", 1, 2)
    (line,) = _lines(tmp_path)
    assert (line["event"], line["logger"]) == ("1 of 2", "library")


def test_a_terminal_gets_readable_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(tmp_path, "info", to_terminal=True)
    EventLog("satchel.here").warning("link.stopped", link="x", may_pass=True)
    told = capsys.readouterr().err
    assert "[warning ] link.stopped" in told
    assert told.endswith("[satchel.here] link=x may_pass=True\n")
    assert not (tmp_path / LOG_NAME).exists()
