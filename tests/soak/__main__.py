"""`python -m tests.soak`: real programs at work on three devices of two people, disturbed, until the time is over.

What is found is told with the seed, and the folder with all logs stays. A seed plays the same programs again; when what
happens to what is the machine's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.rounds import one_round
from tests.soak.scene import scene


def _tell(text: str) -> None:
    print(text, flush=True)


def _play(folder: Path, seed: int, minutes: float) -> str:
    began_s = time.monotonic()
    number = 0
    with scene(folder) as played:
        while time.monotonic() - began_s < minutes * 60:
            number += 1
            try:
                _tell(f"{number:4} {one_round(played, number, seed)}")
            except BaseException:
                _tell(f"in round {number} of seed {seed}")
                for one in played.devices:
                    (folder / f"{one.name}.status").write_text(one.cli("status").out + one.cli("activity").out)
                raise
        held = played.held
    took_s = time.monotonic() - began_s
    return f"seed {seed}: {number} rounds clean in {took_s:.0f} s; {held} times many deletions were allowed"


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    given = parser.parse_args()
    _tell(f"seed {given.seed}; again with: python -m tests.soak --minutes {given.minutes:g} --seed {given.seed}")
    folder = Path(tempfile.mkdtemp(prefix="satchel-soak-"))
    try:
        _tell(_play(folder, given.seed, given.minutes))
    except BaseException:
        _tell(f"what is left of it: {folder}")
        raise
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
