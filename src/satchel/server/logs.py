"""What the service writes about itself: one line an event, for people or as JSON. Invariant: no secret stands in it,
whoever wrote the line, and nothing in it ends a line or turns a terminal.

Every line goes through `redacted`: lines of our rooms, of libraries, and traces. Secrets are found by the name of their
field, by their form (a bearer, a URL's password, a signed URL), and by themselves where the settings hold them.
Source: docs/design/060 (3, 12).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from contextvars import ContextVar

import structlog

GONE = "[redacted]"
TEXT_CHARS_MAX = 2_000
TRACE_CHARS_MAX = 8_000
"""Of a trace the end is kept: there it says what happened."""
ITEMS_MAX = 50
DEPTH_MAX = 4
SECRET_CHARS_MIN = 6
TRACES = ("trace", "exception", "stack")

_request: ContextVar[str] = ContextVar("satchel_request", default="")
_SECRET_NAMES = (
    r"pass(?:word|wd|phrase)?|secret|token|authorization|cookie|credentials?|signature"
    r"|(?:api|access|secret|private)[_-]?key(?:[_-]id)?"
)
_SECRET_FIELD = re.compile(rf"(?:^|[_.-])(?:{_SECRET_NAMES})s?(?:$|[_.-])", re.IGNORECASE)
_FORMS = (
    # Authorization: Bearer …, Basic …, AWS4-HMAC-SHA256 …
    (re.compile(r"\b(bearer|basic)([\s:=]+)[^\s'\",;]{4,}", re.IGNORECASE), rf"\1\2{GONE}"),
    (re.compile(r"\bAWS4-HMAC-SHA256\b[^'\"\n]*"), f"AWS4-HMAC-SHA256 {GONE}"),
    # scheme://user:password@host
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s'\"@]*@", re.IGNORECASE), rf"\1{GONE}@"),
    # ?X-Amz-Signature=…&token=…&key=…
    (
        re.compile(
            rf"([?&;](?:x-amz-(?:signature|credential|security-token)|[a-z_.-]*(?:{_SECRET_NAMES})|sig|key|code)=)"
            r"[^&;\s'\"]*",
            re.IGNORECASE,
        ),
        rf"\1{GONE}",
    ),
    # password=…, "token": "…", secret: …
    (
        re.compile(
            rf"((?:^|[^a-z])(?:[a-z_-]*[_-])?(?:{_SECRET_NAMES})['\"]?\s*[=:]\s*)(?!\[redacted)(?:b?'[^']*'|b?\"[^\"]*\"|[^\s,;&'\")}}\]]+)",
            re.IGNORECASE,
        ),
        rf"\1{GONE}",
    ),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), GONE),
    # A link's token is a part of its path.
    (re.compile(r"(/(?:s|r|links?|requests?|public)/)[A-Za-z0-9_-]{16,}"), rf"\1{GONE}"),
)
_TURNING = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_TURNING_IN_TRACES = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def begin_request(number: str) -> None:
    """From now on every line of this task names the request."""
    _request.set(number)


def request_id() -> str:
    """Return the id of the request that this task answers, empty outside of one."""
    return _request.get()


def plain(text: str, *, is_trace: bool = False) -> str:
    """Return the text with what ends a line or turns a terminal written as an escape, and of bounded length."""
    if is_trace:
        text = text if len(text) <= TRACE_CHARS_MAX else f"…{text[-TRACE_CHARS_MAX:]}"
        return _TURNING_IN_TRACES.sub(_escape, text)
    text = text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]}… ({len(text)} characters)"
    return _TURNING.sub(_escape, text)


class Redaction:
    """Takes secrets out of what is to be written. known: secrets of the settings, wherever they turn up."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        found = sorted({secret for secret in known if len(secret) >= SECRET_CHARS_MIN}, key=len, reverse=True)
        self._known = re.compile("|".join(re.escape(secret) for secret in found)) if found else None

    def text(self, text: str, *, is_trace: bool = False) -> str:
        """Return the text without secrets, as `plain` does for the rest of it."""
        # Cut only afterwards: half of a secret would pass for none.
        if self._known is not None:
            text = self._known.sub(GONE, text)
        for form, put in _FORMS:
            text = form.sub(put, text)
        return plain(text, is_trace=is_trace)

    def value(self, name: str, value: object, depth: int = 0) -> object:
        """Return what may be written of a field."""
        if _SECRET_FIELD.search(name) and not isinstance(value, bool | int | float | None):
            return GONE
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self.text(value, is_trace=name in TRACES)
            case bytes() | bytearray() | memoryview():
                return f"{len(value)} bytes"
            case _ if depth >= DEPTH_MAX:
                return self.text(repr(value))
            case Mapping():
                parts = list(value.items())[:ITEMS_MAX]
                return {self.text(str(key)): self.value(str(key), each, depth + 1) for key, each in parts}
            case Sequence() | set() | frozenset():
                return [self.value("", each, depth + 1) for each in list(value)[:ITEMS_MAX]]
            case _:
                return self.text(repr(value))

    def __call__(self, logger: object, method: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
        """Be the processor that every line goes through."""
        told: MutableMapping[str, object] = {name: self.value(name, value) for name, value in event.items()}
        if (number := _request.get()) and "request" not in told:
            told["request"] = number
        return told


def begin_logs(level: str, *, is_json: bool, known: Iterable[str] = ()) -> None:
    """Write logs to standard error: readable, or JSON lines. level: debug, info, warning or error; known: secrets."""
    renderer = structlog.processors.JSONRenderer() if is_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            Redaction(known),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Libraries()]
    root.setLevel(logging.WARNING)


class _Libraries(logging.Handler):
    """Has lines of libraries go the same way as ours."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        told = {"library": record.name, "message": record.getMessage()}
        tell = log.error if record.levelno >= logging.ERROR else log.warning
        tell("library.told", exc_info=record.exc_info or False, **told)


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
