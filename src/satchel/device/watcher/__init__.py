"""Hints of change in a linked folder, from whatever this system has to watch with."""

from __future__ import annotations

import sys

from satchel.device.ports import Clock, Watcher


def new_watcher(root: bytes, clock: Clock) -> Watcher:
    """Return the best watcher that this system has for the folder; it is not started yet."""
    if sys.platform == "linux":
        from satchel.device.watcher.inotify import InotifyWatcher

        return InotifyWatcher(root, clock)
    from satchel.device.watcher.polling import PollingWatcher

    return PollingWatcher(clock)
