"""Where servers of tests keep their files: in memory, where a machine has room there."""

from __future__ import annotations

import os
import shutil

FOLDER = "/dev/shm"
FREE_BYTES_MIN = 1 << 30
"""Containers often have 64 MiB there, which the servers fill at once."""


def memory_disk() -> str | None:
    """Return a folder in memory for `tempfile`, None for its default."""
    is_usable = os.access(FOLDER, os.W_OK) and shutil.disk_usage(FOLDER).free >= FREE_BYTES_MIN
    return FOLDER if is_usable else None
