"""Two devices of which one leaves something out: the tree they begin with, what a person says, and what must hold."""

from __future__ import annotations

from satchel.core.ids import LinkId
from satchel.device.drive import drive
from satchel.device.engine import excluding
from satchel.device.links import Link
from satchel.device.reporting import describe, excluded_items
from satchel.device.tasks import Hinted
from tests.support.scripted_world import SimDevice, World, held

TREE = {
    b"big": None,
    b"big/a": b"big/a",
    b"big/in": None,
    b"big/in/b": b"big/in/b",
    b"kept": None,
    b"kept/c": b"kept/c",
}
LEFT = {b"kept": None, b"kept/c": b"kept/c"}


def filled() -> World:
    """Return a laptop and a desktop that both hold TREE."""
    made = World(17, 2)
    made.settle()
    user = made.devices[0].user
    for path, data in TREE.items():
        if data is None:
            user.make_folder(path)
        else:
            user.write_file(path, data)
    made.settle()
    assert made.tree() == TREE
    return made


def exclude(device: SimDevice, *paths: str) -> None:
    excluding.exclude(device.engine.state, paths)
    device.put(Hinted(()))


def include(device: SimDevice, *paths: str) -> None:
    excluding.include(device.engine.state, paths)
    device.put(Hinted(()))


def states(device: SimDevice) -> dict[str, str]:
    return {item.path: item.state for item in excluded_items(device.engine)}


def notes(device: SimDevice) -> list[str]:
    link = Link(LinkId(b"l" * 16), "/", "/", "", "", "")
    return list(describe(device.engine, link, {}, "").notes)


def deletions(world: World) -> list[str]:
    """Return the names of all that was ever deleted on the service."""
    remote = world.devices[1].core
    return drive(remote.deletions(world.service.ns, 10_000))


def only_left(world: World, laptop: dict[bytes, bytes | None], desktop: dict[bytes, bytes | None]) -> None:
    """Both hold just this, nothing is held back, and nobody deleted anything."""
    assert world.trees() == [laptop, desktop]
    assert [held(device) for device in world.devices] == [{}, {}]
    assert deletions(world) == []
