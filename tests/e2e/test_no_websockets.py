"""Two devices of which one is behind a proxy that lets no WebSocket through: both have everything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.devices import Device, device, wait_until_equal
from tests.support.no_websockets import NoWebSockets, without_websockets
from tests.support.server import RunningServer, running_server


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("service")) as running:
        yield running


def test_a_device_without_a_websocket_sends_and_receives(
    server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    user = server.add_user("ann")
    folder = tmp_path_factory.mktemp("devices")
    with without_websockets(server.port) as proxy:
        behind = replace(user, url=proxy.url)
        with device(folder, "hotel", behind) as hotel, device(folder, "desk", user) as desk:
            _both_ways(proxy, hotel, desk)


def _both_ways(proxy: NoWebSockets, hotel: Device, desk: Device) -> None:
    (hotel.folder / "made there").write_text("made there")
    wait_until_equal([hotel, desk])
    (desk.folder / "made here").write_text("made here")
    (desk.folder / "made there").write_text("edited here")
    wait_until_equal([hotel, desk])
    (hotel.folder / "made here").unlink()
    wait_until_equal([hotel, desk])
    assert proxy.refused == 1, "it goes on asking, and does not try again each time"
    assert sorted(path.name for path in desk.folder.iterdir() if not path.name.startswith(".")) == ["made there"]
    assert (hotel.folder / "made there").read_text() == "edited here"
