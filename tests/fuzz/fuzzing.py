"""Asks a running server all that its description allows, and what it does not: whatever it answers is described.

Schemathesis makes the requests from the OpenAPI document; half of the ids, paths and tokens in them are replaced by
ones that exist, so that not all of them end at a 404. Every answer must have a status that the document names, a code
that it names for that status, and a body of the type that it names; none is a 5xx.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import jsonschema_rs
import requests
import schemathesis
from hypothesis import strategies as st
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from schemathesis import GenerationMode

from tests.support.server import RunningServer, Session, ask

ANSWER_S = 60.0
PASSWORD = "not one of the examples"
"""Requests are made of the examples too, and one changes the password."""
SHOWN_CHARS = 600
KEYLESS = 0.9
BEHIND_PROXY = ("--behind-proxy", "127.0.0.1")
"""What the server is started with: each request comes from an address of its own, or most would be told to wait."""
REFUSED_BY_HTTP = b"Invalid HTTP request received."
"""What the parser of HTTP itself says, before anything of ours is asked."""
BACKEND = "satchel-plain"


class Plain(HypothesisProvider):
    """Hypothesis's own draws, one example after the other. Its usual way makes most examples out of parts of earlier
    ones and keeps a tree of all, which takes three quarters of the time of thousands of requests."""


AVAILABLE_PROVIDERS[BACKEND] = f"{__name__}.{Plain.__name__}"


@dataclass
class Found:
    """What came of it. wrong: each kind of wrong answer once, with a request that leads to it."""

    asked: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: dict[str, str] = field(default_factory=dict)


class Fuzzer:
    """Requests to one server, started with BEHIND_PROXY, in the name of an account that it makes there."""

    def __init__(self, server: RunningServer) -> None:
        self._user = server.add_user("fuzz", password=PASSWORD, is_admin=True)
        self._addresses = (f"10.{at >> 16 & 255}.{at >> 8 & 255}.{at & 255}" for at in itertools.count(1))
        self._session = session = self._signed_in()
        self.document: dict[str, Any] = ask(session.url, "GET", "/api/v1/openapi.json").json()
        schema = schemathesis.openapi.from_dict(json.loads(json.dumps(self.document)))
        made = [each.ok() for each in schema.get_all_operations()]
        self._operations = {operation.label: operation for operation in made}
        self._known = prepared(session)
        self._http = requests.Session()
        self._validators: dict[str, jsonschema_rs.Validator] = {}
        self.found = Found()

    def operations(self, only: str = "") -> Iterator[str]:
        """Yield the labels of all operations, like `GET /api/v1/files`."""
        yield from (label for label in self._operations if only in label)

    def fuzz(self, label: str, *, cases: int, seed: int) -> None:
        """Ask one operation `cases` times, two thirds of them as described and the others not."""
        operation = self._operations[label]
        modes = [(GenerationMode.POSITIVE, cases - cases // 3), (GenerationMode.NEGATIVE, cases // 3)]
        for mode, count in modes:
            if count == 0:
                continue
            made = operation.as_strategy(generation_mode=mode)

            @hypothesis.seed(seed)
            @hypothesis.settings(
                max_examples=count,
                backend=BACKEND,
                database=None,
                deadline=None,
                phases=[hypothesis.Phase.generate],
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            @hypothesis.given(case=made, random=st.randoms(use_true_random=False))
            def run(case: Any, random: Any) -> None:
                self._one(label, case, random)

            try:
                run()
            except (hypothesis.errors.Unsatisfiable, hypothesis.errors.FailedHealthCheck):
                # An operation that takes nothing cannot be asked what it does not take.
                continue

    def _one(self, label: str, case: Any, random: Any) -> None:
        for place in (case.path_parameters, case.query, case.headers):
            _replace(place, self._known, random)
        if isinstance(case.body, dict):
            _replace(case.body, self._known, random)
        if isinstance(case.query, MutableMapping) and isinstance(case.query.get("timeout"), int):
            # What is asked for is the answer, and not to wait for it.
            case.query["timeout"] = min(case.query["timeout"], 0)
        told = {"Authorization": f"Bearer {self._session.token}", "X-Forwarded-For": next(self._addresses)}
        try:
            kwargs = case.as_transport_kwargs(base_url=self._session.url, headers=told)
        except (UnicodeEncodeError, ValueError):
            return
        kwargs.pop("session", None)
        try:
            response = self._http.request(**kwargs, timeout=ANSWER_S, allow_redirects=False)
        except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, UnicodeError):
            return
        except requests.exceptions.RequestException as error:
            self._wrong(label, f"no answer: {type(error).__name__}", kwargs, str(error))
            return
        self.found.asked[label] += 1
        self.found.statuses[response.status_code] += 1
        self._check(label, response, kwargs)
        if response.status_code == 401 and self._session.ask("GET", "/api/v1/account").status == 401:
            self._session = self._signed_in()

    def _signed_in(self) -> Session:
        login = {"user": self._user.name, "password": PASSWORD, "device_name": "fuzz"}
        address = {"X-Forwarded-For": next(self._addresses)}
        told = ask(self._user.url, "POST", "/api/v1/login", login, headers=address)
        assert told.status == 200, told.body
        found = told.json()
        ids = (bytes.fromhex(found[name]) for name in ("account_id", "device_id", "root_ns"))
        return Session(self._user.url, found["token"], *ids)

    def _check(self, label: str, response: requests.Response, kwargs: Mapping[str, Any]) -> None:
        status = response.status_code
        if response.content == REFUSED_BY_HTTP:
            return
        method, _, path = label.partition(" ")
        answer = self.document["paths"][path][method.lower()]["responses"].get(str(status))
        if status >= 500 and not (status == 507 and answer):
            self._wrong(label, f"{status}", kwargs, response.text)
        elif answer is None:
            code = _code(response)
            if (status, code) == (404, "not_found") or (status, path) == (401, "/api/v1/logout"):
                return
            self._wrong(label, f"{status} is not described", kwargs, response.text)
        elif status >= 400 and response.content:
            code = _code(response)
            if code not in answer["content"]["application/json"]["examples"]:
                self._wrong(label, f"{status} {code} is not described", kwargs, response.text)
        elif response.content and "json" in response.headers.get("content-type", ""):
            self._check_body(label, answer, response, kwargs)

    def _check_body(self, label: str, answer: Any, response: requests.Response, kwargs: Mapping[str, Any]) -> None:
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        if schema is None:
            self._wrong(label, "a body is not described", kwargs, response.text)
            return
        key = f"{label} {response.status_code}"
        if key not in self._validators:
            whole = {"components": self.document["components"], **schema}
            self._validators[key] = jsonschema_rs.validator_for(whole)
        errors = [error.message for error in self._validators[key].iter_errors(response.json())]
        if errors:
            self._wrong(label, "the body is not as described", kwargs, "; ".join(errors))

    def _wrong(self, label: str, kind: str, kwargs: Mapping[str, Any], text: str) -> None:
        asked = {key: kwargs.get(key) for key in ("method", "url", "params", "json", "data", "headers")}
        asked["headers"] = {k: v for k, v in dict(asked["headers"] or {}).items() if k.lower() != "authorization"}
        self.found.wrong.setdefault(f"{label}: {kind}", f"{asked!r}"[:SHOWN_CHARS] + f"\n    -> {text[:SHOWN_CHARS]}")


def prepared(session: Session) -> dict[str, list[object]]:
    """Make a few files, versions, a share and links; return what requests may name, by the names of fields."""
    for path, data in (("/a.txt", b"one"), ("/a.txt", b"two"), ("/b.bin", b"\0" * 700_000), ("/gone", b"x")):
        assert session.ask("PUT", "/api/v1/content", data, path=path).status == 200
    for path in ("/docs", "/docs/inner", "/team"):
        assert session.ask("POST", "/api/v1/folders", {"path": path}).status == 201
    session.ask("PUT", "/api/v1/content", b"deep", path="/docs/inner/c.txt")
    session.ask("POST", "/api/v1/delete", {"path": "/gone"})
    trashed = session.ask("GET", "/api/v1/trash").json()["items"][0]["id"]
    items = {path: session.ask("GET", "/api/v1/entry", path=path).json() for path in ("/a.txt", "/docs", "/b.bin")}
    share = session.ask("POST", "/api/v1/shares", {"path": "/team"}).json()["id"]
    links = [
        session.ask("POST", "/api/v1/links", {"path": path, "permission": permission, **more}).json()
        for path, permission, more in (
            ("/docs", "view", {}),
            ("/docs", "edit", {}),
            ("/docs", "upload", {}),
            ("/b.bin", "view", {"password": "a good password"}),
        )
    ]
    upload = session.ask("POST", "/api/v1/uploads", {"path": "/new.bin", "size": 10}).json()["id"]
    revs = [each["rev"] for each in session.ask("GET", "/api/v1/versions", path="/a.txt").json()["versions"]]
    ids: list[object] = [items["/a.txt"]["id"], items["/docs"]["id"], items["/b.bin"]["id"], trashed]
    cursor = session.ask("GET", "/api/v1/sync").json()["cursor"]
    return {
        "path": ["/a.txt", "/b.bin", "/docs", "/docs/inner/c.txt", "/", "/team", "/team/x", "/nothing"],
        "from": ["/a.txt", "/docs", "/b.bin", *revs],
        "to": ["/docs/new", "/a.txt", "/other", *revs],
        "id": ids,
        "parent": [items["/docs"]["id"], ""],
        "rev": revs,
        "namespace": [session.root_ns.hex(), share, ""],
        "ns": [session.root_ns.hex(), share],
        "share_id": [share],
        "account_id": [session.account_id.hex()],
        "link_id": [link["id"] for link in links],
        "token": [link["token"] for link in links],
        "upload_id": [upload],
        "cursor": [cursor, ""],
        "Upload-Offset": ["0", "5"],
        "Range": ["bytes=0-1", "bytes=-1", "bytes=1-", "bytes=9-1"],
        "If-Match": [str(rev) for rev in revs],
        "size": [0, 10],
    }


def _replace(place: Any, known: Mapping[str, list[object]], random: Any) -> None:
    """Put what exists in the place of about half of what was made up."""
    if not isinstance(place, MutableMapping):
        return
    if random.random() < KEYLESS:
        # With the same key again and again, most would only be told that it was used.
        place.pop("Idempotency-Key", None)
    for name in list(place):
        if name in known and random.random() < 0.5:
            place[name] = random.choice(known[name])


def _code(response: requests.Response) -> str:
    try:
        code: str = response.json()["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return "no code"
    return code
