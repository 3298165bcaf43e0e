"""The documentation of REST as one page. Invariant: made of the description alone, with no script and nothing foreign.

All that is shown is escaped; the page's own policy allows its one style and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from html import escape
from typing import Any

Json = dict[str, Any]
PATH = "/api/v1/docs"
_METHODS = ("get", "head", "post", "put", "patch", "delete")
_REFERENCE = "#/components/schemas/"
_STYLE = """
:root{color-scheme:light dark;--line:#8886;--soft:#8882}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
h1,h2{line-height:1.2}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}
details{border:1px solid var(--line);border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}
summary{cursor:pointer}summary code{font-weight:600}
b.m{display:inline-block;min-width:4.2rem}
code,pre{font:14px/1.45 ui-monospace,monospace}
pre{background:var(--soft);padding:.7rem;overflow-x:auto;border-radius:6px}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3rem .5rem}
tr{border-top:1px solid var(--line)}nav a{margin-right:1rem}a{color:inherit}
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page(told: Json) -> bytes:
    """Return the page, HTML in UTF-8. told: the description, OpenAPI 3.1."""
    return "".join(_parts(told)).encode()


def _parts(told: Json) -> Iterator[str]:
    info, groups = told["info"], [tag["name"] for tag in told["tags"]]
    title = f"{escape(info['title'])} REST {escape(info['version'])}"
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>"
    yield f"<p>{_text(info['description'])}</p>"
    yield '<p>For programs: <a href="/api/v1/openapi.json">openapi.json</a> (OpenAPI 3.1).</p><nav>'
    yield "".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name in groups)
    yield '<a href="#types">Types</a></nav>'
    for tag in told["tags"]:
        yield f'<h2 id="{_anchor(tag["name"])}">{escape(tag["name"])}</h2><p>{_text(tag["description"])}</p>'
        for path, item in told["paths"].items():
            for method in _METHODS:
                if method in item and item[method]["tags"] == [tag["name"]]:
                    yield from _operation(path, method, item[method])
    yield '<h2 id="types">Types</h2>'
    for name, schema in told["components"]["schemas"].items():
        yield from _schema(name, schema)
    yield "</body></html>"


def _operation(path: str, method: str, told: Json) -> Iterator[str]:
    yield f'<details id="{escape(told["operationId"])}"><summary><b class="m">{method.upper()}</b>'
    yield f"<code>{escape(path)}</code> {escape(told['summary'])}</summary><p>{_text(told['description'])}</p>"
    if not told["security"]:
        yield "<p>For anyone: no token is asked for.</p>"
    if told["parameters"]:
        yield "<table><tr><th>Parameter</th><th>Where</th><th>Type</th><th>What it is</th></tr>"
        for each in told["parameters"]:
            needed = ", needed" if each.get("required") else ""
            yield f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}{needed}</td>"
            yield f"<td>{_type(each.get('schema', {}))}</td><td>{_text(each.get('description', ''))}</td></tr>"
        yield "</table>"
    body = told.get("requestBody")
    if body is not None:
        for media, content in body["content"].items():
            yield f"<p>Body, <code>{escape(media)}</code>: {_type(content['schema'])}. {_text(body['description'])}</p>"
            if media == "application/json":
                yield _example(content["example"])
    yield "<table><tr><th>Status</th><th>What it is</th></tr>"
    for status, answer in told["responses"].items():
        yield f"<tr><td>{escape(status)}</td><td>{_text(answer['description'])}"
        for media, content in answer.get("content", {}).items():
            if int(status) < 400:
                yield f" <code>{escape(media)}</code> {_type(content.get('schema', {}))}"
                yield _example(content["example"]) if media == "application/json" else ""
        yield "</td></tr>"
    yield "</table></details>"


def _schema(name: str, schema: Json) -> Iterator[str]:
    yield f'<details id="type-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
    yield f"<p>{_text(schema.get('description', ''))}</p>"
    needed = set(schema.get("required", ()))
    if schema.get("properties"):
        yield "<table><tr><th>Field</th><th>Type</th><th></th></tr>"
        for field, told in schema["properties"].items():
            mark = "needed" if field in needed else ""
            yield f"<tr><td><code>{escape(field)}</code></td><td>{_type(told)}</td><td>{mark}</td></tr>"
        yield "</table>"
    if schema.get("enum"):
        yield "<p>One of " + ", ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"]) + ".</p>"
    yield "</details>"


def _type(schema: Json) -> str:
    """Return a type in a few words, with a link where it has a name."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REFERENCE)
        return f'<a href="#type-{escape(name)}"><code>{escape(name)}</code></a>'
    for key in ("oneOf", "anyOf"):
        if key in schema:
            return " or ".join(_type(part) for part in schema[key])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    kinds = schema.get("type", "any")
    words = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    ends = [f"{word} {schema[key]:,}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return escape(" ".join([words, *ends]))


def _example(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _text(text: str) -> str:
    """Return words with what stands between backticks as code."""
    parts = escape(text, quote=False).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")
