"""Accounts that make links to a small tree of theirs, and what whoever holds one asks."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.support.server import Answer, RunningServer, Session, User, ask, running_server

numbers = itertools.count()
PASSWORD = "a link's own password"
UNKNOWN = "A" * 43


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("links")) as running:
        yield running


@dataclass
class Maker:
    """An account with a small tree at `base`, from which its paths lead on. ids: of what stands at a path."""

    user: User
    session: Session
    base: str = ""
    ids: dict[str, str] = field(default_factory=dict)

    def fill(self) -> Maker:
        """Make the tree."""
        for path in ("", "/docs", "/docs/inner") if self.base else ("/docs", "/docs/inner"):
            self.folder(path)
        self.put("/docs/a.txt", b"the letter")
        self.put("/docs/inner/b.png", b"not really an image")
        self.put("/private.txt", b"private")
        return self

    def put(self, path: str, data: bytes) -> None:
        query = {"path": self.base + path}
        answer = ask(self.session.url, "PUT", "/api/v1/content", data, token=self.session.token, query=query)
        assert answer.status == 200, answer.body
        self.ids[path] = answer.json()["id"]

    def folder(self, path: str) -> None:
        self.ids[path] = self.session.ask("POST", "/api/v1/folders", {"path": self.base + path}).json()["id"]

    def link(self, path: str, **terms: object) -> dict:  # type: ignore[type-arg]
        answer = self.session.ask("POST", "/api/v1/links", {"path": self.base + path, **terms})
        assert answer.status == 201, answer.body
        return answer.json()

    def shown(self, link: dict) -> dict:  # type: ignore[type-arg]
        return self.session.ask("GET", f"/api/v1/links/{link['id']}").json()

    def names(self, path: str) -> list[str]:
        items = self.session.ask("GET", "/api/v1/files", path=self.base + path).json()["items"]
        return [item["name"] for item in items]


def signed_in(server: RunningServer) -> Maker:
    user = server.add_user(f"maker {next(numbers)}")
    return Maker(user, user.sign_in("laptop"))


@pytest.fixture(scope="module")
def maker(server: RunningServer) -> Maker:
    """An account whose tree tests only add to."""
    return signed_in(server).fill()


@pytest.fixture(scope="module")
def other(server: RunningServer) -> Maker:
    """An account of whose tree each test has a part of its own."""
    return signed_in(server)


@pytest.fixture
def own(other: Maker, locked: object) -> Maker:
    """A tree of one test alone."""
    return Maker(other.user, other.session, f"/all/{next(numbers)}").fill()


@pytest.fixture(scope="module")
def locked(other: Maker) -> dict[str, tuple[str, str]]:
    """Links with a password to all trees of that account, by permission: the token, and the key for it."""
    parent = Maker(other.user, other.session)
    found = {}
    parent.folder("/all")
    for permission in ("view", "edit", "upload"):
        token = parent.link("/all", permission=permission, password=PASSWORD)["token"]
        # A file request's key is asked by no test: each costs the hashing of a password.
        key = "" if permission == "upload" else unlock(parent, token, PASSWORD).json()["key"]
        found[permission] = token, key
    return found


def public(
    maker: Maker, token: str, route: str = "", method: str = "GET", body: object = None, key: str = "", **query: object
) -> Answer:
    headers = {"Satchel-Link-Key": key} if key else {}
    return ask(maker.session.url, method, f"/api/v1/public/{token}{route}", body, headers=headers, query=query or None)


def same(answer: Answer) -> tuple[int, bytes, dict[str, str]]:
    """Return all of an answer but the request's number and the time."""
    headers = {name: value for name, value in answer.headers.items() if name not in ("x-request-id", "date")}
    return answer.status, re.sub(rb'"id":"[0-9a-f]+"', b"", answer.body), headers


def unlock(maker: Maker, token: str, password: str) -> Answer:
    return public(maker, token, "/unlock", "POST", {"password": password})
