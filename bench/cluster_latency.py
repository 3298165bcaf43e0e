"""`python -m bench.cluster_latency`: from a 1 KiB change on one device to the whole file on another.

Once with the embedded server between them, once with two gateways (a device at each), a notifier and an upkeep on
PostgreSQL, S3, Valkey and Kafka, in the same run on the same machine. The clock starts when the file has its name on
device A and stops when its last byte is read under that name on device B. Numbers are printed, never asserted.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.support.devices import Device, device, wait_for, wait_until_equal
from tests.support.service import SERVICES, running_service

CHANGES = 200
WARMING = 10
SIZE_BYTES = 1_024
ARRIVE_S_MAX = 60.0
LOOK_S = 0.000_5
REST_S = 0.15
"""About so long between two changes: each is a change of its own and not part of a burst."""
SEED = 4711


def latencies_s(kind: str, folder: Path, changes: int) -> list[float]:
    """Return how long each change took, in seconds, in the order in which they were made."""
    chance = random.Random(SEED)
    with running_service(kind, folder) as service:
        here, there = service.add_user("ann")
        with device(folder, "laptop", here) as laptop, device(folder, "desk", there) as desk:
            wait_until_equal([laptop, desk])
            taken = []
            for number in range(WARMING + changes):
                taken.append(_one_s(laptop, desk, number, chance.randbytes(SIZE_BYTES)))
                time.sleep(REST_S * (0.5 + chance.random()))
            return taken[WARMING:]


def _one_s(here: Device, there: Device, number: int, data: bytes) -> float:
    """Save a new file at once, as editors do, and return the seconds until it is whole on the other device."""
    spooled, name = here.home / "spooled", f"{number}.bin"
    spooled.write_bytes(data)
    arrived = there.folder / name
    os.replace(spooled, here.folder / name)
    began = time.perf_counter()
    until = began + ARRIVE_S_MAX
    while not arrived.exists():
        if time.perf_counter() > until:
            raise TimeoutError(f"change {number} has not arrived after {ARRIVE_S_MAX:.0f} s")
        time.sleep(LOOK_S)
    wait_for(lambda: arrived.read_bytes() == data, f"change {number} is not whole")
    return time.perf_counter() - began


def quantile(values: list[float], share: float) -> float:
    """Return the smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=CHANGES)
    parser.add_argument("--service", choices=SERVICES[:2], action="append")
    given = parser.parse_args()
    print(f"a change of {SIZE_BYTES:,} bytes from device A to whole on device B, {given.changes} changes")
    for kind in given.service or SERVICES[:2]:
        with tempfile.TemporaryDirectory(prefix="satchel-latency-", ignore_cleanup_errors=True) as folder:
            taken = latencies_s(kind, Path(folder), given.changes)
        p50, p99 = (1_000 * quantile(taken, share) for share in (0.50, 0.99))
        print(f"{kind:10} p50 {p50:8,.1f} ms   p99 {p99:8,.1f} ms   most {1_000 * max(taken):8,.1f} ms", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
