"""What stands beside REST, asked by everybody: WebDAV, the devices' protocol and its stream allow what the same rights
allow there, and no more.
"""

from __future__ import annotations

import itertools
from urllib.parse import quote

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from satchel.core.access import Right, Role, allows
from satchel.core.ids import ROOT_NODE, LinkId, NamespaceId, NodeId, Tag
from satchel.core.messages import (
    ChangesRequest,
    CommitRequest,
    GetRequest,
    ManifestsRequest,
    Position,
    PutRequest,
    ScopeRequest,
    SnapshotRequest,
    encode_frame,
)
from tests.support.rights_world import (
    ACCOUNTS,
    APP,
    EVERYBODY,
    FORMER,
    GOOD,
    OTHER,
    ROLES,
    VIEWER,
    Asking,
    World,
    world,
)
from tests.support.webdav import LOCK_BODY

__all__ = ["world"]

DAV: dict[str, tuple[Right | frozenset[str], bytes, dict[str, str]]] = {
    # method: what it wants, its body and its headers
    "GET": (Right.READ, b"", {}),
    "HEAD": (Right.READ, b"", {}),
    "PROPFIND": (Right.READ, b"", {"Depth": "0"}),
    "PUT": (Right.WRITE, b"x", {}),
    "MKCOL": (Right.WRITE, b"", {}),
    "PROPPATCH": (
        Right.WRITE,
        b'<propertyupdate xmlns="DAV:"><set><prop><x xmlns="x">1</x></prop></set></propertyupdate>',
        {},
    ),
    "COPY": (Right.WRITE, b"", {"Destination": ""}),
    "MOVE": (Right.WRITE, b"", {"Destination": ""}),
    "LOCK": (Right.WRITE, LOCK_BODY.format(scope="shared", owner="me").encode(), {"Depth": "0"}),
    "UNLOCK": (Right.WRITE, b"", {"Lock-Token": "<urn:uuid:00000000-0000-0000-0000-000000000000>"}),
    "DELETE": (Right.DELETE, b"", {}),
}
READS = frozenset({"GET", "HEAD", "PROPFIND"})


def test_each_may_over_webdav_what_the_same_rights_allow(world: World) -> None:
    wrong = []
    for who, (method, (wants, body, more)) in itertools.product(EVERYBODY, DAV.items()):
        is_member = who in ROLES and ROLES[who] is not Role.NONE
        may = (who in ROLES and allows(ROLES[who], wants)) or (who == APP and method in READS)
        path = f"/Team/{world.name()}"
        if method not in ("PUT", "MKCOL"):
            world.put(path)
        headers = {name: value or f"/dav{quote(path)} moved" for name, value in more.items()}
        headers = {
            name: value.replace(" ", "%20") if name == "Destination" else value for name, value in headers.items()
        }
        told = world.ask(who, method, Asking(f"/dav{path}", body, headers=headers))
        if method == "UNLOCK" and may:
            fine = told.status == 409
        elif may:
            fine = told.status in GOOD
        else:
            fine = told.status in ((403, 404) if is_member else (403,) if who == APP else (401,))
            fine = fine or (who in (FORMER, OTHER) and told.status in (404, 409))
        if not fine:
            wrong.append((who, method, told.status, told.body[:200]))
    assert wrong == []


def frames(ns: NamespaceId) -> dict[str, bytes]:
    """Return what a device would ask of a namespace, by call."""
    link, none = LinkId(b"l" * 16), NodeId(b"")
    asked = {
        "commit": CommitRequest(ns, link, ()),
        "blocks/put": PutRequest(ns, ()),
        "blocks/get": GetRequest(ns, ()),
        "changes": ChangesRequest(Position(ns, 0, Tag(b"")), link),
        "snapshot": SnapshotRequest(ns, NodeId(ROOT_NODE), none),
        "scope": ScopeRequest(ns, link, ()),
        "manifests/get": ManifestsRequest(ns, ()),
    }
    return {call: b"".join(encode_frame(message)) for call, message in asked.items()}


def test_each_may_over_the_devices_protocol_what_the_same_rights_allow(world: World) -> None:
    wrong = []
    here, nowhere = frames(NamespaceId(bytes.fromhex(world.ns))), frames(NamespaceId(b"n" * 16))
    for who, call in itertools.product(EVERYBODY, here):
        wants = Right.WRITE if call in ("commit", "blocks/put") else Right.READ
        told = world.ask(who, "POST", Asking(f"/sync/v1/{call}", here[call]))
        if who not in ACCOUNTS:
            fine = told.status == 401
        elif allows(ROLES[who], wants):
            fine = told.status == 200
        else:
            fine = told.status == 404
            fine = fine and (who == VIEWER or told == world.ask(who, "POST", Asking(f"/sync/v1/{call}", nowhere[call])))
        if not fine:
            wrong.append((who, call, told.status, told.body[:200]))
    assert wrong == []


def test_a_stream_opens_for_devices_alone(world: World) -> None:
    url = world.server.url.replace("http", "ws", 1) + "/sync/v1/stream"
    opened = {}
    for who in EVERYBODY:
        headers = {"Authorization": world.credentials[who]} if world.credentials[who] else {}
        try:
            with connect(url, additional_headers=headers, compression=None, proxy=None):
                opened[who] = 101
        except InvalidStatus as refused:
            opened[who] = refused.response.status_code
    assert opened == {who: 101 if who in ACCOUNTS else 401 for who in EVERYBODY}
