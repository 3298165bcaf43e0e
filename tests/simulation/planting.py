"""Plants a bug of the catalogue in this process. Invariant: only the code of the named functions changes, by the text
of the catalogue, and a text that is not found once and only once is an error.

The code object is replaced, not the function, so everyone who imported it by name has the bug too.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
import types

from tests.simulation.catalogue import Bug, Patch


class NotPlanted(Exception):
    """The product's text is another by now: the catalogue needs a look."""


def plant(bug: Bug) -> None:
    """Change the product in this process, for good."""
    for where in dict.fromkeys(patch.where for patch in bug.patches):
        _rewrite(where, [patch for patch in bug.patches if patch.where == where])


def check(bug: Bug) -> None:
    """Compile what would be planted, and plant nothing. Raises: NotPlanted."""
    for where in dict.fromkeys(patch.where for patch in bug.patches):
        _patched(_function(where), [patch for patch in bug.patches if patch.where == where])


def _function(where: str) -> types.FunctionType:
    module, _, name = where.partition(":")
    found: object = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, types.FunctionType):
        raise NotPlanted(where)
    return found


def _rewrite(where: str, patches: list[Patch]) -> None:
    function = _function(where)
    function.__code__ = _patched(function, patches)


def _patched(function: types.FunctionType, patches: list[Patch]) -> types.CodeType:
    text = textwrap.dedent(inspect.getsource(function))
    for patch in patches:
        if text.count(patch.old) != 1:
            raise NotPlanted(patch.where, patch.old, text.count(patch.old))
        text = text.replace(patch.old, patch.new)
    # Decorators would wrap it anew; the code of the plain function is what is wanted.
    text = text[text.index("async def " if inspect.iscoroutinefunction(function) else "def ") :]
    made: dict[str, object] = {}
    code = compile(text, f"<planted in {function.__qualname__}>", "exec", flags=_ANNOTATIONS)
    # The text is the catalogue's own; this is the seam by which tests change what they test.
    exec(code, function.__globals__, made)  # noqa: S102
    (planted,) = made.values()
    assert isinstance(planted, types.FunctionType)
    if planted.__code__.co_freevars != function.__code__.co_freevars:
        raise NotPlanted(function.__qualname__, "it closes over other names")
    return planted.__code__


_ANNOTATIONS = importlib.import_module("__future__").annotations.compiler_flag
