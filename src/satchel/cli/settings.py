"""What the environment says of the terminal, and of a backup's passphrase.

Invariant: no other file of the command line reads the environment.
"""

from __future__ import annotations

import os


def is_color_wanted() -> bool:
    """Tell whether colour may be used: not with NO_COLOR set (to anything), not on a dumb terminal."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def backup_passphrase() -> str:
    """Return the passphrase of backups that the environment holds, "" for none."""
    return os.environ.get("SATCHEL_BACKUP_PASSPHRASE", "")
