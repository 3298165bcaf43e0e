"""What the tidy tests look at: our Python files, parsed once, with their path as text."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file. path: relative to the repository, with '/'."""

    path: str
    text: str
    tree: ast.Module


@cache
def sources(*folders: str) -> tuple[Source, ...]:
    """Return the Python files below the folders, in order; `src` alone when none is named."""
    found = sorted(path for folder in folders or ("src",) for path in (ROOT / folder).rglob("*.py"))
    return tuple(
        Source(path.relative_to(ROOT).as_posix(), text, ast.parse(text))
        for path in found
        for text in [path.read_text()]
    )


def called_name(call: ast.Call) -> str:
    """Return `asyncio.create_task` for such a call, `print` for that one, empty for what has no plain name."""
    parts: list[str] = []
    node: ast.expr = call.func
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join(reversed([*parts, node.id]))


def document(path: str) -> str:
    """Return a document's text."""
    return (ROOT / path).read_text()


def rows(page: str, section: str = "") -> dict[str, str]:
    """Return the rows of a section's table by the code in their first cell: | `name` | rest |."""
    text = document(page)
    if section:
        text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\|\s*`([^`]+)`\s*\|(.*)\|\s*$", text, flags=re.MULTILINE))
