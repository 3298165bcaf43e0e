"""A person who works on the server from the command line, while devices have the same folder on their disks.

Each command is done to a mirror as well: what stands there in the end must stand on every device.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

from tests.soak.savers import text
from tests.soak.scene import told
from tests.support.devices import Device


def commanded(one: Device, mirror: Path, remote: str, chance: random.Random) -> None:
    """Files are put, replaced, copied, moved, removed and restored at `remote`, an address, and in the mirror."""
    if not mirror.exists():
        mirror.mkdir()
        told(one, "mkdir", "-p", remote)
    for _ in range(chance.randrange(2, 10)):
        path = (
            f"d{chance.randrange(3)}/{chance.randrange(4)}.txt" if chance.random() < 0.6 else f"d{chance.randrange(3)}"
        )
        there, address = mirror / path, f"{remote}/{path}"
        match chance.randrange(7):
            case 0 | 1:
                _put(one, there, address, chance)
            case 2 if there.exists():
                told(one, "rm", "-r", address)
                shutil.rmtree(there) if there.is_dir() else there.unlink()
            case 3 if there.exists():
                name = f"moved {chance.getrandbits(24):x}"
                told(one, "mv", address, f"{remote}/{name}")
                os.rename(there, mirror / name)
            case 4 if there.exists():
                name = f"copied {chance.getrandbits(24):x}"
                told(one, "cp", "-r", address, f"{remote}/{name}")
                shutil.copytree(there, mirror / name) if there.is_dir() else shutil.copy(there, mirror / name)
            case 5 if there.exists():
                told(one, "rm", "-r", address)
                time.sleep(chance.choice((0, 0.3, 3.0)))
                told(one, "restore", address)
            case _:
                _put(one, there, address, chance)


def _put(one: Device, there: Path, address: str, chance: random.Random) -> None:
    """A file, or a folder with some files, which replaces none."""
    if there.suffix:
        there.parent.mkdir(exist_ok=True)
        told(one, "mkdir", "-p", address.rpartition("/")[0])
        there.write_bytes(text(chance))
        told(one, "put", str(there), address)
    elif not there.exists():
        there.mkdir()
        for number in range(chance.randrange(1, 5)):
            (there / f"{number}.txt").write_bytes(text(chance))
        told(one, "put", "-r", str(there), address)
