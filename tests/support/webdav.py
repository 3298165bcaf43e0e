"""A WebDAV client for tests, as plain as can be: it sends exactly what it is told and reads what comes.

`dav` is a client whose paths begin in a folder of its own, on one server and account for all tests of a worker.
"""

from __future__ import annotations

import base64
import http.client
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote
from xml.etree import ElementTree

import pytest

from tests.support.server import ANSWER_TIMEOUT_S, Answer, RunningServer, Session, running_server

_numbers = itertools.count()
D = "{DAV:}"
LOCK_BODY = (
    '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype>'
    "<D:owner>{owner}</D:owner></D:lockinfo>"
)


@dataclass(frozen=True, slots=True)
class Found:
    """One resource of a multistatus: properties that are there, by name in ElementTree's form, and those that failed.

    failed: status by name.
    """

    href: str
    properties: dict[str, ElementTree.Element]
    failed: dict[str, int]

    def text(self, name: str) -> str:
        return "".join(self.properties[D + name].itertext())


@dataclass(frozen=True, slots=True)
class Dav:
    """Somebody's client. base: the folder that its paths begin in, empty for the root."""

    port: int
    user: str
    password: str
    session: Session
    base: str = ""

    @property
    def root(self) -> Dav:
        """The same client at the root."""
        return replace(self, base="")

    def ask(self, method: str, path: str, body: bytes | Iterable[bytes] = b"", /, **headers: str) -> Answer:
        """Ask once. path: beneath /dav, escaped as it is to be sent; headers: with `_` for `-`."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        told.setdefault("Authorization", basic(self.user, self.password))
        return asked(self.port, method, "/dav" + self.base + path, body, told)

    def put(self, path: str, data: bytes = b"data", **headers: str) -> Answer:
        answer = self.ask("PUT", path, data, **headers)
        assert answer.status in (201, 204), (answer.status, answer.body)
        return answer

    def mkcol(self, path: str) -> None:
        assert self.ask("MKCOL", path).status == 201

    def get(self, path: str) -> bytes:
        answer = self.ask("GET", path)
        assert answer.status == 200, answer.status
        return answer.body

    def status(self, method: str, path: str, body: bytes = b"", /, **headers: str) -> int:
        return self.ask(method, path, body, **headers).status

    def propfind(self, path: str, *names: str, depth: str = "0") -> list[Found]:
        """Ask for properties of the standard by local name, all without names."""
        asked_for = "".join(f"<D:{name}/>" for name in names)
        body = f'<D:propfind xmlns:D="DAV:"><D:prop>{asked_for}</D:prop></D:propfind>'.encode() if names else b""
        answer = self.ask("PROPFIND", path, body, Depth=depth)
        assert answer.status == 207, answer.body
        return multistatus(answer)

    def names(self, path: str = "/") -> list[str]:
        """Return the addresses of what stands in a folder, without itself."""
        return [
            found.href.removeprefix("/dav" + self.base) for found in self.propfind(path, "resourcetype", depth="1")[1:]
        ]

    def proppatch(self, path: str, inner: str, **headers: str) -> Answer:
        body = f'<D:propertyupdate xmlns:D="DAV:">{inner}</D:propertyupdate>'
        return self.ask("PROPPATCH", path, body.encode(), **headers)

    def lock(self, path: str, scope: str = "exclusive", *, owner: str = "me", **headers: str) -> Answer:
        return self.ask("LOCK", path, LOCK_BODY.format(scope=scope, owner=owner).encode(), **headers)

    def locked(self, path: str, scope: str = "exclusive", **headers: str) -> str:
        """Lock, and return the token with its brackets."""
        answer = self.lock(path, scope, **headers)
        assert answer.status in (200, 201), (answer.status, answer.body)
        return answer.headers["lock-token"]

    def versions(self, path: str) -> int:
        return len(self.session.ask("GET", "/api/v1/versions", path=self.base + path).json()["versions"])

    def trash(self) -> list[str]:
        paths = [item["path"] for item in self.session.ask("GET", "/api/v1/trash").json()["items"]]
        return [path.removeprefix(self.base) for path in paths if path.startswith(self.base + "/")]

    def to(self, path: str) -> str:
        """Return an address for a Destination header."""
        return f"http://127.0.0.1:{self.port}/dav{self.base}{path}"


def asked(port: int, method: str, target: str, body: bytes | Iterable[bytes], headers: Mapping[str, str]) -> Answer:
    """Ask on a connection of its own; a body in parts goes without a length."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request(method, target, body or None, dict(headers), encode_chunked=not isinstance(body, bytes))
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def multistatus(answer: Answer) -> list[Found]:
    root = ElementTree.fromstring(answer.body)
    assert root.tag == D + "multistatus"
    return [_found(response) for response in root]


def condition(answer: Answer) -> str:
    """Return the precondition that an answer names."""
    root = ElementTree.fromstring(answer.body)
    assert root.tag == D + "error"
    return root[0].tag.removeprefix(D)


def escaped(name: str) -> str:
    return quote(name, safe="")


def client(server: RunningServer, *, quota_bytes: int | None = None) -> Dav:
    """Return a client with an account of its own."""
    name = f"dav {next(_numbers)}"
    session = server.add_user(name, quota_bytes=quota_bytes).sign_in("dav")
    return Dav(server.port, name, session.token, session)


@pytest.fixture(scope="session")
def dav_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("dav")) as running:
        yield running


@pytest.fixture(scope="session")
def dav_root(dav_server: RunningServer) -> Dav:
    return client(dav_server)


@pytest.fixture
def dav(dav_root: Dav) -> Dav:
    base = f"/test{next(_numbers)}"
    dav_root.mkcol(base)
    return replace(dav_root, base=base)


def _found(response: ElementTree.Element) -> Found:
    properties: dict[str, ElementTree.Element] = {}
    failed: dict[str, int] = {}
    for propstat in response.findall(D + "propstat"):
        status = int(propstat.findtext(D + "status", "").split()[1])
        for each in propstat.findall(f"{D}prop/*"):
            if status == 200:
                properties[each.tag] = each
            else:
                failed[each.tag] = status
    return Found(response.findtext(D + "href", ""), properties, failed)
