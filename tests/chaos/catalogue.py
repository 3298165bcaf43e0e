"""All scenarios, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos import end_to_end, gateways_killed, kafka_gone, postgres_cut, store_failing, valkey_gone
from tests.chaos.scene import Figures, Scene
from tests.chaos.servers import Servers


@dataclass(frozen=True, slots=True)
class Scenario:
    """One of them. limit_s: a run at full scale that takes longer has failed."""

    run: Callable[[Scene, Servers], Awaitable[Figures]]
    limit_s: float


SCENARIOS = {
    "postgres": Scenario(postgres_cut.run, 2_400),
    "s3": Scenario(store_failing.run, 2_400),
    "valkey": Scenario(valkey_gone.run, 1_800),
    "kafka": Scenario(kafka_gone.run, 2_400),
    "gateways": Scenario(gateways_killed.run, 2_400),
    "cluster": Scenario(end_to_end.on_the_cluster, 1_800),
    "alone": Scenario(end_to_end.without_accelerators, 3_600),
}
LIMIT_S_MIN = 600.0
