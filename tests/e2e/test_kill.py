"""A few kills in every test run; `make kill` does a hundred."""

import os
from pathlib import Path

from tests.e2e.kill_run import run
from tests.support.devices import device, wait_for, wait_until_equal
from tests.support.server import running_server

BLOCKS_IN_FLIGHT_MAX = 3 * 16
"""Three requests of at most 16 MiB, of blocks of 1 MiB and more."""


def test_kills_of_every_process_lose_nothing(tmp_path: Path) -> None:
    told = run(tmp_path, kills=6, seed=4711)
    assert "nothing torn" in told


def test_an_upload_that_is_killed_goes_on_from_the_last_acknowledged_block(tmp_path: Path) -> None:
    size_blocks = 150
    with running_server(tmp_path) as server:
        admin = server.add_user("root", is_admin=True).sign_in("checker")
        user = server.add_user("ann")
        with device(tmp_path, "laptop", user) as laptop, device(tmp_path, "desk", user) as desk:
            with open(laptop.folder / "film.bin", "wb") as film:
                for _ in range(size_blocks):
                    film.write(os.urandom(1024 * 1024))
            before = BLOCKS_IN_FLIGHT_MAX // 2

            def received() -> int:
                return int(server.counters(admin)["satchel_blocks_received_total"])

            wait_for(lambda: received() >= before, "the upload does not begin")
            laptop.kill()
            stored = received()
            laptop.start()
            wait_until_equal([laptop, desk])
            twice = int(server.counters(admin)["satchel_blocks_received_duplicate_total"])
            assert stored >= before
            assert twice <= BLOCKS_IN_FLIGHT_MAX
            assert (desk.folder / "film.bin").read_bytes() == (laptop.folder / "film.bin").read_bytes()
