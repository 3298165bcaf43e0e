"""What the tidy tests look at: our Python files, read and parsed once where that is asked for, with their path."""

from __future__ import annotations

import ast
import gc
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Source:
    """One Python file. path: relative to the repository, with '/'."""

    path: str

    @cached_property
    def text(self) -> str:
        """What stands in it."""
        return document(self.path)

    @cached_property
    def tree(self) -> ast.Module:
        """It, parsed: what most tests of a worker do not need. It stays, so the collector need not walk it again."""
        gc.disable()
        try:
            return ast.parse(self.text)
        finally:
            gc.freeze()
            gc.enable()


@cache
def _source(path: str) -> Source:
    return Source(path)


def sources(*folders: str) -> tuple[Source, ...]:
    """Return the Python files below the folders, in order; `src` alone when none is named."""
    found = sorted(path for folder in folders or ("src",) for path in (ROOT / folder).rglob("*.py"))
    return tuple(_source(path.relative_to(ROOT).as_posix()) for path in found)


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
