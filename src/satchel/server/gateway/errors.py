"""What a fault looks like outside. Invariant: one map for both protocols; nothing of the inside leaves with a 5xx.

A fault that we did not foresee answers 500 `fault` with an id: that of the request, which stands in the log.
Source: docs/protocol/errors.md.
"""

from __future__ import annotations

import traceback

import msgspec
import structlog

from satchel.core.errors import Fault
from satchel.core.messages import ErrorReply, encode_plain
from satchel.server.logs import request_id
from satchel.server.ports import Clock

_log = structlog.get_logger("gateway")

_INNER_FIELDS = frozenset({"where", "reason", "path", "socket", "pid"})
_RETRY_AFTER_S = 2.0
_SHED = ("requests", "bodies")
"""Refused since there is too much to do: counted by their status, and a line for each would only add to it."""
_OWN_HINT = "Tell the administrator the id; the server's log has the reason under it."


def as_fault(error: Exception, clock: Clock, *, route: str) -> tuple[Fault, str]:
    """Return the fault to answer with and the request's id. What is not a Fault is logged with its traceback.

    route: a template, never a path: there may be a secret in one.
    """
    number = request_id() or clock.random(6).hex()
    if isinstance(error, Fault):
        if error.status >= 500 and error.fields.get("reason") not in _SHED:
            _log.warning("request.failed", request=number, route=route, code=error.code, error=str(error))
        return error, number
    trace = "".join(traceback.format_exception(error))
    _log.error("request.broken", request=number, route=route, error=repr(error), trace=trace)
    return Fault("Something went wrong inside the server.", id=number), number


def retry_after_s(fault: Fault) -> float:
    """Return after how many seconds a retry makes sense; 0 when none does."""
    named = fault.fields.get("retry_after_s")
    if isinstance(named, int | float):
        return float(named)
    return _RETRY_AFTER_S if fault.retryable and fault.status in (429, 503, 507) else 0.0


def json_body(fault: Fault, number: str) -> bytes:
    """Return the fault for REST: `{"error": {code, message, hint, fields, id}}`."""
    fields = {name: _plain(value) for name, value in fault.fields.items() if _may_leave(fault, name)}
    error = {"code": fault.code, "message": fault.message, "hint": _hint(fault), "fields": fields, "id": number}
    return msgspec.json.encode({"error": error})


def frame_body(fault: Fault, number: str) -> bytes:
    """Return the fault for the device protocol (msgpack, no frame)."""
    told = [f"{name}={_plain(value)}" for name, value in fault.fields.items() if _may_leave(fault, name)]
    message = f"{fault.message} ({', '.join(told)})" if told else fault.message
    if type(fault) is Fault:
        message = f"{fault.message} (id {number})"
    return encode_plain(ErrorReply(fault.code, message, _hint(fault), retry_after_s(fault)))


def headers_of(fault: Fault, media_type: bytes, body: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with this fault."""
    headers = [(b"content-type", media_type), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
    if fault.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if seconds := retry_after_s(fault):
        headers.append((b"retry-after", b"%d" % max(1, round(seconds))))
    return headers


def _hint(fault: Fault) -> str:
    return fault.hint or _OWN_HINT


def _may_leave(fault: Fault, name: str) -> bool:
    return fault.status < 500 or name not in _INNER_FIELDS


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
