"""Whatever goes wrong has a clear error and a code, the rest goes on, and nothing is lost: where each case is tested.

case                     at the service                                    at the device (here: all of it together)
-----------------------  ------------------------------------------------  ---------------------------------------------
wrong hash               test_device_protocol (…do not have their hash)    test_remote, test_fetching; here
stale rev                contract/test_commit, test_rest                   test_engine_sending; here
unknown block            contract/test_commit (missing blocks…)            test_engine_sending, test_fetching; here
block of another account test_device_protocol, blocks/test_service         here (it is sent as if nobody had it)
name too long            contract/test_commit, test_device_protocol        test_engine_sending (name_invalid); here
cycle                    contract/test_commit_places, test_device_protocol here
over quota               contract/test_commit, test_device_protocol        test_engine_sending; here
wrong token              test_device_protocol, test_stream                 test_engine_remote; here
another epoch            test_stream, contract/test_database               test_engine_remote; here
disk full                db/test_engine, adapters/test_blocks_local        test_applier_recovery, test_fetching; here
unreadable file          (has no files of others)                          test_scanner_troubles, test_engine_disk; here
root folder missing      (has none)                                        test_scanner_doubt, test_linked_disk; here

Here two devices and the service run in one process in virtual time, with the real engine, hands and service core.
tests/e2e/test_bad_input_processes.py has over quota, wrong token and root folder missing with real processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from satchel.core.cutting import StreamCutter
from satchel.core.errors import (
    BlockMismatch,
    Fault,
    FileUnreadable,
    NameInvalid,
    NotFound,
    StorageFull,
    Unauthenticated,
)
from satchel.core.hashing import block_hash
from satchel.core.ids import BlockHash, NamespaceId
from satchel.core.messages import CommitReply, CommitRequest, NamespacesReply
from satchel.device.drive import drive
from satchel.device.ports import OutgoingBlock
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import register_account, set_quota
from satchel.server.db.schema import new_epoch
from satchel.server.ports import Place
from satchel.simulation.core_remote import CoreRemote, CoreService
from satchel.simulation.world import SimDevice
from tests.support.scripted_world import World, held

BIG = bytes(range(256)) * 1_200
"""More than travels in a commit: its blocks are sent on their own."""


class Refusing(CoreRemote):
    """The service, with one call answered by a fault as long as `fault` is set."""

    call = ""
    fault: Fault | None = None

    def __init__(self, service: CoreService, principal: Principal) -> None:
        super().__init__(service, principal)
        self.sent: set[BlockHash] = set()

    def _require(self, call: str) -> None:
        if self.fault is not None and call == self.call:
            raise self.fault

    async def namespaces(self) -> NamespacesReply:
        self._require("namespaces")
        return await super().namespaces()

    async def commit(self, request: CommitRequest, bodies: Sequence[bytes]) -> CommitReply:
        self._require("commit")
        return await super().commit(request, bodies)

    async def put_blocks(self, ns: NamespaceId, blocks: Sequence[OutgoingBlock]) -> tuple[BlockHash, ...]:
        self._require("put_blocks")
        self.sent |= {block.hash for block in blocks}
        return await super().put_blocks(ns, blocks)

    async def get_blocks(self, ns: NamespaceId, hashes: Sequence[BlockHash]) -> dict[BlockHash, bytes]:
        self._require("get_blocks")
        return await super().get_blocks(ns, hashes)


@pytest.fixture
def world() -> World:
    made = World(1, 2)
    settle(made)
    return made


def settle(world: World) -> None:
    """Look at everything and let it come to rest."""
    look(world, 1.0)
    assert world.scheduler.run_until(world.is_settled, limit_s=4_000.0), [held(one) for one in world.devices]


def look(world: World, seconds: float) -> None:
    """Look at everything and let so much virtual time pass."""
    for device in world.devices:
        device.hint_all()
    world.scheduler.run_for(seconds)


def trees(world: World) -> list[dict[bytes, bytes | None]]:
    return [device.user.tree() for device in world.devices]


def refusing(world: World, device: SimDevice, call: str, fault: Fault) -> Refusing:
    """Start the device anew against a service that answers this call with the fault."""
    remote = Refusing(world.service, device.core._principal)
    remote.call, remote.fault = call, fault
    device.kill("crash")
    device.core = remote
    device.start()
    return remote


def failing(name: str, path: bytes, fault: Fault) -> Callable[[str, tuple[object, ...]], Fault | None]:
    return lambda called, args: fault if called == name and path in args else None


# -- what the service refuses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "code"), [("put_blocks", "block_mismatch"), ("get_blocks", "block_damaged")])
def test_blocks_with_a_wrong_hash_hold_their_file_and_go_through_when_whole(world: World, call: str, code: str) -> None:
    first, second = world.devices
    bad = first if call == "put_blocks" else second
    fault = BlockMismatch("other bytes than the hash says", expected="aa", actual="bb")
    remote = refusing(world, bad, call, fault)
    first.user.write_file(b"big", BIG)
    first.user.write_file(b"small", b"small")
    look(world, 30.0)
    assert second.user.tree() == {b"small": b"small"}
    assert held(bad) == {"/big": code}
    remote.fault = None
    settle(world)
    assert trees(world) == [{b"big": BIG, b"small": b"small"}] * 2


def test_a_stale_rev_makes_a_copy_and_both_edits_stay(world: World) -> None:
    first, second = world.devices
    first.user.write_file(b"file", b"begin")
    settle(world)
    first.user.write_file(b"file", b"edit of the first")
    second.user.write_file(b"file", b"edit of the second")
    settle(world)
    tree, other = trees(world)
    assert tree == other and len(tree) == 2
    assert set(tree.values()) == {b"edit of the first", b"edit of the second"}


def test_a_block_that_the_service_lost_holds_its_file_and_the_rest_goes_on(world: World) -> None:
    first, second = world.devices
    second.kill("crash")
    first.user.write_file(b"big", BIG)
    first.hint_all()
    world.scheduler.run_for(10.0)
    lost = dict(world.service.store.objects)
    world.service.store.objects.clear()
    first.user.write_file(b"small", b"small")
    second.start()
    look(world, 30.0)
    assert second.user.tree() == {b"small": b"small"}
    assert held(second) == {"/big": "block_damaged"}
    world.service.store.objects.update(lost)
    settle(world)
    assert second.user.tree() == {b"big": BIG, b"small": b"small"}


def test_a_block_that_another_account_has_is_sent_as_if_nobody_had_it(world: World) -> None:
    service, device = world.service, world.devices[0]
    other = drive(register_account(service.db, service.clock, name="bob", password_hash="none"))
    cutter = StreamCutter()
    blocks = [bytes(block) for block in cutter.feed_blocks(BIG, is_last=True)]
    world.scheduler.run_to_end(service.blocks.put_bytes(other.root_ns, blocks))
    remote = refusing(world, device, "nothing", NotFound())
    device.user.write_file(b"big", BIG)
    settle(world)
    assert trees(world) == [{b"big": BIG}] * 2
    assert remote.sent == {block_hash(block) for block in blocks}, "a known hash saves a stranger no byte"


def test_a_name_that_the_disk_cannot_hold_waits_and_the_rest_comes(world: World) -> None:
    first, second = world.devices
    fault = NameInvalid("This disk cannot hold the name.", name="long", reason="ENAMETOOLONG")
    second.disk.before_call = lambda name, args: fault if name == "place_staged" and args[1] == b"long" else None
    first.user.write_file(b"long", b"data")
    first.user.write_file(b"short", b"short")
    look(world, 30.0)
    assert second.user.tree() == {b"short": b"short"} and held(second) == {"/long": "name_invalid"}
    second.disk.before_call = None
    settle(world)
    assert second.user.tree() == {b"long": b"data", b"short": b"short"}


def test_a_cycle_of_two_moves_loses_neither_folder(world: World) -> None:
    first, second = world.devices
    for name in (b"a", b"b"):
        first.user.make_folder(name)
        first.user.write_file(name + b"/in " + name, name)
    settle(world)
    world.is_down = True
    first.user.rename(b"a", b"b/a")
    second.user.rename(b"b", b"a/b")
    look(world, 5.0)
    world.is_down = False
    settle(world)
    tree, other = trees(world)
    assert tree == other
    assert sorted(data for data in tree.values() if data is not None) == [b"a", b"b"]


def test_what_does_not_fit_the_quota_waits_here_and_goes_when_there_is_room(world: World) -> None:
    first, second = world.devices
    drive(set_quota(world.service.db, world.service.clock, "ann", 100_000))
    first.user.write_file(b"big", BIG)
    first.user.write_file(b"small", b"small")
    look(world, 30.0)
    assert second.user.tree() == {b"small": b"small"}
    assert held(first) == {"/big": "quota_exceeded"}
    drive(set_quota(world.service.db, world.service.clock, "ann", None))
    settle(world)
    assert trees(world) == [{b"big": BIG, b"small": b"small"}] * 2


# -- who and what the service is --------------------------------------------------------------------------------------


def test_a_wrong_token_halts_with_a_clear_line_and_touches_no_file(world: World) -> None:
    first, second = world.devices
    first.user.write_file(b"file", b"data")
    settle(world)
    refusing(world, second, "namespaces", Unauthenticated("This token is unknown."))
    second.user.write_file(b"mine", b"mine")
    first.user.delete(b"file")
    look(world, 60.0)
    assert "satchel login" in second.engine.state.halted
    assert second.user.tree() == {b"file": b"data", b"mine": b"mine"}
    assert first.user.tree() == {}, "the other device goes on"
    second.kill("crash")
    second.core = world.service.remote()
    second.start()
    settle(world)
    assert trees(world) == [{b"mine": b"mine"}] * 2


def test_a_server_of_another_epoch_is_merged_and_nothing_is_deleted(world: World) -> None:
    first, second = world.devices
    first.user.write_file(b"kept", b"kept")
    first.user.write_file(b"gone later", b"data")
    settle(world)
    second.kill("crash")
    drive(new_epoch(world.service.db, world.service.clock))
    first.kill("crash")
    first.user.write_file(b"kept", b"edited while the server was restored")
    first.start()
    second.start()
    settle(world)
    tree, other = trees(world)
    assert tree == other
    assert set(tree.values()) == {b"kept", b"edited while the server was restored", b"data"}


# -- disks ------------------------------------------------------------------------------------------------------------


def test_a_full_disk_of_a_device_holds_what_does_not_fit_and_goes_on_when_there_is_room(world: World) -> None:
    first, second = world.devices
    second.disk.volume.capacity_bytes = second.disk.volume.used_bytes() + 50_000
    first.user.write_file(b"big", BIG)
    first.user.write_file(b"small", b"small")
    look(world, 30.0)
    assert second.user.tree() == {b"small": b"small"}
    assert held(second) == {"/big": "storage_full"}
    second.disk.volume.capacity_bytes = None
    settle(world)
    assert second.user.tree() == {b"big": BIG, b"small": b"small"}


def test_a_full_disk_of_the_service_loses_nothing_and_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = world.devices

    async def full(name: str, pieces: Sequence[bytes | memoryview]) -> Place:
        raise StorageFull("The store is full.", where="blocks")

    with monkeypatch.context() as patch:
        patch.setattr(world.service.store, "put", full)
        first.user.write_file(b"big", BIG)
        first.user.make_folder(b"folder")
        look(world, 30.0)
        assert second.user.tree() == {b"folder": None}, "what needs no room goes on"
        assert set(held(first).values()) <= {"storage_full"}
    settle(world)
    assert trees(world) == [{b"big": BIG, b"folder": None}] * 2


def test_a_file_that_cannot_be_read_is_told_and_the_rest_goes_on(world: World) -> None:
    first, second = world.devices
    fault = FileUnreadable("No right to read it.", path="secret", reason="EACCES")
    first.disk.before_call = failing("open_file", b"secret", fault)
    first.user.write_file(b"secret", b"secret")
    first.user.write_file(b"open", b"open")
    look(world, 30.0)
    assert second.user.tree() == {b"open": b"open"}
    assert held(first) == {"/secret": "file_unreadable"}
    first.disk.before_call = None
    settle(world)
    assert second.user.tree() == {b"open": b"open", b"secret": b"secret"}


def test_a_known_file_that_cannot_be_read_any_more_is_no_deletion(world: World) -> None:
    first, second = world.devices
    first.user.write_file(b"file", b"one")
    settle(world)
    fault = FileUnreadable("No right to read it.", path="file", reason="EACCES")
    first.disk.before_call = failing("open_file", b"file", fault)
    first.user.write_file(b"file", b"two")
    look(world, 60.0)
    assert second.user.tree() == {b"file": b"one"}
    assert held(first) == {"/file": "file_unreadable"}
    first.disk.before_call = None
    settle(world)
    assert second.user.tree() == {b"file": b"two"}


@pytest.mark.parametrize("state", ["missing", "empty"])
def test_a_missing_root_folder_halts_with_a_clear_line_and_deletes_nothing(world: World, state: str) -> None:
    first, second = world.devices
    first.user.write_file(b"file", b"data")
    settle(world)
    first.disk.root_state = state
    look(world, 60.0)
    assert "not there" in first.engine.state.halted
    assert second.user.tree() == {b"file": b"data"}
    first.disk.root_state = "ok"
    first.kill("crash")
    first.start()
    settle(world)
    assert trees(world) == [{b"file": b"data"}] * 2
