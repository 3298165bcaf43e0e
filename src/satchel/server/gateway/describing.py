"""The description of REST made complete: what the framework reads off the types, with words, faults and examples.

Invariant: every operation says what it does, what it takes, with an example, and each status and code that it answers
with. Source: docs/design/050; the words stand in `describing_words`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from inspect import cleandoc, getdoc
from typing import Any

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from satchel.core.errors import (
    BlockDamaged,
    Fault,
    KeyReused,
    NameInvalid,
    RequestInProgress,
    Unauthenticated,
    every_fault,
)
from satchel.server.gateway.describing_examples import Examples
from satchel.server.gateway.describing_words import (
    ALWAYS,
    BY_ROUTE,
    HEADERS,
    PARAMETERS,
    TAGS,
    TOLD_HEADERS,
    WRITING,
)

Json = dict[str, Any]
METHODS = ("get", "head", "put", "post", "patch", "delete")
WRITES = ("put", "post", "patch", "delete")
_REFERENCE = "#/components/schemas/"
_FIRST_SENTENCE = re.compile(r"^(.+?)(?:[.;:](?:\s|$)|$)", re.DOTALL)
_SUMMARY_CHARS_MAX = 110
_BYTES = "application/octet-stream"
_GENERAL = (
    "Files, their history, sharing and the account, for people's programs. Send `Authorization: Bearer TOKEN` with each"
    " request; `POST /api/v1/login` tells the token, once. Ids and hashes are hex, times Unix ms, mtimes ns. Errors"
    " have fixed codes. What is unknown and what is forbidden answers the same 404."
)
_STATUS_WORDS = {
    200: "Done.",
    201: "Made.",
    204: "Done; there is nothing to tell.",
    206: "The part that was asked for.",
    304: "The content is still the one that is known.",
    400: "The request cannot be understood, or asks for what cannot be.",
    401: "Nobody who is known asks.",
    403: "The link asks for its password.",
    404: "There is nothing, or nothing for whoever asks.",
    408: "The request came too slowly.",
    409: "Something else is in the way.",
    410: "The history does not reach so far.",
    412: "It changed meanwhile; nothing was done.",
    413: "A documented limit was passed.",
    416: "The range lies behind the end.",
    422: "What came is not what was said.",
    429: "Too much at once; come again after `Retry-After` seconds.",
    500: "Something is wrong inside the server; its log has the id.",
    503: "The server has too much to do, or a part of it is away; come again.",
    507: "There is no room.",
}


def describe(app: Litestar) -> Json:
    """Return the whole description of an application, OpenAPI 3.1."""
    told: Json = msgspec.json.decode(msgspec.json.encode(app.openapi_schema.to_schema()))
    schemas: Json = told.setdefault("components", {}).setdefault("schemas", {})
    _describe_schemas(schemas)
    schemas["Error"] = _error_schema()
    examples = Examples(schemas)
    for path, method, handler in _operations(app):
        item = told["paths"].get(path, {})
        if method in item:
            item[method] = _Operation(path, method, handler, item[method], examples).described()
    for name, schema in schemas.items():
        if name != "Error" and schema.get("type") == "object":
            schema["example"] = examples.of(schema)
    told["info"] |= {"description": _GENERAL, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}}
    told["tags"] = [{"name": name, "description": words} for _, name, words in TAGS if words]
    told["servers"] = [{"url": "/", "description": "This server."}]
    faults: list[type[Fault]] = [Fault, *every_fault()]
    told["components"]["examples"] = {
        fault.code: {"summary": _meaning(fault), "value": _example_error(fault)} for fault in faults
    }
    told["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "A device's token, from `POST /api/v1/login`."},
        "cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": "__Host-satchel",
            "description": "A browser's session, from `POST /api/v1/sessions`; `satchel` where there is no TLS.",
        },
    }
    return told


def _operations(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Yield path, method and handler of all that the application answers."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                yield route.path_format, str(method).lower(), handler


class _Operation:
    """One route with its method, on its way to be described."""

    def __init__(self, path: str, method: str, handler: HTTPRouteHandler, told: Json, examples: Examples) -> None:
        self._path = path
        self._method = method
        self._handler = handler
        self._told = told
        self._examples = examples
        self._is_content = path.endswith("/content") and method == "get"

    def described(self) -> Json:
        told = self._told
        text = " ".join(cleandoc(self._handler.fn.__doc__ or "").split())
        summary = _FIRST_SENTENCE.match(text)
        told["summary"] = (summary[1] if summary else "")[:_SUMMARY_CHARS_MAX]
        told["description"] = text
        told["tags"] = [next(name for start, name, _ in TAGS if self._path.startswith(start))]
        told["security"] = [] if self._handler.opt.get("public") else [{"token": []}, {"cookie": []}]
        told["parameters"] = [*map(self._parameter, told.get("parameters", ())), *self._headers()]
        self._describe_body()
        self._describe_success()
        told["responses"] |= self._faults()
        told["responses"] = dict(sorted(told["responses"].items()))
        return told

    def _parameter(self, parameter: Json) -> Json:
        words = PARAMETERS.get(parameter["name"])
        schema: Json = parameter.setdefault("schema", {})
        if words is not None:
            parameter.setdefault("description", words.meaning)
            example = words.example
            if not _fits(schema, example):
                example = schema.get("default", example)
            parameter["example"] = example
        return parameter

    def _headers(self) -> Iterator[Json]:
        """Yield the headers that the route reads."""
        is_public_link = "{token}" in self._path
        if self._is_content:
            yield _header("Range")
            yield _header("If-Range")
            yield _header("If-None-Match", words="If-None-Match (read)")
            if is_public_link:
                yield _header("Satchel-Download-Key")
        if is_public_link and not self._path.endswith("/unlock"):
            yield _header("Satchel-Link-Key")
        if self._path.endswith("/content") and self._method == "put":
            yield _header("If-Match")
            if not is_public_link:
                yield _header("If-None-Match")
        for name in self._handler.opt.get("headers", ()):
            yield _header(name)
        if self._method in WRITES and not self._handler.opt.get("public"):
            yield _header("Idempotency-Key")

    def _describe_body(self) -> None:
        if self._method == "put" and "requestBody" not in self._told and self._path.endswith(("/content", "/upload")):
            self._told["requestBody"] = _bytes_body("The file's bytes.")
        if self._handler.opt.get("takes_bytes"):
            self._told["requestBody"] = _bytes_body("A part of the file's bytes.")
        body = self._told.get("requestBody")
        if body is None:
            return
        for media in body["content"].values():
            media["example"] = self._examples.of(media["schema"]) if "$ref" in media["schema"] else "bytes"
        body.setdefault("description", "JSON." if "application/json" in body["content"] else "The bytes themselves.")

    def _describe_success(self) -> None:
        responses: Json = self._told.setdefault("responses", {})
        for status in [status for status in responses if int(status) >= 400]:
            del responses[status]
        if self._method == "head":
            responses["200"].pop("content", None)
        for status, answer in responses.items():
            if status == "204":
                answer.pop("content", None)
            answer["description"] = _STATUS_WORDS.get(int(status), "Done.")
            for media in answer.get("content", {}).values():
                media["example"] = self._examples.of(media.get("schema", {}))
        if self._is_content or self._path.endswith("/zip"):
            responses["200"] = {"description": _STATUS_WORDS[200], "content": _bytes_content()}
        if self._is_content:
            tag = {"ETag": _told_header("The content hash, in quotes.", '"9f86d0"')}
            span = {"Content-Range": _told_header("Which part of how much.", "bytes 0-99/1024")}
            responses["200"]["headers"] = tag
            responses["206"] = {"description": _STATUS_WORDS[206], "content": _bytes_content(), "headers": tag | span}
            responses["304"] = {"description": _STATUS_WORDS[304], "headers": tag}
            responses["416"] = {"description": _STATUS_WORDS[416], "headers": span}
        for status, answer in responses.items():
            if int(status) < 300:
                number = _told_header("The request's id, as in the server's log.", "a1b2c3d4e5f60718")
                answer.setdefault("headers", {})["x-request-id"] = number
                answer["headers"] |= {name: TOLD_HEADERS[name] for name in self._handler.opt.get("tells", ())}
                if self._method in WRITES and not self._handler.opt.get("public"):
                    answer["headers"]["Idempotent-Replayed"] = TOLD_HEADERS["Idempotent-Replayed"]

    def _faults(self) -> Json:
        """Return the answers to what goes wrong, by status, each with all its codes."""
        if self._path in ("/health", "/ready"):
            ready = self._told["responses"].get("200", {})
            return {"503": ready | {"description": _STATUS_WORDS[503]}} if self._path == "/ready" else {}
        named: list[type[Fault]] = [*ALWAYS]
        if any((one["in"], one["name"]) == ("query", "path") for one in self._told.get("parameters", ())):
            named.append(NameInvalid)
        if not self._handler.opt.get("public"):
            named.append(Unauthenticated)
        if self._method in WRITES:
            named += WRITING
            if not self._handler.opt.get("public"):
                named += (RequestInProgress, KeyReused)
        for start, faults in BY_ROUTE:
            if self._path.startswith(start):
                named += faults
        if self._handler.opt.get("transfers"):
            named.append(BlockDamaged)
        named += self._handler.opt.get("faults", ())
        by_status: dict[int, dict[str, type[Fault]]] = {}
        for fault in named:
            by_status.setdefault(fault.status, {})[fault.code] = fault
        return {str(status): _refused(status, list(faults.values())) for status, faults in sorted(by_status.items())}


def _refused(status: int, faults: Sequence[type[Fault]]) -> Json:
    """Return an answer that says what is wrong, with an example for each code."""
    codes = ", ".join(f"`{fault.code}`" for fault in faults)
    examples = {fault.code: {"$ref": f"#/components/examples/{fault.code}"} for fault in faults}
    answer: Json = {
        "description": f"{_STATUS_WORDS[status]} Codes: {codes}.",
        "content": {"application/json": {"schema": {"$ref": f"{_REFERENCE}Error"}, "examples": examples}},
    }
    if status in (429, 503, 507):
        answer["headers"] = {"Retry-After": _told_header("After how many seconds to come again.", "2")}
    return answer


def _example_error(fault: type[Fault]) -> Json:
    meaning = _meaning(fault)
    hint = fault.hint or "Tell the administrator the id; the server's log has the reason under it."
    return {"error": {"code": fault.code, "message": meaning, "hint": hint, "fields": {}, "id": "a1b2c3d4e5f60718"}}


def _meaning(fault: type[Fault]) -> str:
    if fault is Fault:
        return "Something went wrong inside the server."
    text = " ".join(cleandoc(fault.__doc__ or "").split())
    return text.partition(" Fields:")[0]


def _error_schema() -> Json:
    """Return what every answer of 400 and above holds."""
    text: Json = {"type": "string"}
    error = {
        "type": "object",
        "required": ["code", "message", "hint", "fields", "id"],
        "properties": {
            "code": text | {"description": "Fixed: it never changes its meaning."},
            "message": text | {"description": "What happened, for people."},
            "hint": text | {"description": "What to do about it, for people."},
            "fields": {"type": "object", "description": "What the code is about, as plain values."},
            "id": text | {"description": "The request's id, as in the server's log."},
        },
    }
    return {
        "type": "object",
        "title": "Error",
        "description": "What went wrong.",
        "required": ["error"],
        "properties": {"error": error},
    }


def _describe_schemas(schemas: Json) -> None:
    """Give each schema the words of the type that it was read off."""
    for kind in _types():
        long = f"{kind.__module__}.{kind.__name__}".replace(".", "_")
        # The framework calls a schema by as much of the long name as tells it from all others.
        for name in schemas:
            if long == name or long.endswith(f"_{name}"):
                schemas[name]["description"] = " ".join((getdoc(kind) or "").split())


def _types() -> Iterator[type]:
    """Yield every type of the server that a schema may have been read off."""
    for room in [room for name, room in sys.modules.items() if name.startswith("satchel.server.")]:
        for kind in vars(room).values():
            if isinstance(kind, type) and kind.__module__ == room.__name__:
                yield kind


def _fits(schema: Json, value: object) -> bool:
    """Tell whether an example is of a schema's type; where it says nothing, all is."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
    }
    kind = kinds.get(schema.get("type", ""))
    if kind is None:
        return True
    return isinstance(value, kind) and not (isinstance(value, bool) and kind is int)


def _header(name: str, *, words: str = "") -> Json:
    meaning, example = HEADERS[words or name]
    kind = "integer" if isinstance(example, int) else "string"
    return {
        "name": name,
        "in": "header",
        "required": False,
        "schema": {"type": kind},
        "description": meaning,
        "example": example,
    }


def _told_header(meaning: str, example: str) -> Json:
    return {"description": meaning, "schema": {"type": "string"}, "example": example}


def _bytes_body(meaning: str) -> Json:
    return {"required": True, "description": meaning, "content": _bytes_content()}


def _bytes_content() -> Json:
    return {_BYTES: {"schema": {"type": "string", "format": "binary"}, "example": "bytes"}}
