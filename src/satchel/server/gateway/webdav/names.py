"""Between addresses and names. Invariant: a name that is escaped and read again is the same name, whatever it holds.

An address is cut at its slashes before it is unescaped, so no escape makes a path of a name. Source: RFC 3986 (2, 3.3),
RFC 4918 (8.3, 10.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, unquote_to_bytes, urlsplit

from satchel.core.errors import NameInvalid
from satchel.core.paths import name_key, validate_name, validate_place
from satchel.server.gateway.raw import Scope, header
from satchel.server.gateway.webdav.answers import Refusal

PREFIX = "/dav"
Names = tuple[str, ...]
_PORTS = {"http": 80, "https": 443}


def names_of(raw_path: bytes) -> Names:
    """Return the names that an address's path leads through, none for the root. raw_path: still escaped.

    Raises: NameInvalid, LimitExceeded; Refusal (404) for a path that is not ours.
    """
    first, *rest = [part for part in raw_path.split(b"/") if part] or [b""]
    if unquote_to_bytes(first) != PREFIX[1:].encode():
        raise Refusal(404, "There is no such address.")
    names = tuple([_name(part) for part in rest])
    validate_place(names)
    return names


def href_of(names: Sequence[str], *, is_folder: bool) -> str:
    """Return the address of a path: escaped, absolute, a folder's with a slash at its end."""
    path = "/".join([PREFIX, *(quote(name, safe="") for name in names)])
    return path + "/" if is_folder else path


def destination_of(scope: Scope, *, public_url: str) -> Names:
    """Return where a COPY or MOVE leads. Raises: Refusal (400 without one, 502 to another server), as `names_of`."""
    told = header(scope["headers"], b"destination").decode("latin-1").strip()
    if not told:
        raise Refusal(400, "The request has no Destination.")
    return names_here(scope, told, public_url=public_url)


def names_here(scope: Scope, reference: str, *, public_url: str) -> Names:
    """Return the names of an absolute address or path of ours. Raises: as `destination_of`."""
    try:
        parts = urlsplit(reference)
        is_here = not parts.netloc or _authority(parts.scheme, parts.netloc) in _own(scope, public_url)
    except ValueError as error:
        raise Refusal(400, "An address in the request cannot be read.") from error
    if parts.query or parts.fragment or not parts.path.startswith("/"):
        # A '?' or '#' that should have been escaped would name another file.
        raise Refusal(400, "An address in the request is no plain path, absolute or with its server.")
    if not is_here or not (parts.path + "/").startswith(PREFIX + "/"):
        raise Refusal(502, "That address is on another server.")
    return names_of(parts.path.encode("latin-1", errors="replace"))


def is_inside(names: Names, above: Names) -> bool:
    """Tell whether a path is another one or lies beneath it, as the server compares names."""
    return [name_key(name) for name in names[: len(above)]] == [name_key(name) for name in above]


def _own(scope: Scope, public_url: str) -> set[str]:
    scheme = scope.get("scheme", "http")
    own = {_authority(each, header(scope["headers"], b"host").decode("latin-1")) for each in (scheme, *_PORTS)}
    public = urlsplit(public_url)
    return own | ({_authority(public.scheme, public.netloc)} if public.netloc else set())


def _authority(scheme: str, netloc: str) -> str:
    """Return host and port, without the port that the scheme has anyway."""
    host = netloc.rpartition("@")[2].lower()
    port = _PORTS.get(scheme.lower())
    return host.removesuffix(f":{port}") if port else host


def _name(part: bytes) -> str:
    try:
        name = unquote_to_bytes(part).decode()
    except UnicodeDecodeError as error:
        told = part.decode("latin-1")
        raise NameInvalid("A name in the address is not UTF-8.", name=told, reason="surrogate") from error
    validate_name(name)
    return name
