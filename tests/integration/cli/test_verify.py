"""`verify` reads what is really there: a byte that flipped without a trace, a block that the server lost."""

import json
import os
from pathlib import Path
from typing import Any

from tests.support.devices import Device, Ran, device
from tests.support.server import RunningServer, running_server


def verified(ran: Ran, code: int = 0) -> dict[str, Any]:
    assert ran.code == code, ran
    (found,) = json.loads(ran.out)
    return found


def test_damage_is_found_on_this_disk_and_on_the_server(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, device(tmp_path, "laptop", server.add_user("ann")) as laptop:
        for name in ("a.bin", "b.bin"):
            (laptop.folder / name).write_bytes(os.urandom(100_000))
        (laptop.folder / "empty").touch()
        laptop.wait_in_sync()
        laptop.stop()
        assert verified(laptop.cli("verify", "--json"))["files"] == 3
        assert verified(laptop.cli("verify", "--remote", "--json"))["bytes"] == 200_000
        _damage_here(laptop)
        _damage_there(server, laptop)
        laptop.start()


def _damage_here(laptop: Device) -> None:
    target = laptop.folder / "a.bin"
    before = target.stat()
    data = bytearray(target.read_bytes())
    data[0] ^= 1
    (laptop.folder / "b.bin").write_bytes(b"a person's edit")
    target.write_bytes(data)
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = verified(laptop.cli("verify", "--local", "--json"))
    # The kernel keeps the true change time, so what a program wrote is never taken for damage.
    assert {each["path"]: each["verdict"] for each in found["findings"]} == {"a.bin": "changed", "b.bin": "changed"}


def _damage_there(server: RunningServer, laptop: Device) -> None:
    packs = [path for path in (server.data / "blocks").rglob("*") if path.is_file() and path.stat().st_size > 100_000]
    assert packs
    for path in packs:
        with open(path, "r+b") as file:
            size = path.stat().st_size
            file.seek(size // 4)
            piece = file.read(1)
            file.seek(size // 4)
            file.write(bytes([piece[0] ^ 1]))
    found = verified(laptop.cli("verify", "--remote", "--json"), code=28)
    assert {each["verdict"] for each in found["findings"]} == {"missing"}
