"""Where our own code calls fsync, and a way to leave one such place out. Imported before anything of Satchel.

Invariant: as long as nothing is left out, the calls do what they always did. A site is `file:function`, with the
caller's where the function is itself only a name for fsync.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

_WRAPPERS = {"sync_folder", "sync", "sync_trash"}
_real = {"fsync": os.fsync, "fdatasync": os.fdatasync}
seen: dict[str, int] = {}
left_out: set[str] = set()


def _site() -> str:
    frame = sys._getframe(2)
    parts: list[str] = []
    while frame.f_back is not None:
        name = frame.f_code.co_name
        parts.append(f"{os.path.basename(frame.f_code.co_filename)}:{name}")
        if name not in _WRAPPERS:
            break
        frame = frame.f_back
    return " < ".join(parts)


def _counting(real: Callable[[int], None]) -> Callable[[int], None]:
    def sync(fd: int) -> None:
        site = _site()
        seen[site] = seen.get(site, 0) + 1
        if site not in left_out:
            real(fd)

    return sync


def install() -> None:
    """Put the counting calls in the place of the system's."""
    os.fsync = _counting(_real["fsync"])  # type: ignore[assignment]
    os.fdatasync = _counting(_real["fdatasync"])


install()
