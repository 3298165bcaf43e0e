"""Copies SQLite's write-ahead log into the database file, beside the writer.

A log of 64 MiB takes some tenths of a second to copy. Left to SQLite, the commit that fills it does so, and all that
wait behind that commit wait for the copy. Here another thread copies most of it while commits go on; then the writer
copies the little that came meanwhile, and the log begins anew.
Invariants: the log is bounded, since a writer that is too fast waits for the copy; a copy that fails in writing or
syncing ends the store, as a commit that fails does. Source: sqlite.org/wal.html, sections 2 and 3 (PASSIVE).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import apsw

LOG_PAGES = 16_000
"""64 MiB of log before its pages are copied home. Keys that are hashes touch a page each, a thousand files some 4,000;
a shorter log would copy every page as often as it is written."""
LOG_PAGES_MAX = 4 * LOG_PAGES
COPY_S_MAX = 120.0


class Checkpoints:
    """Of one database. writer: the connection that commits. copier: one of its own, closed by `close`. judge: told of
    what failed."""

    def __init__(
        self, writer: apsw.Connection, copier: apsw.Connection, judge: Callable[[BaseException], object]
    ) -> None:
        self._writer = writer
        self._copier = copier
        self._judge = judge
        self._pages = 0
        self._is_rest_due = False
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._is_idle = threading.Event()
        self._is_idle.set()
        writer.wal_autocheckpoint(0)
        writer.set_wal_hook(self._committed)
        self._thread = threading.Thread(target=self._copy_all, name="satchel-checkpoints", daemon=True)
        self._thread.start()

    def after_commit(self) -> None:
        """See to the log; the writer's thread calls this when whoever it wrote for has been told."""
        if self._pages >= LOG_PAGES_MAX:
            self._is_idle.wait(COPY_S_MAX)
        if self._is_rest_due and self._is_idle.is_set():
            self._is_rest_due = False
            self._copy(self._writer)
        elif self._pages >= LOG_PAGES and self._is_idle.is_set():
            self._is_rest_due = True
            self._is_idle.clear()
            self._asked.put(True)

    def close(self) -> None:
        """End the thread and its connection. Blocks until a copy under way is done."""
        self._asked.put(False)
        self._thread.join()

    def _committed(self, _: apsw.Connection, __: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    def _copy_all(self) -> None:
        while self._asked.get():
            self._copy(self._copier)
            self._is_idle.set()
        self._copier.close()

    def _copy(self, raw: apsw.Connection) -> None:
        try:
            raw.wal_checkpoint()
        except apsw.BusyError:
            # Somebody else copies just now, a backup for one.
            return
        except apsw.Error as error:
            self._judge(error)
