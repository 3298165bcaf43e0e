"""Where the daemon writes what it did: JSON lines in SATCHEL_HOME/daemon.log, or readable lines on a terminal.

Invariant: the log is bounded, and no user path stands in it at level info. An event is a name and fields. Made on the
standard library alone: what structlog brings along took a fifth of the daemon's start and 7 MiB.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
from datetime import UTC, datetime
from pathlib import Path

LOG_NAME = "daemon.log"
LOG_BYTES_MAX = 5 * 1024 * 1024
LOGS_KEPT = 3

_EVENT_CHARS_MIN = 30
_FIELDS = "satchel_fields"


class EventLog:
    """Events of one module, told with fields: `log.info("link.running", link=name)`."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        """Tell what helps to find a mistake."""
        self._tell(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Tell what happened; no user path."""
        self._tell(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Tell what a person may want to look at."""
        self._tell(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Tell what failed."""
        self._tell(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """Tell what failed, with the trace of the exception that is being handled."""
        self._tell(logging.ERROR, event, fields, with_trace=True)

    def _tell(self, level: int, event: str, fields: dict[str, object], *, with_trace: bool = False) -> None:
        # The event is no format: it has no arguments, so nothing in it is replaced.
        self._logger.log(level, event, exc_info=with_trace, extra={_FIELDS: fields})


def configure_logs(home: Path, level: str, *, to_terminal: bool) -> None:
    """Send all logs of this process to the log file, or to stderr. level: debug, info, warning or error."""
    handler: logging.Handler
    if to_terminal:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Readable())
    else:
        handler = logging.handlers.RotatingFileHandler(
            home / LOG_NAME, maxBytes=LOG_BYTES_MAX, backupCount=LOGS_KEPT, encoding="utf-8"
        )
        handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class _JsonLines(logging.Formatter):
    """One JSON object a line: the event's fields, then what every event has."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            **_fields(record),
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "timestamp": _time(record),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        # In ASCII, so that a name that is no Unicode text can be told too.
        return json.dumps(told, default=repr)


class _Readable(logging.Formatter):
    """One line an event, for a person; a trace follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        event = record.getMessage().ljust(_EVENT_CHARS_MIN)
        line = f"{_time(record)} [{record.levelname.lower():8}] {event} [{record.name}]{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, _FIELDS, {})
    return fields


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z")
