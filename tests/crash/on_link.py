"""Scenarios of a whole link: index, engine, scanner and applier on a real disk, the service in memory behind them.

Invariant checked: a start after the stop ends in sync by itself, with the disk, the index and the service alike, the
index sound, and every file of the user somewhere. The service is built anew for the next start and is the same to the
bit, since its clock counts; a link therefore only reads from it while it can be stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from satchel.core.entries import Kind
from satchel.core.errors import NotLinked, Unavailable
from satchel.core.hashing import block_hash
from satchel.core.ids import ROOT_NODE, DeviceId, LinkId, NamespaceId, NodeId, OpId
from satchel.core.messages import (
    CODEC_RAW,
    CommitRequest,
    CreateOp,
    DeleteOp,
    EditOp,
    MoveOp,
    NamespacesReply,
    Op,
    Placement,
    Stored,
    Welcome,
    WireBlock,
)
from satchel.device.applier import Applier
from satchel.device.disk import LocalDisk
from satchel.device.drive import drive
from satchel.device.engine import Engine, Now, excluding
from satchel.device.engine.state import LinkIdentity
from satchel.device.fetching import Fetcher
from satchel.device.hands import Hands
from satchel.device.index.store import Index
from satchel.device.links import Link, LinkStore
from satchel.device.ports import ROOT_PATH, Hint
from satchel.device.scanner import Scanner
from satchel.device.sending import Sender
from satchel.device.service_tasks import StreamFrameCame, StreamTask
from satchel.device.short_files import ShortFiles
from satchel.device.tasks import Fact, Hinted, Scanned
from satchel.device.transfer import SequentialLanes
from satchel.simulation.core_remote import CoreRemote, CoreService
from tests.crash.on_disk import linked
from tests.crash.scenario import DONE, Scenario, Tell, Work
from tests.support.disk_users import RealUser
from tests.support.still_clock import StillClock
from tests.support.writers import content_of

STEPS_MAX = 400
DOCS, NOTE, LIST = (NodeId(letter * 16) for letter in (b"d", b"n", b"l"))
LINK, OTHERS_LINK = LinkId(b"L" * 16), LinkId(b"O" * 16)
Tree = dict[bytes, bytes | None]
FIRST: Tree = {b"docs": None, b"docs/note": b"a note", b"list": b"a list"}


def _op_id(number: int) -> OpId:
    return OpId(bytes([0]) + number.to_bytes(15, "big"))


def _create(number: int, node: NodeId, name: str, data: bytes | None, parent: NodeId = ROOT_NODE) -> CreateOp:
    kind = Kind.FOLDER if data is None else Kind.FILE
    return CreateOp(_op_id(number), node, parent, name, int(kind), None if data is None else content_of(data))


class Others:
    """The service and the other device, which writes what each scenario needs. Each one made is the same."""

    def __init__(self) -> None:
        self.service = drive(CoreService.start())  # type: ignore[arg-type]
        self._writer = self.service.remote()
        self.ours = self.service.remote()
        self.write(
            _create(1, DOCS, "docs", None),
            _create(2, NOTE, "note", b"a note", DOCS),
            _create(3, LIST, "list", b"a list"),
            data=(b"a note", b"a list"),
        )

    def write(self, *ops: Op, data: Sequence[bytes] = ()) -> None:
        wires = tuple(WireBlock(block_hash(one), len(one), CODEC_RAW, len(one)) for one in data)
        reply = drive(self._writer.commit(CommitRequest(self.service.ns, OTHERS_LINK, ops, wires), data))
        assert all(isinstance(outcome, Stored) for outcome in reply.outcomes), reply


class Away(CoreRemote):
    """The service out of reach: nothing begins without its first answer."""

    async def namespaces(self) -> NamespacesReply:
        raise Unavailable("The service is away.", where="test")


class Device:
    """One run of a link, from its start on, driven by hand."""

    def __init__(self, folder: Path, remote: CoreRemote, ns: NamespaceId, *, start: int = 1) -> None:
        self.user = RealUser(os.fsencode(folder / "root"))
        self._clock = StillClock(1_800_000_000 * 10**9 + start * 3600 * 10**9, seed=start)
        self._disk = LocalDisk(self.user.root, free_bytes_min=0)
        self.index = Index(str(folder / "index.db"))
        self._applier = Applier(self._disk, self._clock)
        self._remote = remote
        self.engine = Engine(self.index, LinkIdentity(LINK, DeviceId(b"D" * 16), "laptop", ns), self._clock)
        lanes, short = SequentialLanes(), ShortFiles()
        self._hands = Hands(
            remote=remote,
            clock=self._clock,
            lanes=lanes,
            scanner=Scanner(self._disk, self.index.reader, self._clock, short=short),
            applier=self._applier,
            sender=Sender(self._disk, remote, lanes, short=short),
            fetcher=Fetcher(self._disk, remote, lanes),
            report=self,
            is_known=self.index.reader.is_synced_content,
        )
        self._inbox: list[Fact] = []
        drive(self._applier.recover(self.index.reader.is_synced_content))

    def put(self, fact: Fact) -> None:
        self._inbox.append(fact)

    def part(self, fact: Scanned) -> None:
        self._inbox.append(fact)

    def sync(self, *, steps: int = STEPS_MAX) -> bool:
        """Look at the whole folder and step until in sync. Result: whether it came to that."""
        self.put(Hinted((Hint(ROOT_PATH, None, True),)))
        self.engine.state.wants_pull = True
        rested = 0
        for _ in range(steps):
            facts, self._inbox = self._inbox, []
            tasks = self.engine.step(facts, Now(self._clock.monotonic_s(), self._clock.now_ns()))
            for task in tasks:
                if isinstance(task, StreamTask):
                    self._welcome(task)
                else:
                    drive(self._hands.do(task))
            rested = 0 if self._inbox or not self.engine.is_settled else rested + 1
            if rested > 2:
                return True
            if not self._inbox:
                wake_ns = int(self.engine.next_wake_s() * 1e9)
                self._clock.wall_ns = max(self._clock.wall_ns + 10**8, min(wake_ns, self._clock.wall_ns + 60 * 10**9))
        return False

    def _welcome(self, task: StreamTask) -> None:
        """The hello is answered, and then the stream is silent: what else it brings is only faster, never needed."""
        epoch, newest = drive(self._remote.namespaces()).epoch, drive(self._remote.begin_run(task.hello))
        self.put(StreamFrameCame(Welcome(epoch, bool(newest), self._remote.device_id, newest_start=newest), {}))


Script = Callable[[Others], None]
OwnChange = Callable[[RealUser], None]
Word = Callable[[Device], None]


def _nothing(_: object) -> None:
    return None


def _scenario(
    name: str,
    after: Tree,
    *,
    news: Script = _nothing,
    own: OwnChange = _nothing,
    word: Word = _nothing,
    here: Tree | None = None,
    is_joined: bool,
    is_away: bool = False,
) -> Scenario:
    """news: what the others did meanwhile. own: what the user did. is_away: the service is, while it can be stopped.

    word: what the user said before. here: what this disk holds at the end, where it is not all.
    """

    def begin(folder: Path) -> Work:
        linked(folder)
        others = Others()
        if is_joined:
            device = Device(folder, others.ours, others.service.ns)
            assert device.sync()
            word(device)
            device.index.close()
        news(others)
        own(RealUser(os.fsencode(folder / "root")))
        remote = Away(others.service, others.ours._principal) if is_away else others.ours

        def work(tell: Tell) -> None:
            device = Device(folder, remote, others.service.ns, start=2)
            if device.sync(steps=30 if is_away else STEPS_MAX) or is_away:
                tell(DONE)

        return work

    def check(folder: Path, told: Sequence[str]) -> list[str]:
        others = Others()
        news(others)
        device = Device(folder, others.ours, others.service.ns, start=3)
        wrong = [] if device.sync() else ["the next start does not come in sync"]
        tree = device.user.tree()
        if tree != (after if here is None else here):
            wrong.append(f"the disk holds {tree}")
        if (held := list(device.index.held(10))) or not device.engine.is_settled:
            wrong.append(f"something is held: {held}")
        wrong += [row[0] for row in device.index.connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        device.index.close()
        # Another device, from nothing, gets the same: so the service holds it all.
        (folder / "fresh").mkdir()
        linked(folder / "fresh")
        fresh = Device(folder / "fresh", others.service.remote(), others.service.ns, start=4)
        if not fresh.sync() or fresh.user.tree() != after:
            wrong.append(f"another device gets {fresh.user.tree()}")
        fresh.index.close()
        return wrong

    return Scenario(f"link: {name}", begin, check)


def _edit(others: Others) -> None:
    others.write(EditOp(_op_id(10), LIST, 3, content_of(b"a longer list")), data=[b"a longer list"])


def _delete(others: Others) -> None:
    others.write(DeleteOp(_op_id(11), DOCS, 3))


def _move(others: Others) -> None:
    others.write(MoveOp(_op_id(12), (Placement(LIST, 3, DOCS, "moved"),)))


def _swap(others: Others) -> None:
    others.write(MoveOp(_op_id(13), (Placement(NOTE, 2, ROOT_NODE, "list"), Placement(LIST, 3, DOCS, "note"))))


def _own_files(user: RealUser) -> None:
    user.make_folder(b"mine")
    user.write_file(b"mine/edit", b"nowhere else")
    user.write_file(b"same", b"nowhere else either")


def _same_files(user: RealUser) -> None:
    user.make_folder(b"docs")
    user.write_file(b"docs/note", b"a note")
    user.write_file(b"list", b"a list")


def _leave_out(device: Device) -> None:
    excluding.exclude(device.engine.state, ["docs"])


def _take_back(device: Device) -> None:
    _leave_out(device)
    assert device.sync() and device.user.tree() == {b"list": b"a list"}
    excluding.include(device.engine.state, ["docs"])


OWN: Tree = {b"mine": None, b"mine/edit": b"nowhere else", b"same": b"nowhere else either"}

# -- the list of links ------------------------------------------------------------------------------------------------

ONE = Link(LinkId(b"1" * 16), "/home/ada/one", "/one", "00" * 16, "00" * 16, "laptop")
TWO = Link(LinkId(b"2" * 16), "/home/ada/two", "/two", "00" * 16, "00" * 16, "laptop")


def _listed(name: str, change: Callable[[LinkStore], object], after: Sequence[Link]) -> Scenario:
    def begin(folder: Path) -> Work:
        store = LinkStore(folder / "home")
        store.add(ONE)

        def work(tell: Tell) -> None:
            change(store)
            tell(DONE)

        return work

    def check(folder: Path, told: Sequence[str]) -> list[str]:
        store = LinkStore(folder / "home")
        found = list(store.links())
        wrong = [] if found in ([ONE], list(after)) else [f"neither before nor after: {found}"]
        if DONE in told and found != list(after):
            wrong.append(f"told, and not so: {found}")
        if found == [ONE]:
            change(store)
        return wrong if list(store.links()) == list(after) else [*wrong, "the same once more does not work"]

    return Scenario(f"link: {name}", begin, check)


def _remove(store: LinkStore) -> None:
    try:
        store.remove(ONE.link_id)
    except NotLinked:
        return


SCENARIOS = (
    _scenario("first contact with an empty folder", FIRST, is_joined=False),
    _scenario("first contact with the same files", FIRST, own=_same_files, is_joined=False),
    _scenario("a remote edit", FIRST | {b"list": b"a longer list"}, news=_edit, is_joined=True),
    _scenario("a remote deletion", {b"list": b"a list"}, news=_delete, is_joined=True),
    _scenario("a remote move", {b"docs": None, b"docs/note": b"a note", b"docs/moved": b"a list"}, news=_move,
              is_joined=True),
    _scenario("a remote swap", {b"docs": None, b"docs/note": b"a list", b"list": b"a note"}, news=_swap,
              is_joined=True),
    _scenario("a start of a link in sync", FIRST, is_joined=True),
    _scenario("a scan while the service is away", FIRST | OWN, own=_own_files, is_joined=True, is_away=True),
    _scenario("a first start while the service is away", FIRST | OWN, own=_own_files, is_joined=False, is_away=True),
    _scenario("a folder is left out", FIRST, word=_leave_out, here={b"list": b"a list"}, is_joined=True),
    _scenario("a folder is taken back", FIRST, word=_take_back, is_joined=True),
    _listed("link a folder", lambda store: store.add(TWO), [ONE, TWO]),
    _listed("unlink a folder", _remove, []),
)  # fmt: skip
