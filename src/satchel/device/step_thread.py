"""The one thread that steps a link's engine. Invariant: once it is shut down, work for it is refused by a Fault.

A command may come while its link is just being closed; it is told so, and may ask again.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from satchel.core.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")


class StepThread(ThreadPoolExecutor):
    """A pool of one thread."""

    def __init__(self) -> None:
        super().__init__(1, thread_name_prefix="satchel-engine")

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue the work. Raises: Unavailable after `shutdown`."""
        try:
            return super().submit(work, *args, **kwargs)
        except RuntimeError as error:
            raise Unavailable("The link is just being closed.", where="link", reason="closing") from error
