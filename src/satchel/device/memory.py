"""The process's memory: when it is searched for circles, and when it goes back to the system."""

from __future__ import annotations

import ctypes
import gc

YOUNG_OBJECTS_MAX = 20_000
"""A plan makes thousands of values, none in a circle; with Python's own 700 the search took a fifth of its time."""


def collect_rarely() -> None:
    """Search for circles less often, and never among what start-up made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX, 20, 20)


def give_back() -> None:
    """Return what a burst of work left behind to the system, where the C library can."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        # Not the GNU library: it keeps the memory for the next burst.
        return
