"""Examples of what requests and answers hold, made from their schemas. Invariant: an example fits its schema."""

from __future__ import annotations

from typing import Any

from satchel.server.gateway.describing_words import BY_ENDING, BY_TYPE, EXAMPLES

Json = dict[str, Any]
DEPTH_MAX = 8
_REFERENCE = "#/components/schemas/"
_PLAIN: Json = {"string": "text", "integer": 1, "number": 1.5, "boolean": False, "null": None}


class Examples:
    """Makes examples from the schemas of one description."""

    def __init__(self, schemas: Json) -> None:
        self._schemas = schemas

    def of(self, schema: Json, name: str = "", depth: int = 0) -> object:
        """Return an example of a schema; name: of the field that it is of, empty for none."""
        if schema.get("title") in BY_TYPE:
            return dict(BY_TYPE[schema["title"]])
        if "$ref" in schema:
            return self.of(self._schemas[schema["$ref"].removeprefix(_REFERENCE)], name, depth)
        if schema.get("const") is not None:
            return schema["const"]
        if schema.get("enum"):
            known = EXAMPLES.get(name)
            return known if known in schema["enum"] else schema["enum"][0]
        for key in ("oneOf", "anyOf"):
            if key in schema:
                told = [part for part in schema[key] if part.get("type") != "null"]
                return self.of(told[0], name, depth) if told else None
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((each for each in kind if each != "null"), "null")
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            known = EXAMPLES.get(name)
            if isinstance(known, list) and schema.get("items", {}).get("type") == "string":
                return known
            if "prefixItems" in schema:
                return [self.of(each, name, depth + 1) for each in schema["prefixItems"]]
            return [] if depth > DEPTH_MAX else [self.of(schema.get("items", {}), name, depth + 1)]
        return _plain(schema, kind, name)

    def _object(self, schema: Json, depth: int) -> Json:
        fields: Json = schema.get("properties", {})
        if fields and depth <= DEPTH_MAX:
            return {name: self.of(field, name, depth + 1) for name, field in fields.items()}
        more = schema.get("additionalProperties")
        return {"edit": self.of(more, "value", depth + 1)} if isinstance(more, dict) and more else {}


def _plain(schema: Json, kind: str | None, name: str) -> object:
    """Return a value by the field's name if it has the type, or else any of that type."""
    default = schema.get("default")
    wanted: type | tuple[type, ...] = {"string": str, "integer": int, "boolean": bool}.get(kind or "", object)
    known: object = EXAMPLES.get(name)
    if known is None:
        known = next((value for ending, value in BY_ENDING if name.endswith(ending)), None)
    for value in (known, default):
        if value is not None and isinstance(value, wanted) and not (isinstance(value, bool) and kind == "integer"):
            return _bounded(schema, value)
    return _bounded(schema, _PLAIN.get(kind or ""))


def _bounded(schema: Json, value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        value = max(value, schema.get("minimum", value))
        value = min(value, schema.get("maximum", value))
    return value
