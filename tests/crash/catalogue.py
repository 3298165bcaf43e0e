"""All scenarios that are stopped at each of their calls."""

from __future__ import annotations

from tests.crash import on_disk, on_index, on_link, on_server

SCENARIOS = (*on_disk.SCENARIOS, *on_index.SCENARIOS, *on_link.SCENARIOS, *on_server.SCENARIOS)
