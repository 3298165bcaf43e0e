"""`python -m tests.soak`: real programs at work on three devices of two people, disturbed, until the time is over.

What is found is told with the seed, and the folder with all logs stays. A seed plays the same programs again; when what
happens to what is the machine's.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.soak.rounds import one_round
from tests.soak.scene import scene
from tests.support.seeded_runs import main, tell


def _play(folder: Path, minutes: float, seed: int) -> str:
    began_s = time.monotonic()
    number = 0
    with scene(folder) as played:
        while time.monotonic() - began_s < minutes * 60:
            number += 1
            try:
                tell(f"{time.strftime('%H:%M:%S')} {number:4} {one_round(played, number, seed)}")
            except BaseException:
                tell(f"in round {number} of seed {seed}")
                for one in played.devices:
                    (folder / f"{one.name}.status").write_text(one.cli("status").out + one.cli("activity").out)
                raise
        held = played.held
    took_s = time.monotonic() - began_s
    return f"seed {seed}: {number} rounds clean in {took_s:.0f} s; {held} times many deletions were allowed"


if __name__ == "__main__":
    sys.exit(main("tests.soak", __doc__ or "", "minutes", 30.0, _play))
