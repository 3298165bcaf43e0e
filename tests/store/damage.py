"""`python -m tests.store.damage`: one thing is broken in a small store, a thousand times; who tells, who heals.

Invariant: wrong bytes are never served, and a damage that nobody tells of is one of those that say why.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from satchel.core.errors import Fault
from tests.store.damages import DAMAGES, Damage
from tests.store.house import House
from tests.store.ledger import Ledger, arguments, parts
from tests.store.stage import Wrong, quiet
from tests.store.trial import Outcome, Trial, store_of

PART = 50


@dataclass(slots=True)
class Part:
    """What some neighbouring seeds gave, as plain data. rows: kind, store, told by, right, refused."""

    first: int
    count: int
    rows: list[tuple[str, str, list[str], int, int]] = field(default_factory=list)
    failed: list[tuple[int, str]] = field(default_factory=list)


_houses: list[House] = []


def run_trial(seed: int) -> Outcome:
    """Break one thing and see; whatever goes wrong is told in `failed`."""
    if not _houses:
        _houses.append(House())
    # The kinds in turn, so that a thousand seeds try each about as often; all else is drawn.
    damage = DAMAGES[seed % len(DAMAGES)]
    with quiet(), tempfile.TemporaryDirectory(prefix="satchel-damage-", dir=_tmpfs()) as folder:
        return asyncio.run(_tried(_houses[0], seed, damage, Path(folder) / "blocks"))


def _tmpfs() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


async def _tried(house: House, seed: int, damage: Damage, folder: Path) -> Outcome:
    trial = Trial(house, seed, folder)
    outcome = trial.outcome
    outcome.kind = damage.name
    try:
        async with asyncio.timeout(60):
            await trial.fill()
            if told := await trial.look():
                raise Wrong("a store in order is clean", str(told))
            damage.act(trial)
            await trial.read_all()
            outcome.found = await trial.look() | (
                await trial.list_store() if "stray packs" in damage.told_by else set()
            )
            if not damage.legal and not outcome.found & set(damage.told_by):
                raise Wrong("each damage is told", f"{sorted(outcome.found)} instead of {damage.told_by}")
            if trial.chance.random() < 0.5:
                # The administrator may be there before the devices.
                await trial.repair()
                await trial.settle()
            await trial.bring_again()
            await trial.repair()
            await trial.read_all(is_whole=True)
            await trial.settle()
            await trial.read_all(is_whole=True)
            outcome.left = await trial.look()
            if outcome.left - set(damage.left):
                raise Wrong("at the end nothing is told any more", str(sorted(outcome.left)))
    except (Wrong, Fault, AssertionError, LookupError, TimeoutError) as error:
        outcome.failed = f"{damage.name} ({outcome.store}): {type(error).__name__}: {error}"
    finally:
        await store_of(trial).close()
    return outcome


def run_part(first: int, count: int) -> Part:
    part = Part(first, count)
    for seed in range(first, first + count):
        outcome = run_trial(seed)
        part.rows.append((outcome.kind, outcome.store, sorted(outcome.found), outcome.right, outcome.refused))
        if outcome.failed:
            part.failed.append((seed, outcome.failed))
    return part


def main() -> int:
    asked = arguments(argparse.ArgumentParser(description=__doc__), total=1_000).parse_args()
    if asked.seed is not None:
        outcome = run_trial(asked.seed)
        print(outcome)
        return 1 if outcome.failed else 0
    begun_s = time.perf_counter()
    ledger = Ledger(asked.ledger)
    failed = 0
    for part in parts(run_part, first=asked.first, total=asked.total, size=PART, jobs=asked.jobs, done=ledger.done):
        failed += len(part.failed)
        for seed, text in part.failed:
            print(f"FAILED seed {seed}: {text[:600]}\n  repeat: make damage SEED={seed}", flush=True)
        ledger.add({"first": part.first, "count": part.count, "failed": len(part.failed), "rows": part.rows})
    within = range(asked.first, asked.first + asked.total)
    _tell([tuple(row) for first, done in ledger.done.items() if first in within for row in done["rows"]])  # type: ignore[attr-defined]
    print(f"{failed} findings; {time.perf_counter() - begun_s:.0f} s")
    return 1 if failed else 0


def _tell(rows: list[tuple[str, str, list[str], int, int]]) -> None:
    trials, stores = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
    told: dict[str, Counter[str]] = defaultdict(Counter)
    served: dict[str, Counter[str]] = defaultdict(Counter)
    for kind, _, found, right, refused in rows:
        told[kind].update(found or ["nobody"])
        served[kind].update(right=right, refused=refused)
    print(f"{'damage':34} {'trials':>6} {'refused':>7}  told by")
    for damage in DAMAGES:
        if trials[damage.name]:
            by = ", ".join(f"{name} {count}" for name, count in told[damage.name].most_common())
            print(f"{damage.name:34} {trials[damage.name]:>6} {served[damage.name]['refused']:>7}  {by}")
            if damage.legal:
                print(f"{'':49}  legal: {damage.legal}")
    right = sum(count["right"] for count in served.values())
    print(f"{len(rows):,} trials ({', '.join(f'{name} {count}' for name, count in sorted(stores.items()))});"
          f" {right:,} blocks read right, none wrong")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
