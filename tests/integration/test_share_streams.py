"""Streams of a shared folder's members: they hear what happens there, and end when what they may do changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from satchel.core.access import Role
from satchel.core.entries import Action
from satchel.core.ids import LinkId, NamespaceId
from satchel.core.messages import CommitRequest, Hello, Position, Pushed, StreamFrame, Welcome
from satchel.server.accounts.access import readers_of
from satchel.server.accounts.members import State, keep_member_txn, member_txn
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.service import authenticate, register_account, register_device
from satchel.server.gateway import stream
from satchel.server.gateway.commits import commit_request
from satchel.server.gateway.services import Services
from satchel.server.gateway.stream import CLOSE_GOING_AWAY
from satchel.server.gateway.telling import tell_touched
from satchel.server.metadata.namespaces import namespaces
from satchel.server.sharing.conversion import share_folder
from satchel.server.sharing.people import accept, change_role, invite, remove
from tests.integration.test_waiting_streams import WAIT_S, Device
from tests.support.memory_service import open_service
from tests.support.writers import Writer, create_folder, new_id


@dataclass
class Scene:
    """ann has a shared folder, and bob takes part in it."""

    services: Services
    ann: Principal
    bob: Principal
    token: str
    ns: NamespaceId

    async def commit(self) -> None:
        request = CommitRequest(self.ns, LinkId(b""), (create_folder(new_id(), new_id().hex()),))  # type: ignore[arg-type]
        await commit_request(self.services, self.ann, request, ())

    async def device(self, group: asyncio.TaskGroup, *places: NamespaceId) -> Device:
        """Connect bob's device, which says that it follows these beside the root."""
        heads = {head.ns: head for head in (await namespaces(self.services.db, self.bob)).namespaces}
        told = [Position(ns, heads[ns].head_seq, heads[ns].head_tag) for ns in places if ns in heads]
        link = LinkId(new_id())
        made = Device(self.services, self.token, Hello(1, b"", link, 1, tuple(told)))
        group.create_task(made.run())
        assert isinstance(await made.next(), Welcome)
        return made


@contextlib.asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    made = await open_service()
    services, db, clock = made.services, made.services.db, made.services.clock
    ann = await authenticate(db, made.token)
    account = await register_account(db, clock, name="bob", password_hash="none")
    token, _ = await register_device(db, clock, account_id=account.account_id, name="desktop")
    bob = await authenticate(db, token)
    folder = await Writer(db, clock, ann).folder("Team")
    ns = await share_folder(db, clock, ann, ann.root_ns, folder)
    await invite(db, clock, ann, ns, [("bob", Role.EDITOR)])
    await accept(db, clock, bob, ns)
    yield Scene(services, ann, bob, token, ns)


async def ended(device: Device) -> int:
    async with asyncio.timeout(WAIT_S):
        await device.ended.wait()
    return device.code


async def pushed(device: Device) -> Pushed:
    frame: StreamFrame = await device.next()
    assert isinstance(frame, Pushed), frame
    return frame


def test_a_member_hears_what_happens_in_the_folder_that_its_hello_names() -> None:
    async def main() -> None:
        async with scene() as play, asyncio.TaskGroup() as group:
            both, root_only = await play.device(group, play.ns), await play.device(group)
            await play.commit()
            assert (await pushed(both)).changes.ns == play.ns
            writer = Writer(play.services.db, play.services.clock, play.bob)
            await writer.folder("own")
            await play.services.bus.publish(play.bob.root_ns, 2)
            for device in (both, root_only):
                # Whoever did not name the folder would not know what to do with its entries.
                assert (await pushed(device)).changes.ns == play.bob.root_ns
                device.leave()
            assert await readers_of(play.services.db, [play.ns, play.bob.root_ns]) == {
                play.ns: tuple(sorted((play.ann.account_id, play.bob.account_id))),
                play.bob.root_ns: (play.bob.account_id,),
            }

    asyncio.run(main())


def test_a_stream_ends_when_its_rights_change_and_the_device_asks_anew() -> None:
    async def main() -> None:
        async with scene() as play, asyncio.TaskGroup() as group:
            services, db, clock = play.services, play.services.db, play.services.clock
            device = await play.device(group, play.ns)
            account = play.bob.account_id
            await tell_touched(services, await change_role(db, clock, play.ann, play.ns, account, Role.VIEWER))
            assert await ended(device) == CLOSE_GOING_AWAY
            assert [head.can_write for head in (await namespaces(db, play.bob)).namespaces] == [True, False]
            device = await play.device(group, play.ns)
            await tell_touched(services, await remove(db, clock, play.ann, play.ns, account))
            assert await ended(device) == CLOSE_GOING_AWAY
            frames = [device.frames.get_nowait() for _ in range(device.frames.qsize())]
            entries = [entry for frame in frames if isinstance(frame, Pushed) for entry in frame.changes.entries]
            assert [entry.action for entry in entries] in ([], [Action.UNMOUNT])
            assert [head.ns for head in (await namespaces(db, play.bob)).namespaces] == [play.bob.root_ns]
            device = await play.device(group)
            await invite(db, clock, play.ann, play.ns, [("bob", Role.EDITOR)])
            await tell_touched(services, await accept(db, clock, play.bob, play.ns))
            assert await ended(device) == CLOSE_GOING_AWAY

    asyncio.run(main())


def test_a_right_that_went_away_in_another_process_is_noticed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PING_S", 0.2)
    monkeypatch.setattr(stream, "RECHECK_S", 0.3)

    async def main() -> None:
        async with scene() as play, asyncio.TaskGroup() as group:
            device = await play.device(group, play.ns)
            await remove(play.services.db, play.services.clock, play.ann, play.ns, play.bob.account_id)
            assert await ended(device) == CLOSE_GOING_AWAY

    asyncio.run(main())


def test_nothing_is_pushed_to_who_lost_the_right_a_moment_ago() -> None:
    async def main() -> None:
        async with scene() as play, asyncio.TaskGroup() as group:
            services, db = play.services, play.services.db
            stranger = await play.device(group, play.ns)
            # As another process would have it: nobody here was told to look again.
            member = await db.read(lambda conn: member_txn(conn, play.ns, play.bob.account_id))
            assert member is not None
            gone = member._replace(state=State.DECLINED)
            await db.write(play.ns, lambda conn: keep_member_txn(conn, gone))
            await play.commit()
            assert await ended(stranger) == CLOSE_GOING_AWAY
            assert stranger.frames.qsize() == 0
            assert services.counters.pushed_entries == 0

    asyncio.run(main())
