"""Requests that are meant for one state of a file. Invariant: what is not in that state is not touched.

`If-Match` and `If-None-Match` of a write name revs, as an entry's `rev`; those of a download name the `ETag`, which is
the content hash. Source: RFC 9110, 13.1 and 14.
"""

from __future__ import annotations

from satchel.core.entries import Entry
from satchel.core.errors import PreconditionFailed
from satchel.server.gateway.rest import Asked


def require_match(request: Asked, current: Entry | None) -> None:
    """Return when the request means what stands there now, None for nothing. Raises: PreconditionFailed."""
    wanted, unwanted = request.headers.get("if-match", ""), request.headers.get("if-none-match", "")
    actual = "" if current is None else str(current.content_rev)
    if wanted and not _is_named(wanted, actual):
        raise PreconditionFailed("The file is not at that rev.", expected=wanted.strip('"'), actual=actual)
    if unwanted and _is_named(unwanted, actual):
        raise PreconditionFailed("There is a file at this path.", expected="", actual=actual)


def is_known(request: Asked, tag: str) -> bool:
    """Tell whether whoever downloads has the content of this tag already."""
    return _is_named(request.headers.get("if-none-match", ""), tag.strip('"'))


def _is_named(told: str, actual: str) -> bool:
    """Tell whether a list of tags names `actual`; `*` names whatever there is."""
    tags = {part.strip().removeprefix("W/").strip('"') for part in told.split(",")}
    return bool(actual) and ("*" in tags or actual in tags)
