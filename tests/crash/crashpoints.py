"""Stops each scenario at each of its writing calls, in five ways, and looks at what the next start makes of it.

    python -m tests.crash.crashpoints [--minutes 10] [--only NAME] [--point 'NAME|lane|call|number|mode'] [--fresh]

Invariant: a point counts as recovered only when the injection hit, the next start ran without any, and the scenario's
claim held. Points done stand in a ledger, one JSON line each, so that a run goes on where the last one ended.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.crash.catalogue import SCENARIOS
from tests.crash.ledger import Ledger
from tests.crash.scenario import Scenario
from tests.crash.tracing import CALLS, Call, Ran, Rule, TracerFailed, apart, counts_before, require_strace, run

MODES = ("kill", "EIO once", "EIO for ever", "ENOSPC once", "ENOSPC for ever")
HELD, FAILED, MISSED = "held", "failed", "missed"
TRIES = 6


def rules_of(calls: Sequence[Call], place: int, mode: str, *, is_threaded: bool) -> list[Rule]:
    """Return what to inject so that the call at `place` is stopped in this way."""
    call = calls[place]
    if mode == "kill":
        return [Rule(call.lane, call.name, "signal=KILL", str(call.number))]
    number, _, how = mode.partition(" ")
    if how == "once":
        return [Rule(call.lane, call.name, f"error={number}", str(call.number))]
    before = counts_before(calls, place)
    lanes = {0} if is_threaded else {one.lane for one in calls}
    names = sorted({one.name for one in calls} | {"pwrite64", "unlinkat", "unlink", "ftruncate", "fsync", "fdatasync"})
    return [
        Rule(lane, name, f"error={number}", f"{before.get((lane, name), 0) + 1}+")
        for lane in sorted(lanes)
        for name in names
        if name in CALLS
    ]


class Runner:
    """Runs points below one work folder."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._count = 0

    def fresh(self) -> Path:
        """Return an empty folder."""
        self._count += 1
        folder = self._work / f"{self._count}"
        folder.mkdir()
        return folder

    def clear(self) -> None:
        """Remove everything of the runs so far."""
        for one in self._work.iterdir():
            if one.is_dir():
                shutil.rmtree(one, ignore_errors=True)
            else:
                one.unlink()

    def baseline(self, scenario: Scenario) -> tuple[list[Call], list[str]]:
        """Run undisturbed. Result: its calls, and what is wrong already."""
        folder = self.fresh()
        ran = run(scenario, folder)
        wrong = [f"undisturbed it raised {ran.raised}"] if ran.raised else []
        wrong += apart(lambda: scenario.check(folder, ran.told))
        self.clear()
        return ran.calls, wrong

    def point(self, scenario: Scenario, rules: Sequence[Rule]) -> tuple[str, list[str]]:
        """Run one point. Result: how it went, and what is wrong."""
        ran = self._tried(scenario, rules)
        folder = self._work / f"{self._count}"
        if not ran.is_hit:
            self.clear()
            return MISSED, []
        wrong = [f"it raised no Fault but {ran.raised}"] if ran.raised else []
        wrong += apart(lambda: scenario.check(folder, ran.told))
        self.clear()
        return (FAILED if wrong else HELD), wrong

    def _tried(self, scenario: Scenario, rules: Sequence[Rule]) -> Ran:
        """Another thread's call may come first now and then; so a miss is tried again."""
        for _ in range(TRIES):
            ran = run(scenario, self.fresh(), rules)
            if ran.is_hit:
                break
        return ran


def points_of(scenario: Scenario, calls: Sequence[Call]) -> Iterator[tuple[str, str, list[Rule]]]:
    """Yield (name of the point, the call as text, what to inject) for each call and mode."""
    for place, call in enumerate(calls):
        for mode in MODES:
            name = f"{scenario.name}|{call.lane}|{call.name}|{call.number}|{mode}"
            yield name, call.line, rules_of(calls, place, mode, is_threaded=scenario.is_threaded)


def run_all(chosen: Sequence[Scenario], ledger: Ledger, runner: Runner, *, until_s: float, only: str = "") -> bool:
    """Run the points that the ledger does not know. Result: False when the time ended first."""
    for scenario in chosen:
        if not only and ledger.is_complete(scenario.name):
            continue
        calls, wrong = runner.baseline(scenario)
        if wrong:
            ledger.add(f"{scenario.name}|undisturbed", FAILED, wrong)
            continue
        for name, line, rules in points_of(scenario, calls):
            if (only and name != only) or (not only and ledger.has(name)):
                continue
            if time.monotonic() > until_s:
                return False
            try:
                how, wrong = runner.point(scenario, rules)
            except TracerFailed as failed:
                how, wrong = FAILED, [f"the tracer: {failed}"]
            ledger.add(name, how, wrong)
            if how == FAILED:
                _say(f"FAILED {name}\n  at {line}\n  " + "\n  ".join(wrong))
                _say(f"  repeat: make crashpoints POINT='{name}'")
        if not only:
            ledger.complete(scenario.name, len(calls))
            _say(ledger.line_of(scenario.name))
    return True


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run what is asked for; 0 when nothing failed and nothing is left to do."""
    parser = argparse.ArgumentParser(description="stops each scenario at each of its writing calls")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    parser.add_argument("--point", default="", help="repeat one point, whatever the ledger says")
    parser.add_argument("--fresh", action="store_true", help="begin a new ledger")
    parser.add_argument("--ledger", type=Path, default=Path("build/crashpoints.jsonl"))
    asked = parser.parse_args()
    require_strace()
    chosen = [one for one in SCENARIOS if asked.only in one.name]
    if asked.point:
        chosen = [one for one in SCENARIOS if one.name == asked.point.split("|")[0]]
    ledger = Ledger(asked.ledger, is_fresh=asked.fresh)
    gc.collect()
    gc.freeze()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="satchel-crash-", dir=memory) as work:
        is_over = run_all(chosen, ledger, Runner(Path(work)), until_s=started_s + 60 * asked.minutes, only=asked.point)
    _say(ledger.total({each.name for each in chosen}) + f" in {time.monotonic() - started_s:.0f} s")
    if not is_over:
        _say("The time is over; the same command goes on from here.")
    return 1 if ledger.failed() or not is_over else 0


if __name__ == "__main__":
    sys.exit(main())
