"""A running service with somebody of each kind before a shared folder, and what each of them would send.

ann owns `/Team`; others edit it, view it, did so once, hold links to it, or have nothing to do with it.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest

from satchel.core.access import Role
from satchel.server.accounts.passwords import NO_PASSWORD
from satchel.server.accounts.proving import Proved
from satchel.server.accounts.service import register_account, register_device
from satchel.server.accounts.sessions import begin_session
from satchel.server.adapters.machine import MachineClock
from satchel.server.db.opening import open_database
from tests.support.server import ANSWER_TIMEOUT_S, RunningServer, running_server

OWNER, EDITOR, VIEWER, FORMER, OTHER = "owner", "editor", "viewer", "former member", "other tenant"
ACCOUNTS = (OWNER, EDITOR, VIEWER, FORMER, OTHER)
LINK, VIEW_LINK, UPLOAD_LINK, LOCKED, EXPIRED = "link", "view link", "upload link", "wrong password", "expired link"
HOLDERS = (LINK, VIEW_LINK, UPLOAD_LINK, LOCKED, EXPIRED)
APP, NOBODY = "read-only app password", "nobody"
EVERYBODY = (*ACCOUNTS, *HOLDERS, APP, NOBODY)
ROLES = {OWNER: Role.OWNER, EDITOR: Role.EDITOR, VIEWER: Role.VIEWER, FORMER: Role.NONE, OTHER: Role.NONE}
GOOD = frozenset({200, 201, 204, 206, 207, 303, 304})
HOOK = "http://127.0.0.1:9/hook"
"""Where nobody listens."""
VARYING = frozenset({"date", "x-request-id", "satchel-request-id"})
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Asking:
    """What is sent. body: bytes as they are, anything else as JSON."""

    path: str
    body: object = None
    query: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """What came back, without what differs each time."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Person:
    """An account with a device and a browser, whose ids are hex."""

    account_id: str
    token: str
    session_id: str


def peopled(data: Path) -> dict[str, Person]:
    """Make the accounts in the data folder of a service that does not run yet: without passwords, which take time."""

    async def made() -> dict[str, Person]:
        clock = MachineClock()
        db = await open_database(f"sqlite:///{data}/metadata.db", clock)
        found = {}
        try:
            for who in ACCOUNTS:
                one = await register_account(db, clock, name=who, password_hash=NO_PASSWORD)
                token, _ = await register_device(db, clock, account_id=one.account_id, name="laptop")
                proved = Proved(one.account_id, who, one.root_ns, NO_PASSWORD)
                _, session = await begin_session(db, clock, proved, name="Fox")
                found[who] = Person(one.account_id.hex(), token, session.session_id.hex())
        finally:
            await db.close()
        return found

    data.mkdir(mode=0o700)
    return asyncio.run(made())


class World:
    """The service and its people."""

    def __init__(self, server: RunningServer, people: Mapping[str, Person]) -> None:
        self.server = server
        self._line = self._connected()
        self.accounts = {who: one.account_id for who, one in people.items()}
        self.session = people[OWNER].session_id
        self.credentials = {who: f"Bearer {one.token}" for who, one in people.items()}
        self.ns = self.share("/Team", EDITOR, VIEWER, FORMER)
        member = f"/api/v1/shares/{self.ns}/members/{self.accounts[FORMER]}"
        assert self.ask(OWNER, "DELETE", Asking(member)).status == 204
        self.put("/Team/file", b"first")
        self.rev = self.own("/api/v1/entry", path="/Team/file")["rev"]
        self.file = self.put("/Team/file", b"second")
        self.folder = self.made("/Team/folder")
        self.gone = self.trashed()
        # Each has a history of their own.
        for who in ACCOUNTS:
            self.answer(who, "POST", Asking("/api/v1/folders", {"path": "/own"}))
        self.links = {
            LINK: self.link(permission="edit"),
            VIEW_LINK: self.link(permission="view"),
            UPLOAD_LINK: self.link(permission="upload"),
            LOCKED: self.link(permission="edit", password="the right password"),
        }
        self.linked = self.put("/Team/folder/linked", b"linked")
        self.link_id = self.links[VIEW_LINK]["id"]
        # A second from now is over when the first is asked for: the rest of this takes longer.
        made = {"path": "/Team/folder", "permission": "edit", "expires_ms": self.now_ms() + 500}
        self.links[EXPIRED] = self.answer(OWNER, "POST", Asking("/api/v1/links", made))
        shown = self.answer(OWNER, "POST", Asking("/api/v1/app-passwords", {"name": "reader", "may_write": False}))
        another = self.answer(OWNER, "POST", Asking("/api/v1/app-passwords", {"name": "another"}))
        self.app_password = another["app_password"]["id"]
        self.device = self.new_device(OWNER)["device_id"]
        self.upload_id, self.webhook_id = self.upload(), self.webhook()
        basic = base64.b64encode(f"{OWNER}:{shown['secret']}".encode()).decode()
        self.credentials |= {APP: f"Basic {basic}", NOBODY: ""}
        self.credentials |= {who: f"Bearer {link['token']}" for who, link in self.links.items()}
        while self.now_ms() <= made["expires_ms"]:  # type: ignore[operator]
            self.own("/api/v1/account")

    # -- asking ---------------------------------------------------------------------------------------------------

    def ask(self, who: str, method: str, asking: Asking) -> Told:
        """Ask once as somebody, on a connection that is kept."""
        body, headers = asking.body, {"Content-Type": "application/json", **asking.headers}
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/octet-stream"
        if credential := self.credentials.get(who, ""):
            headers["Authorization"] = credential
        path = quote(asking.path, safe="/") + (f"?{urlencode(dict(asking.query))}" if asking.query else "")
        try:
            self._line.request(method, path, raw, headers)
            answer = self._line.getresponse()
        except (http.client.HTTPException, ConnectionError):
            # The service closed it after the answer before.
            self._line = self._connected()
            self._line.request(method, path, raw, headers)
            answer = self._line.getresponse()
        told = answer.read()
        kept = sorted((name.lower(), value) for name, value in answer.headers.items() if name.lower() not in VARYING)
        return Told(answer.status, tuple(kept), _without_id(told))

    def answer(self, who: str, method: str, asking: Asking) -> Any:
        """As `ask`, of what must work."""
        told = self.ask(who, method, asking)
        assert told.status < 300, (who, method, asking, told)
        return told.json() if told.body else None

    def own(self, path: str, /, **query: object) -> Any:
        """Return what the owner sees."""
        return self.answer(OWNER, "GET", Asking(path, query=query))

    def now_ms(self) -> int:
        """Return the service's time: when the newest thing was done."""
        made = self.answer(OWNER, "POST", Asking("/api/v1/links", {"path": "/Team/folder"}))
        self.answer(OWNER, "DELETE", Asking(f"/api/v1/links/{made['id']}"))
        found: int = made["created_ms"]
        return found

    # -- what is asked for ------------------------------------------------------------------------------------------

    def name(self) -> str:
        """Return a name that nothing has."""
        return f"new {next(_numbers)}"

    def put(self, path: str, data: bytes = b"data") -> str:
        """Store a file of the owner's; return its id."""
        made: str = self.answer(OWNER, "PUT", Asking("/api/v1/content", data, {"path": path}))["id"]
        return made

    def made(self, path: str) -> str:
        """Make a folder of the owner's; return its id."""
        made: str = self.answer(OWNER, "POST", Asking("/api/v1/folders", {"path": path}))["id"]
        return made

    def trashed(self) -> str:
        """Return the id of a file in the trash of the shared folder."""
        path = f"/Team/{self.name()}"
        node = self.put(path)
        self.answer(OWNER, "POST", Asking("/api/v1/delete", {"path": path}))
        return node

    def upload(self, size: int = 1) -> str:
        """Begin an upload of the owner's; return its id."""
        asked = {"path": f"/Team/{self.name()}", "size": size}
        made: str = self.answer(OWNER, "POST", Asking("/api/v1/uploads", asked))["id"]
        return made

    def webhook(self) -> str:
        """Make a webhook of the owner's; return its id."""
        asked = {"url": HOOK, "events": ["link.used"]}
        made: str = self.answer(OWNER, "POST", Asking("/api/v1/webhooks", asked))["id"]
        return made

    def link(self, **terms: object) -> dict[str, Any]:
        """Return a link of the owner's to `/Team/folder`."""
        made: dict[str, Any] = self.answer(OWNER, "POST", Asking("/api/v1/links", {"path": "/Team/folder", **terms}))
        return made

    def share(self, path: str, *members: str) -> str:
        """Make a shared folder of the owner's, which the members take up; return its namespace."""
        self.made(path)
        roles = {EDITOR: "editor", FORMER: "editor", VIEWER: "viewer"}
        people = [{"user": who, "role": roles[who]} for who in members]
        ns: str = self.answer(OWNER, "POST", Asking("/api/v1/shares", {"path": path, "with": people}))["id"]
        for who in members:
            self.answer(who, "POST", Asking(f"/api/v1/share-invitations/{ns}/accept"))
        return ns

    def waiting_code(self) -> dict[str, Any]:
        """Return the codes of a device that waits to be approved."""
        made: dict[str, Any] = self.answer(NOBODY, "POST", Asking("/api/v1/device-codes", {"device_name": "headless"}))
        return made

    def new_device(self, who: str) -> dict[str, Any]:
        """Sign another device of an account in, without a password; return its token and ids."""
        code = self.waiting_code()
        self.answer(who, "POST", Asking("/api/v1/device-codes/approve", {"user_code": code["user_code"]}))
        asked = Asking("/api/v1/device-codes/poll", {"device_code": code["device_code"]})
        made: dict[str, Any] = self.answer(NOBODY, "POST", asked)["signed_in"]
        return made

    def close(self) -> None:
        """Let go of the connection."""
        self._line.close()

    def _connected(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.server.url)
        return http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=ANSWER_TIMEOUT_S)


def _without_id(body: bytes) -> bytes:
    """Return an error's body without the request's own id."""
    try:
        told = json.loads(body)
        told["error"]["id"] = ""
    except (ValueError, TypeError, KeyError):
        return body
    return json.dumps(told).encode()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("server")
    people = peopled(folder / "data")
    with running_server(folder, environment={"SATCHEL_WEBHOOK_NETWORKS": "127.0.0.0/8"}) as server:
        made = World(server, people)
        yield made
        made.close()
