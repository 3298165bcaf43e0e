"""Properties that the service makes itself, and what requests ask of properties. Invariant: they follow from a node's
row alone, and clients change none of them.

Source: RFC 4918 (9.1, 9.2, 15), RFC 4331 (quota).
"""

from __future__ import annotations

import datetime
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import NamedTuple

from satchel.core.entries import Entry
from satchel.core.errors import MessageInvalid
from satchel.server.gateway.webdav.answers import Refusal
from satchel.server.gateway.webdav.calls import FOLDERS, etag_of
from satchel.server.gateway.webdav.dead_properties import DeadValue, Properties, PropertyChange
from satchel.server.gateway.webdav.locks import Held, Lock
from satchel.server.gateway.webdav.xml_bodies import DAV, LANG, Element, Name, escaped, inside, parse, tagged

OCTETS = "application/octet-stream"
_SAFE_TYPES = frozenset(
    {
        "application/pdf",
        "text/plain",
        *(f"image/{kind}" for kind in ("avif", "bmp", "gif", "jpeg", "png", "tiff", "webp")),
        *(f"audio/{kind}" for kind in ("flac", "mp4", "mpeg", "ogg", "x-wav")),
        *(f"video/{kind}" for kind in ("mp4", "mpeg", "ogg", "quicktime", "webm", "x-msvideo")),
    }
)
"""Content that runs nowhere; all else is bytes to whoever asks."""
_TYPES = mimetypes.MimeTypes(())
_EITHER = "".join(
    f"<D:lockentry><D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"
    for scope in ("exclusive", "shared")
)
_QUOTA = ((DAV, "quota-available-bytes"), (DAV, "quota-used-bytes"))


class Quota(NamedTuple):
    """How much the account holds and may hold, None when there is no limit; bytes."""

    used_bytes: int
    quota_bytes: int | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a PROPFIND asks for. names: those that are asked for; None: all that every client should know, `more` too.

    is_names: their names alone are wanted.
    """

    names: tuple[Name, ...] | None = None
    more: tuple[Name, ...] = ()
    is_names: bool = False

    @property
    def has_quota(self) -> bool:
        """Whether how much is stored is asked for, which costs a look."""
        return self.is_names or any(name in _QUOTA for name in (*(self.names or ()), *self.more))


def read_propfind(body: bytes) -> Wanted:
    """Return what a PROPFIND's body asks for; an empty one asks for all. Raises: MessageInvalid, LimitExceeded."""
    if not body.strip():
        return Wanted()
    root = _root(body, "propfind")
    asked = [(child.name[1], child) for child in root.elements if child.name[0] == DAV]
    kinds = [local for local, _ in asked if local in ("prop", "allprop", "propname")]
    if len(kinds) != 1:
        raise MessageInvalid("A PROPFIND asks for exactly one of prop, allprop and propname.", reason="propfind")
    match kinds[0]:
        case "prop":
            element = next(child for local, child in asked if local == "prop")
            return Wanted(tuple(dict.fromkeys(child.name for child in element.elements)))
        case "propname":
            return Wanted(is_names=True)
        case _:
            more = [child.name for local, each in asked if local == "include" for child in each.elements]
            return Wanted(more=tuple(dict.fromkeys(more)))


def read_propertyupdate(body: bytes) -> list[PropertyChange]:
    """Return a PROPPATCH's instructions in order. Raises: MessageInvalid, LimitExceeded."""
    root = _root(body, "propertyupdate")
    changes: list[PropertyChange] = []
    for step in root.elements:
        if step.name not in ((DAV, "set"), (DAV, "remove")):
            continue
        for prop in step.elements:
            if prop.name != (DAV, "prop"):
                continue
            for each in prop.elements:
                lang = next((e.attributes[LANG] for e in (each, prop, step, root) if LANG in e.attributes), "")
                value = DeadValue(inside(each), lang) if step.name[1] == "set" else None
                changes.append(PropertyChange(each.name, value))
    if not changes:
        raise MessageInvalid("A PROPPATCH sets or removes at least one property.", reason="propertyupdate")
    return changes


def read_lockinfo(body: bytes) -> tuple[bool, str]:
    """Return whether an exclusive lock is asked for, and its owner as XML. Raises: MessageInvalid, Refusal."""
    root = _root(body, "lockinfo")
    scope, kind, owner = root.find("lockscope"), root.find("locktype"), root.find("owner")
    if scope is None or kind is None or kind.find("write") is None:
        raise Refusal(400, "Only write locks are given.")
    is_exclusive = scope.find("exclusive") is not None
    if is_exclusive == (scope.find("shared") is not None):
        raise Refusal(400, "A lock is either exclusive or shared.")
    return is_exclusive, "" if owner is None else inside(owner)


def live_properties(entry: Entry, quota: Quota | None) -> dict[Name, str]:
    """Return a node's own properties as XML, without those about locks. quota: None where it was not asked for."""
    is_folder = entry.kind in FOLDERS
    changed_ms = entry.mtime_ns // 1_000_000 if entry.mtime_ns > 0 else entry.created_ms
    found = {
        "resourcetype": "<D:collection/>" if is_folder else "",
        "displayname": escaped(entry.name),
        "creationdate": _iso(entry.created_ms),
        "getlastmodified": http_date(changed_ms),
        "supportedlock": _EITHER,
    }
    if not is_folder:
        found["getcontentlength"] = str(entry.size)
        found["getcontenttype"] = media_type_of(entry.name)
        found["getetag"] = escaped(etag_of(entry))
    elif quota is not None:
        found["quota-used-bytes"] = str(quota.used_bytes)
        if quota.quota_bytes is not None:
            found["quota-available-bytes"] = str(max(0, quota.quota_bytes - quota.used_bytes))
    return {(DAV, local): inner for local, inner in found.items()}


def response(href: str, live: Mapping[Name, str], dead: Properties, wanted: Wanted) -> str:
    """Return one resource's part of a multistatus. live: with those about locks."""
    told = f"<D:href>{escaped(href)}</D:href>"
    everything = [*live, *(name for name in dead if name not in live)]
    if wanted.is_names:
        return f"<D:response>{told}{propstat(200, [tagged(name, '') for name in everything])}</D:response>"
    if wanted.names is not None:
        names = list(wanted.names)
    else:
        # From RFC 4331 3: quota is told to those alone who name it.
        names = [name for name in everything if name not in _QUOTA]
        names += [name for name in wanted.more if name not in names]
    there = [_shown(name, live, dead) for name in names if name in live or name in dead]
    missing = [tagged(name, "") for name in names if name not in live and name not in dead]
    parts = (propstat(200, there) if there or not missing else "") + (propstat(404, missing) if missing else "")
    return f"<D:response>{told}{parts}</D:response>"


def propstat(status: int, properties: Sequence[str], condition: str = "") -> str:
    """Return properties that share a status. condition: the precondition that failed, empty for none."""
    error = f"<D:error>{condition}</D:error>" if condition else ""
    line = f"<D:status>HTTP/1.1 {status} {_REASONS[status]}</D:status>"
    return f"<D:propstat><D:prop>{''.join(properties)}</D:prop>{line}{error}</D:propstat>"


def lockdiscovery(locks: Sequence[Lock], held: Held, now_ms: int) -> str:
    """Return the value of `lockdiscovery` for a resource that is under these locks."""
    return "".join(_active(lock, held.href(lock), now_ms) for lock in locks)


def media_type_of(name: str) -> str:
    """Return the media type that a file is given out as, by its name."""
    found = _TYPES.guess_type(name, strict=True)
    return found[0] if found[0] in _SAFE_TYPES and found[1] is None else OCTETS


def http_date(ms: int) -> str:
    """Return a moment as HTTP writes it. ms: Unix ms."""
    return formatdate(min(max(ms, 0) // 1_000, _LAST_S), usegmt=True)


_LAST_S = 253_402_300_799
"""The last second of the year 9999."""
_REASONS = {200: "OK", 403: "Forbidden", 404: "Not Found", 424: "Failed Dependency", 507: "Insufficient Storage"}


def _shown(name: Name, live: Mapping[Name, str], dead: Properties) -> str:
    if name in live:
        return tagged(name, live[name])
    value = dead[name]
    return tagged(name, value.value, f' xml:lang="{escaped(value.lang)}"' if value.lang else "")


def _active(lock: Lock, href: str, now_ms: int) -> str:
    scope = "exclusive" if lock.is_exclusive else "shared"
    owner = f"<D:owner>{lock.owner}</D:owner>" if lock.owner else ""
    return (
        f"<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:{scope}/></D:lockscope>"
        f"<D:depth>{'infinity' if lock.is_deep else '0'}</D:depth>{owner}"
        f"<D:timeout>Second-{max(0, lock.expires_at - now_ms) // 1_000}</D:timeout>"
        f"<D:locktoken><D:href>{lock.name}</D:href></D:locktoken>"
        f"<D:lockroot><D:href>{escaped(href)}</D:href></D:lockroot></D:activelock>"
    )


def _iso(ms: int) -> str:
    moment = datetime.datetime.fromtimestamp(min(max(ms, 0) // 1_000, _LAST_S), tz=datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _root(body: bytes, local: str) -> Element:
    root = parse(body)
    if root.name != (DAV, local):
        raise MessageInvalid(f"The request's body is no {local}.", reason=local)
    return root
