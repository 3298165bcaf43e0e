"""The `If` header and its elder brothers. Invariant: a request whose conditions do not hold changes nothing.

Parsing and deciding are pure; who asks brings the facts. Source: RFC 4918 (10.4), RFC 9110 (13.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from satchel.server.gateway.webdav.answers import Refusal

CONDITIONS_MAX = 100
RESOURCES_MAX = 20
HEADER_CHARS_MAX = 8 * 1024
NO_LOCK = "DAV:no-lock"
_PART = re.compile(r'\s*(?:(\()|(\))|<([^<>\s]*)>|\[\s*((?:W/)?"[^"]*")\s*\]|(Not)(?=[\s<\[]))', re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?"[^"]*"')


class Condition(NamedTuple):
    """One claim of a resource: it is locked by `token`, or has the entity tag `etag`; or not."""

    is_not: bool
    token: str
    etag: str


@dataclass(frozen=True, slots=True)
class Claims:
    """A list of conditions that hold together. resource: the address they are about, empty for the request's own."""

    resource: str
    conditions: tuple[Condition, ...]


class Facts(NamedTuple):
    """What is true of a resource. etag: empty when there is none; tokens: of all locks that it is under."""

    etag: str
    tokens: frozenset[str]


def parse_if(text: str) -> tuple[Claims, ...]:
    """Return the lists of an `If` header; none when it is empty. Raises: Refusal (400)."""
    if len(text) > HEADER_CHARS_MAX:
        raise _unreadable("is too long")
    parsed: list[Claims] = []
    resource, at, count = "", 0, 0
    text = text.strip()
    while at < len(text):
        found = _PART.match(text, at)
        if found is None or found[2] or found[4] or found[5]:
            raise _unreadable("cannot be read")
        at = found.end()
        if found[3] is not None:
            # Either all lists are tagged or none is, and a tag has a list.
            if (parsed and not resource) or not text[at:].lstrip().startswith("("):
                raise _unreadable("cannot be read")
            resource = found[3]
            continue
        conditions, at = _list(text, at)
        count += len(conditions)
        parsed.append(Claims(resource, tuple(conditions)))
    if count > CONDITIONS_MAX or len({claims.resource for claims in parsed}) > RESOURCES_MAX:
        raise _unreadable("has too many conditions")
    return tuple(parsed)


def tokens_of(claims: Iterable[Claims]) -> frozenset[str]:
    """Return the lock tokens that a header submits: all that it names."""
    return frozenset(condition.token for each in claims for condition in each.conditions if condition.token)


def holds(claims: Iterable[Claims], facts_of: Callable[[str], Facts]) -> bool:
    """Tell whether one of the lists holds. facts_of: by the lists' `resource`."""
    return any(all(_is_true(one, facts_of(each.resource)) for one in each.conditions) for each in claims)


def names_tag(text: str, etag: str) -> bool:
    """Tell whether an `If-Match` or `If-None-Match` names what is there. etag: empty when nothing is."""
    if text.strip() == "*":
        return bool(etag)
    return bool(etag) and etag in [tag.removeprefix("W/") for tag in _TAG.findall(text)]


def _list(text: str, at: int) -> tuple[list[Condition], int]:
    """Return the conditions from behind an opening bracket, and the place behind the closing one."""
    conditions: list[Condition] = []
    is_not = False
    while True:
        found = _PART.match(text, at)
        if found is None or found[1]:
            raise _unreadable("cannot be read")
        at = found.end()
        if found[2]:
            if is_not or not conditions:
                raise _unreadable("cannot be read")
            return conditions, at
        if found[5]:
            if is_not:
                raise _unreadable("cannot be read")
            is_not = True
            continue
        if found[3] == "":
            raise _unreadable("has an empty token")
        conditions.append(Condition(is_not, found[3] or "", found[4] or ""))
        is_not = False


def _is_true(condition: Condition, facts: Facts) -> bool:
    if condition.token:
        # No resource is ever locked by DAV:no-lock, so the general case answers for it too.
        return (condition.token in facts.tokens) != condition.is_not
    return (bool(facts.etag) and condition.etag == facts.etag) != condition.is_not


def _unreadable(what: str) -> Refusal:
    return Refusal(400, f"The If header {what}.")
