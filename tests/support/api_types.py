"""The web app's types for REST, made from the service's own OpenAPI document.

python -m tests.support.api_types     writes web/src/api/types.ts anew
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from satchel.server.gateway.app import rest_app
from satchel.server.gateway.describing import describe

TARGET = Path(__file__).parents[2] / "web" / "src" / "api" / "types.ts"
HEAD = "// Made from the service's OpenAPI document by `make api-types`; do not edit.\n\n"
_PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}

Schema = Mapping[str, Any]


def document() -> dict[str, Any]:
    """Return the service's OpenAPI document; no service is started for it."""
    made = describe(rest_app(None))  # type: ignore[arg-type]  # no route is called
    # Once through JSON, as a browser gets it: what the framework holds as tuples and enumerations is plain then.
    plain: dict[str, Any] = json.loads(json.dumps(made, default=str))
    return plain


def typescript(told: Schema) -> str:
    """Return the types of all values and routes of an OpenAPI document."""
    schemas = told["components"]["schemas"]
    values = [_value(name, schemas[name]) for name in sorted(schemas)]
    routes = [
        line
        for path in sorted(told["paths"])
        for method in sorted(told["paths"][path])
        for line in _route(method.upper(), path, told["paths"][path][method])
    ]
    return HEAD + "\n".join(values) + "\nexport interface Routes {\n" + "".join(routes) + "}\n"


def _value(name: str, told: Schema) -> str:
    if "enum" in told:
        return f"export type {name} = {_type(told)};\n"
    return f"export interface {name} {_object(told)}\n"


def _route(method: str, path: str, told: Schema) -> list[str]:
    queries = [one for one in told.get("parameters", ()) if one["in"] == "query"]
    fields = [f"{one['name']}{'' if one.get('required') else '?'}: {_type(one['schema'])}" for one in queries]
    body = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    answers = [answer for status, answer in sorted(told["responses"].items()) if status.startswith("2")]
    answer = answers[0].get("content", {}).get("application/json", {}).get("schema") if answers else None
    # What the framework calls an answer without a body.
    is_empty = answer is None or answer.get("type") == "null" or not answer
    return [
        f"  '{method} {path}': {{\n",
        f"    query: {{ {'; '.join(fields)} }};\n" if fields else "    query: Record<never, never>;\n",
        f"    body: {_type(body) if body else 'undefined'};\n",
        f"    answer: {'undefined' if is_empty else _type(answer)};\n",
        "  };\n",
    ]


def _object(schema: Schema) -> str:
    wanted = set(schema.get("required", ()))
    fields = schema.get("properties", {})
    # The service leaves out nothing that it answers, so a default makes a field one that a body may leave out.
    lines = [f"  {name}{'' if name in wanted else '?'}: {_type(field)};\n" for name, field in fields.items()]
    return "{\n" + "".join(lines) + "}"


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    for joined in ("oneOf", "anyOf"):
        if joined in schema:
            return " | ".join(sorted({_type(one) for one in schema[joined]}))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(sorted({_type({**schema, "type": one}) for one in kind}))
    if kind == "array":
        return f"({_type(schema.get('items', {}))})[]"
    if kind == "object" and "properties" in schema:
        return _object(schema)
    if kind == "object":
        return "Record<string, unknown>"
    return _PLAIN.get(str(kind), "unknown")


if __name__ == "__main__":
    TARGET.write_text(typescript(document()))
