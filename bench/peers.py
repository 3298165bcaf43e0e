"""`make bench`: Satchel and the peers that are installed, in one run of the harness, and its table.

Needs root (network namespaces) and the harness's folder. The peers come from the system's packages; whoever is
missing is left out and named. Figures are ratios within one run, never a limit of a test.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = {"w1": "w1", "w1b": "w1b", "w2": "w2/big.bin", "w2c": "w2c/big.log"}
NEEDED = {"small": ("w1",), "large": ("w2",), "idle": ("w1b",), "text": ("w2c",)}
PEERS = {"rsync": "rsync", "unison": "unison", "syncthing": "syncthing-new"}


def main() -> int:
    """Make the data that is missing, run the sessions, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--harness", type=Path, required=True)
    parser.add_argument("--sessions", default="small,large,idle")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path(".bench/run"))
    parser.add_argument("--only", default="", help="contestants, instead of Satchel and all installed peers")
    asked = parser.parse_args()
    harness = asked.harness.resolve()
    if os.geteuid() or not (harness / "run.py").is_file() or shutil.which("ip") is None:
        print("The benchmark needs root, iproute2 and the harness; name its folder: make bench HARNESS=folder")
        return 2
    folder = Path(".bench").resolve()
    data = folder / "data"
    for session in asked.sessions.split(","):
        for name in NEEDED.get(session, ("w1", "w2")):
            if not (data / DATA[name]).exists():
                subprocess.run([sys.executable, str(harness / "gen.py"), name, str(data / DATA[name])], check=True)
    missing = [peer for peer in PEERS if shutil.which(peer) is None]
    contestants = ["satchel", *(name for peer, name in PEERS.items() if peer not in missing)]
    if missing:
        print(f"Not installed, so not beside us: {', '.join(missing)}")
    return _run(harness, folder, data, asked, asked.only or ",".join(contestants))


def _run(harness: Path, folder: Path, data: Path, asked: argparse.Namespace, contestants: str) -> int:
    results = folder / "results.jsonl"
    results.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "BENCH_PLUGINS": str(HERE / "satchel_contestant.py"),
        "PYTHONPATH": str(harness),
        "SYNCTHING_NEW": os.environ.get("SYNCTHING_NEW", "syncthing"),
    }
    command = [sys.executable, str(harness / "run.py"), "--work", str(asked.work.resolve()), "--data", str(data)]
    command += ["--out", str(results), "--contestants", contestants, "--sessions", asked.sessions]
    done = subprocess.run([*command, "--runs", str(asked.runs)], env=environment, check=False)
    if results.exists():
        subprocess.run([sys.executable, str(harness / "table.py"), str(results)], env=environment, check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
