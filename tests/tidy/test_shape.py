"""The shape of every source file: short enough to be read, explained at its head."""

import ast
from collections.abc import Iterator

from tests.tidy.sources import Source, sources

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
EVERYWHERE = ("src", "tests", "bench")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: Source) -> Iterator[Function]:
    return (node for node in ast.walk(source.tree) if isinstance(node, Function))


def length(function: Function) -> int:
    """Lines from the signature to the end, without docstring."""
    whole = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    is_docstring = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return whole - ((first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0)


def test_no_file_is_longer_than_600_lines() -> None:
    lines = {source.path: source.text.count("\n") for source in sources(*EVERYWHERE)}
    assert {path: count for path, count in lines.items() if count > FILE_LINES_MAX} == {}


def test_no_function_is_longer_than_60_lines() -> None:
    long = {
        f"{source.path}:{function.name}": length(function)
        for source in sources(*EVERYWHERE)
        for function in functions(source)
        if length(function) > FUNCTION_LINES_MAX
    }
    assert long == {}


def test_every_module_says_at_its_head_what_it_is() -> None:
    bare = [source.path for source in sources() if source.tree.body and not ast.get_docstring(source.tree)]
    assert bare == []


def test_every_public_function_and_class_has_a_docstring() -> None:
    # Methods count where the class is public; a property test or a handler's inner function does not.
    bare = []
    for source in sources():
        for node in source.tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith(
                "_"
            ):
                bare += [f"{source.path}:{node.name}"] if not ast.get_docstring(node) else []
    assert bare == []


def test_imports_are_absolute_and_name_what_they_take() -> None:
    odd = [
        f"{source.path}:{node.lineno}"
        for source in sources(*EVERYWHERE)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and (node.level > 0 or any(alias.name == "*" for alias in node.names))
    ]
    assert odd == []
