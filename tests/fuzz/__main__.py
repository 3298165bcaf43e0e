"""Fuzzes REST: `python -m tests.fuzz --cases 5000`. Ends with 1 when an answer was wrong."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.fuzzing import BEHIND_PROXY, Fuzzer
from tests.support import cheap_passwords, warm
from tests.support.postgres import running_postgres
from tests.support.server import running_server

__all__ = ["cheap_passwords"]


def main() -> int:
    """Run a server, ask it, and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=5_000, help="requests for each route and method")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="part of `METHOD /path`")
    parser.add_argument("--after", default="", help="begin after this `METHOD /path`, where a run was stopped")
    parser.add_argument("--until", default="", help="end with this `METHOD /path`: two halves run beside each other")
    parser.add_argument("--postgres", action="store_true", help="on a real PostgreSQL instead of SQLite")
    told = parser.parse_args()
    # Thousands of passwords are tried: what one costs is no part of what is asked here.
    warm.begin()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        environment = {}
        if told.postgres:
            environment["SATCHEL_DATABASE_URL"] = stack.enter_context(running_postgres()).create("fuzz")
        server = stack.enter_context(running_server(Path(folder), *BEHIND_PROXY, environment=environment))
        fuzzer = Fuzzer(server)
        labels = list(fuzzer.operations(told.only))
        end = labels.index(told.until) + 1 if told.until else len(labels)
        for label in labels[labels.index(told.after) + 1 if told.after else 0 : end]:
            began = time.monotonic()
            fuzzer.fuzz(label, cases=told.cases, seed=told.seed)
            seconds = time.monotonic() - began
            print(f"{label}: {fuzzer.found.asked[label]} requests in {seconds:.0f} s", flush=True)
            for kind in [kind for kind in fuzzer.found.wrong if kind.startswith(f"{label}: ")]:
                print(f"WRONG {kind}\n    {fuzzer.found.wrong[kind]}", flush=True)
    found = fuzzer.found
    print(f"{sum(found.asked.values())} requests, by status: {dict(sorted(found.statuses.items()))}")
    print(f"{len(found.wrong)} kinds of wrong answers")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
