"""What passes between the daemon and the process that scans for it. Invariant: a frame is whole and of a known shape,
or reading it is a fault.

Both ends are one program of one version, so the values themselves travel: msgspec writes and reads them faster than
anything that would have to be put together by hand. A frame is its length in 4 bytes, big-endian, and its body.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from satchel.core.errors import Fault, MessageInvalid, every_fault
from satchel.core.ids import BlockHash
from satchel.core.limits import MIB
from satchel.device.ignore import RulesText
from satchel.device.ports import Hint, Volume
from satchel.device.tasks import LocalFact, Scanned, ScanTask, SeenChanged, SeenGone, SeenMoved, SeenNew, SeenUnknown

T = TypeVar("T")

LENGTH_BYTES = 4
FRAME_BYTES_MAX = 128 * MIB
"""More than one part can hold: 500 facts, of which one may be the longest blocklist."""


class Order(msgspec.Struct, frozen=True, array_like=True):
    """What to scan. root: the linked folder; index: its database; rules: ignore files as they were last read.

    has_xattrs: the link syncs extended attributes.
    """

    root: bytes
    index: str
    hints: tuple[Hint, ...]
    volume: Volume | None
    rules: tuple[RulesText, ...]
    has_xattrs: bool = False


class FaultTold(msgspec.Struct, frozen=True, array_like=True):
    """A fault on its way to the daemon; fields that are no plain data are told as text."""

    code: str
    message: str
    fields: dict[str, str | int | float | None]


class Beat(msgspec.Struct, frozen=True, array_like=True, tag="beat"):
    """A sign of life: the scan goes on, and there is nothing to report yet."""


class ShortRead(msgspec.Struct, frozen=True, array_like=True, tag="short"):
    """Contents of short files that the next part will name."""

    names: list[BlockHash]
    contents: list[bytes]


class Learnt(msgspec.Struct, frozen=True, array_like=True, tag="learnt"):
    """What the next scan has to know of this one. It comes before the last part."""

    volume: Volume | None
    rules: tuple[RulesText, ...]


class _New(msgspec.Struct, array_like=True, tag="new"):
    facts: list[SeenNew]


class _Changed(msgspec.Struct, array_like=True, tag="changed"):
    facts: list[SeenChanged]


class _Moved(msgspec.Struct, array_like=True, tag="moved"):
    facts: list[SeenMoved]


class _Gone(msgspec.Struct, array_like=True, tag="gone"):
    facts: list[SeenGone]


class _Unknown(msgspec.Struct, array_like=True, tag="unknown"):
    facts: list[SeenUnknown]


_Run = _New | _Changed | _Moved | _Gone | _Unknown


class Part(msgspec.Struct, array_like=True, tag="part"):
    """A part of a scan: its facts in order, in runs of one kind."""

    runs: list[_Run]
    files_seen: int
    is_last: bool
    is_full: bool
    fault: FaultTold | None
    begun_s: float

    def of(self, task: ScanTask) -> Scanned:
        """Return the part as a fact of the task."""
        facts: list[LocalFact] = []
        for run in self.runs:
            facts += run.facts
        fault = None if self.fault is None else fault_of(self.fault)
        return Scanned(task, tuple(facts), self.is_last, self.files_seen, self.is_full, fault, self.begun_s)


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The scan ended with a fault and no last part. fault None: a mistake of ours, which `reason` names."""

    fault: FaultTold | None
    reason: str = ""


Frame = Beat | ShortRead | Learnt | Part | Failed

_encoder = msgspec.msgpack.Encoder()
_frames = msgspec.msgpack.Decoder(Frame)
_orders = msgspec.msgpack.Decoder(Order)


def framed(value: Frame | Order) -> bytearray:
    """Return the whole frame. Raises: MessageInvalid when it is longer than the other side would take."""
    buffer = bytearray(LENGTH_BYTES)
    _encoder.encode_into(value, buffer, LENGTH_BYTES)
    size = len(buffer) - LENGTH_BYTES
    if size > FRAME_BYTES_MAX:
        raise MessageInvalid("A part of the scan is too long to be handed over.", reason="length")
    buffer[:LENGTH_BYTES] = size.to_bytes(LENGTH_BYTES, "big")
    return buffer


def length_of(head: bytes) -> int:
    """Return the length of the body that follows. Raises: MessageInvalid for one that no frame has."""
    size = int.from_bytes(head, "big")
    if not 0 < size <= FRAME_BYTES_MAX:
        raise MessageInvalid("A frame has an impossible length.", reason="length")
    return size


def frame_of(body: bytes) -> Frame:
    """Read a frame's body. Raises: MessageInvalid."""
    frame: Frame = _read(_frames, body)
    return frame


def order_of(body: bytes) -> Order:
    """Read an order's body. Raises: MessageInvalid."""
    return _read(_orders, body)


def _read(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageInvalid("A frame cannot be read.", reason=str(error)) from error


def part_of(scanned: Scanned) -> Part:
    """Return the frame of a part of a scan."""
    fault = None if scanned.fault is None else told(scanned.fault)
    return Part(_runs(scanned.facts), scanned.files_seen, scanned.is_last, scanned.is_full, fault, scanned.begun_s)


def _runs(facts: Iterable[LocalFact]) -> list[_Run]:
    # One table for all kinds, so the types cannot say that each run holds its own kind.
    return [_RUNS[kind](list(run)) for kind, run in itertools.groupby(facts, key=type)]  # type: ignore[arg-type]


_RUNS: dict[type, type[_Run]] = {
    SeenNew: _New,
    SeenChanged: _Changed,
    SeenMoved: _Moved,
    SeenGone: _Gone,
    SeenUnknown: _Unknown,
}


def told(fault: Fault) -> FaultTold:
    """Return a fault as it travels."""
    return FaultTold(fault.code, fault.message, {name: _plain(value) for name, value in fault.fields.items()})


def _plain(value: object) -> str | int | float | None:
    if value is None or isinstance(value, int | float):
        return value
    text = value if isinstance(value, bytes) else str(value).encode(errors="surrogateescape")
    # A name that is no Unicode text is shown, not opened.
    return text.decode(errors="replace")


def fault_of(one: FaultTold) -> Fault:
    """Return the fault that was told; a plain one for a code that has none."""
    kind = next((kind for kind in every_fault() if kind.code == one.code), Fault)
    return kind(one.message, **one.fields)
