"""The description of REST is whole: each route says what it does, takes and answers, with examples that are right."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs
import pytest

from satchel.core.errors import Fault, every_fault
from satchel.server.gateway.docs_page import POLICY
from tests.support.server import RunningServer, ask

WRITES = ("post", "put", "patch", "delete")
STATUS_OF = {fault.code: fault.status for fault in [Fault, *every_fault()]}


@pytest.fixture(scope="module")
def document(server: RunningServer) -> dict[str, Any]:
    answer = ask(server.url, "GET", "/api/v1/openapi.json")
    assert answer.status == 200
    return answer.json()


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every operation, by `METHOD /path`."""
    found = {}
    for path, item in document["paths"].items():
        for method, told in item.items():
            found[f"{method.upper()} {path}"] = told
    return found


def test_every_route_says_what_it_does(operations: dict[str, dict[str, Any]]) -> None:
    assert len(operations) > 80
    bare = [name for name, told in operations.items() if not (told.get("summary") and told.get("description"))]
    assert bare == []
    names = [told["operationId"] for told in operations.values()]
    assert len(names) == len(set(names))


def test_every_parameter_says_what_it_is_with_an_example_of_its_type(operations: dict[str, dict[str, Any]]) -> None:
    wrong = []
    for name, told in operations.items():
        assert {each["name"] for each in told["parameters"] if each["in"] == "path"} == set(
            re.findall(r"{(\w+)}", name)
        )
        for each in told["parameters"]:
            if not each.get("description") or "example" not in each:
                wrong.append((name, each["name"], "says nothing; add it to gateway/describing_words.py"))
            elif not jsonschema_rs.is_valid(each["schema"], each["example"]):
                wrong.append((name, each["name"], "the example is not of its type"))
    assert wrong == [], "\n".join(map(str, wrong))


def test_every_body_has_an_example_that_fits_its_type(
    document: dict[str, Any], operations: dict[str, dict[str, Any]]
) -> None:
    wrong = []
    for name, told in operations.items():
        if name.split()[0] in ("POST", "PUT", "PATCH") and "requestBody" in told:
            assert told["requestBody"]["description"], name
            wrong += [(name, "request", why) for why in _unfit(document, told["requestBody"]["content"])]
        for status, answer in told["responses"].items():
            assert answer["description"], (name, status)
            wrong += [(name, status, why) for why in _unfit(document, answer.get("content", {}))]
    assert wrong[:5] == [], "\n".join(map(str, wrong))


def test_every_route_names_each_code_with_its_status(
    document: dict[str, Any], operations: dict[str, dict[str, Any]]
) -> None:
    for name, told in operations.items():
        codes = {
            code: int(status)
            for status, answer in told["responses"].items()
            if int(status) >= 400
            for code in answer.get("content", {}).get("application/json", {}).get("examples", {})
        }
        assert {code: STATUS_OF[code] for code in codes} == codes, name
        assert any(int(status) < 400 for status in told["responses"]), name
        if name.split()[1] in ("/health", "/ready"):
            continue
        assert {"message_invalid", "not_found", "too_many_requests", "unavailable", "fault"} <= set(codes), name
        assert ("unauthenticated" in codes) or not told["security"], name
        if name.split()[0].lower() in WRITES:
            assert {"precondition_failed", "already_exists"} <= set(codes), name
    assert set(document["components"]["examples"]) == set(STATUS_OF)


def test_every_route_that_is_asked_for_a_path_says_that_it_may_be_impossible(
    operations: dict[str, dict[str, Any]],
) -> None:
    asked = {
        name: json.dumps(told["responses"].get("400", {}))
        for name, told in operations.items()
        if any((one["in"], one["name"]) == ("query", "path") for one in told.get("parameters", ()))
    }
    assert len(asked) > 10 and [name for name, told in asked.items() if "name_invalid" not in told] == []


def test_a_route_that_asks_for_no_token_says_so_and_the_others_want_one(
    server: RunningServer, operations: dict[str, dict[str, Any]]
) -> None:
    for name, told in operations.items():
        method, path = name.split()
        if told["security"]:
            answer = ask(
                server.url, method, re.sub(r"{\w+}", "00" * 16, path), b"" if method in ("PUT", "POST") else None
            )
            assert answer.status == 401, name


def test_every_type_says_what_it_is(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    bare = [
        name for name, schema in schemas.items() if schema.get("type") == "object" and not schema.get("description")
    ]
    assert bare == []


def test_the_page_shows_every_route_without_a_script_or_anything_foreign(
    server: RunningServer, operations: dict[str, dict[str, Any]]
) -> None:
    answer = ask(server.url, "GET", "/api/v1/docs")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"] == POLICY
    assert "script" not in POLICY
    text = answer.body.decode()
    assert [told["operationId"] for told in operations.values() if f'id="{told["operationId"]}"' not in text] == []
    assert re.findall(r"<script|<link|<img|<iframe| on\w+=|javascript:|src=", text) == []
    known = ask(server.url, "GET", "/api/v1/docs", headers={"If-None-Match": answer.headers["etag"]})
    assert (known.status, known.body) == (304, b"")


def _unfit(document: dict[str, Any], content: dict[str, Any]) -> list[str]:
    """Return what is wrong with the examples of a body."""
    told = []
    for media, each in content.items():
        if "examples" not in each and "example" not in each:
            told.append(f"{media} has no example")
        elif media == "application/json" and "example" in each:
            schema = {"components": document["components"], **each["schema"]}
            told += [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(each["example"])]
    return told
