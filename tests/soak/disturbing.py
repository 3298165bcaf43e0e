"""What happens to devices and service while programs work. Invariant: when a block ends, all of them run again."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator

from tests.soak.scene import OWN, TEAM, Scene, told
from tests.support.devices import Device

Disturbance = Callable[[Scene, random.Random], contextlib.AbstractContextManager[None]]
LATER_S_MAX = 4.0


@contextlib.contextmanager
def _meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do it beside the block; what it raises is raised at the end."""
    raised: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if raised:
        raise raised[0]


@contextlib.contextmanager
def nothing(scene: Scene, chance: random.Random) -> Iterator[None]:
    yield


@contextlib.contextmanager
def a_device_is_killed(scene: Scene, chance: random.Random) -> Iterator[None]:
    """Several times, in the middle of the work."""
    plan = [(chance.choice(scene.devices), chance.random() * LATER_S_MAX) for _ in range(chance.randrange(1, 4))]

    def kill() -> None:
        for one, later_s in plan:
            time.sleep(later_s)
            one.kill()
            time.sleep(later_s / 2)
            one.start()

    with _meanwhile(kill):
        yield


@contextlib.contextmanager
def a_device_is_stopped(scene: Scene, chance: random.Random) -> Iterator[None]:
    """All the while: it finds what was done when it starts."""
    one = chance.choice(scene.devices)
    one.stop()
    try:
        yield
    finally:
        one.start()


@contextlib.contextmanager
def a_device_is_paused(scene: Scene, chance: random.Random) -> Iterator[None]:
    one: Device = chance.choice(scene.devices)
    one.cli("pause")
    try:
        yield
    finally:
        one.cli("resume")


@contextlib.contextmanager
def the_service_is_gone(scene: Scene, chance: random.Random) -> Iterator[None]:
    """All the while: everybody works offline."""
    scene.server.stop()
    try:
        yield
    finally:
        scene.server.start()


@contextlib.contextmanager
def the_service_is_killed(scene: Scene, chance: random.Random) -> Iterator[None]:
    plan = [chance.random() * LATER_S_MAX for _ in range(chance.randrange(1, 3))]

    def kill() -> None:
        for later_s in plan:
            time.sleep(later_s)
            scene.server.kill()
            time.sleep(later_s / 2)
            scene.server.start()

    with _meanwhile(kill):
        yield


@contextlib.contextmanager
def a_folder_is_left_out(scene: Scene, chance: random.Random) -> Iterator[None]:
    """On a device where nobody works: what comes for it meanwhile is there when it is taken back."""
    found = [
        (one, place)
        for one in scene.idle()
        for top in (OWN, TEAM)
        for place in sorted((one.folder / top).glob("*/"))
        if one in scene.holders(top)
    ]
    if not found:
        yield
        return
    one, place = chance.choice(found)
    told(one, "exclude", "add", str(place))
    try:
        yield
    finally:
        told(one, "exclude", "remove", str(place))


@contextlib.contextmanager
def the_other_may_only_look(scene: Scene, chance: random.Random) -> Iterator[None]:
    """While he does nothing."""
    if scene.phone not in scene.idle():
        yield
        return
    told(scene.laptop, "share", "role", "satchel:/team", "ben", "view")
    try:
        yield
    finally:
        told(scene.laptop, "share", "role", "satchel:/team", "ben", "edit")


@contextlib.contextmanager
def the_account_has_little_room(scene: Scene, chance: random.Random) -> Iterator[None]:
    """So that soon nothing new is taken; then it has room again, and nobody has to say so anywhere."""
    time.sleep(chance.random())
    scene.server.admin("user.quota", name="ann", quota_bytes=chance.choice((1, 100_000)))
    try:
        yield
    finally:
        scene.server.admin("user.quota", name="ann", quota_bytes=None)


AT_DEVICES: tuple[Disturbance, ...] = (
    *(nothing,) * 6,
    a_device_is_killed,
    a_device_is_killed,
    a_device_is_stopped,
    a_device_is_paused,
    a_folder_is_left_out,
    the_other_may_only_look,
)
DISTURBANCES: tuple[Disturbance, ...] = (
    *AT_DEVICES,
    the_service_is_gone,
    the_service_is_killed,
    the_account_has_little_room,
)
