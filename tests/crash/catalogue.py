"""All scenarios that are stopped at each of their calls."""

from __future__ import annotations

from tests.crash import on_disk

SCENARIOS = (*on_disk.SCENARIOS,)
