"""What the REST rooms share: values in and out, who asks, the answer to a fault. Invariant: ids are hex outside."""

from __future__ import annotations

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from satchel.core.entries import Entry, Kind
from satchel.core.errors import Fault, LimitExceeded, MessageInvalid, NotFound
from satchel.core.ids import NamespaceId
from satchel.core.limits import JSON_BODY_BYTES_MAX
from satchel.server.accounts.principal import Principal
from satchel.server.gateway.counters import OTHER
from satchel.server.gateway.errors import as_fault, headers_of, json_body
from satchel.server.gateway.services import Services
from satchel.server.gateway.tally import CODE

Asked = Request[object, object, State]

KINDS: dict[int, str] = {Kind.FILE: "file", Kind.FOLDER: "folder", Kind.SYMLINK: "symlink", Kind.MOUNT: "mount"}


class Item(msgspec.Struct, frozen=True):
    """A node as programs see it. rev: writes expect it as `If-Match`; content_hash: of a file; target: of a symlink.

    namespace: the one it stands in, whose id goes with its own. mounts: of a mount, the namespace that it shows.
    """

    id: str
    parent_id: str
    name: str
    kind: str
    size: int
    mtime_ns: int
    is_executable: bool
    rev: int
    seq: int
    content_hash: str
    target: str
    namespace: str = ""
    mounts: str = ""


class Items(msgspec.Struct, frozen=True):
    """A page of nodes. after: give it to get the next page; empty at the end."""

    items: list[Item]
    after: str


def services_of(request: Asked) -> Services:
    """Return what the application was built with."""
    services: Services = request.app.state.services
    return services


def address_of(request: Asked) -> str:
    """Return where the request came from."""
    return request.client.host if request.client else ""


async def admin_of(request: Asked) -> Principal:
    """Return who asks, an administrator. Raises: Unauthenticated, NotFound."""
    principal = await principal_of(request)
    if not principal.is_admin:
        raise NotFound("There is no such route.")
    return principal


async def principal_of(request: Asked) -> Principal:
    """Return who asks. Raises: Unauthenticated."""
    return await services_of(request).identity.of_scope(request.scope)  # type: ignore[arg-type]  # its names for these


def item_of(ns: NamespaceId, entry: Entry) -> Item:
    """Return an entry of a namespace as programs see it."""
    kind = Kind(entry.kind)
    return Item(
        id=entry.node_id.hex(),
        parent_id=entry.parent_id.hex(),
        name=entry.name,
        kind=KINDS[kind],
        size=entry.size,
        mtime_ns=entry.mtime_ns,
        is_executable=entry.is_executable,
        rev=entry.content_rev,
        seq=entry.seq,
        content_hash=entry.content.hex() if kind is Kind.FILE else "",
        target=entry.content.decode(errors="replace") if kind is Kind.SYMLINK else "",
        namespace=ns.hex(),
        mounts=entry.content.hex() if kind is Kind.MOUNT else "",
    )


def from_hex(text: str, *, what: str, length: int = 16) -> bytes:
    """Return an id's bytes. Raises: MessageInvalid."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != length:
        raise MessageInvalid(f"The {what} is no id.", reason=what)
    return raw


def namespace_of(principal: Principal, text: str) -> NamespaceId:
    """Return the namespace that a query names in hex; the account's own when it names none. Raises: MessageInvalid."""
    return NamespaceId(from_hex(text, what="namespace")) if text else principal.root_ns


def answer_fault(request: Asked, error: Exception) -> Response[bytes]:
    """Return the answer to any exception of a REST route, the framework's own among them."""
    services = services_of(request)
    if isinstance(error, HTTPException):
        error = _translated(error)
    fault, number = as_fault(error, services.clock, route=request.scope.get("path_template") or OTHER)
    request.scope[CODE] = fault.code  # type: ignore[literal-required]  # a key of ours beside the framework's
    body = json_body(fault, number)
    headers = {name.decode(): value.decode() for name, value in headers_of(fault, b"application/json", body)}
    del headers["content-type"], headers["content-length"]
    return Response(body, status_code=fault.status, headers=headers, media_type="application/json")


def _translated(error: HTTPException) -> Fault:
    if error.status_code in (404, 405):
        return NotFound("There is no such route.")
    if error.status_code == 413:
        return LimitExceeded(
            "The request's body is too long.", limit="JSON_BODY_BYTES_MAX", maximum=JSON_BODY_BYTES_MAX, actual="more"
        )
    if error.status_code >= 500:
        return Fault("Something went wrong inside the server.")
    return MessageInvalid("The request is not what this route takes.", reason=_reason(error))


def _reason(error: HTTPException) -> str:
    """Return what is wrong, by the names of the fields; the framework's text holds no values."""
    extra = error.extra if isinstance(error.extra, list) else []
    told = [f"{part.get('key', '')}: {part.get('message', '')}" for part in extra if isinstance(part, dict)]
    return "; ".join(told) or error.detail
