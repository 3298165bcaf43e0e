"""How much one link does at once, as data: so much in a plan, a request, a page, a batch. A smaller bound is slower.

Invariant: every bound is at least 1, and the devices come to the same under any. The simulation draws small ones, so
that three files are what a million are elsewhere: more than one page, part or batch. Source: docs/design/040.
"""

from __future__ import annotations

from dataclasses import dataclass

from satchel.core.limits import COMMIT_OPS_MAX, COMMITS_IN_FLIGHT_MAX, FEED_PAGE_ENTRIES_MAX


@dataclass(frozen=True, slots=True)
class Bounds:
    """All of them count things; none counts bytes."""

    plan_rows: int = 4_000
    """Rows that are planned together."""

    busy_rows: int = 8_000
    """No further plan while so many rows are in flight; keeps memory bounded."""

    commit_ops: int = COMMIT_OPS_MAX
    commits_in_flight: int = COMMITS_IN_FLIGHT_MAX
    uploads_in_flight: int = 3
    apply_tasks: int = 500
    """Changes of the disk in a batch."""

    apply_batches: int = 3
    """Batches in flight."""

    fetch_items: int = 500
    """Files in a request for contents."""

    fetches_in_flight: int = 3
    page_entries: int = FEED_PAGE_ENTRIES_MAX
    """Entries in a page of the feed or of a snapshot."""

    scan_hints: int = 2_000
    """With more folders to look at than this, everything is."""

    facts_per_part: int = 500
    """Facts of a scan that leave together."""

    held_parts: int = 16
    """Parts of the first scan that are folded in a step, once the remote tree is here."""


BOUNDS = Bounds()
"""Those of every device outside of the simulation."""
