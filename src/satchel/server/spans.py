"""Where time goes, step by step, for whoever collects traces. Invariant: without a collector a step costs one call that
does nothing, and no span says who, what or where: attributes are routes, codes and counts.

What makes real spans stands in `adapters/traces_otel.py` and is imported only where `trace_endpoint` is set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol

Headers = Iterable[tuple[bytes, bytes]]


class Span(Protocol):
    """One step that goes on."""

    def note(self, name: str = "", *, failed: bool = False, **attributes: str | int) -> None:
        """Say more of it: its real name, that it failed, and attributes."""
        ...


class _Nothing:
    """A step that nobody looks at."""

    def __enter__(self) -> Span:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    def note(self, name: str = "", *, failed: bool = False, **attributes: str | int) -> None:
        return None


Begin = Callable[[str, Headers | None], AbstractContextManager[Span]]

_NOTHING = _Nothing()
_begin: Begin | None = None


def span(name: str, headers: Headers | None = None) -> AbstractContextManager[Span]:
    """Return a step of this name, inside of the one that goes on. headers: of a request, which may name a step before.

    A step that ends by an exception has failed; the exception's text is not told.
    """
    return _NOTHING if _begin is None else _begin(name, headers)


def is_looked_at() -> bool:
    """Return whether anybody looks at steps: else nothing need be said of them."""
    return _begin is not None


def use(begin: Begin | None) -> None:
    """Have steps made by `begin` from now on; None for nobody looking."""
    global _begin
    _begin = begin
