"""Sealed files: what opens is what was sealed, at its place, under its name, whole."""

from __future__ import annotations

import io

import msgspec
import pytest

from satchel.core.errors import SettingInvalid, StorageFailed
from satchel.server.upkeep.backup.sealing import (
    MAGIC,
    SALT_BYTES,
    TAG_BYTES,
    KeyCost,
    Keys,
    Sealer,
    new_keys,
    open_keys,
    parse_key_file,
    parts_in,
)
from tests.support.clocks import SteppingClock

COST = KeyCost(memory_kib=8, passes=1, lanes=1)
PARTS = [b"first", b"", b"third, longer", b"last"]
HEAD = len(MAGIC) + SALT_BYTES


@pytest.fixture(params=["a passphrase", None], ids=["encrypted", "open"])
def keys(request: pytest.FixtureRequest) -> Keys:
    return new_keys(SteppingClock(), request.param, COST)[1]


def sealed(keys: Keys, parts: list[bytes], *, name: str = "blocks/aa/file", salt: bytes = b"s" * SALT_BYTES) -> bytes:
    file = io.BytesIO()
    sealer = Sealer(file, keys, name, salt)
    for part in parts:
        sealer.write(part)
    sealer.finish()
    return file.getvalue()


def opened(keys: Keys, data: bytes, *, name: str = "blocks/aa/file") -> list[bytes | None]:
    return list(parts_in(io.BytesIO(data), len(data), keys, name))


def frames(data: bytes) -> list[bytes]:
    """The frames of a file after its head, each whole."""
    found, at = [], HEAD
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big") + 5
        found.append(data[at : at + length])
        at += length
    return found


def test_what_was_sealed_opens(keys: Keys) -> None:
    assert opened(keys, sealed(keys, PARTS)) == PARTS
    assert opened(keys, sealed(keys, [])) == [b""]


def test_any_flipped_bit_is_found_and_takes_no_other_part_with_it(keys: Keys) -> None:
    data = sealed(keys, PARTS)
    for at in range(len(data)):
        found = opened(keys, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert None in found, at
        assert all(part is None or part in PARTS for part in found)
    at = HEAD + len(frames(data)[0]) + 5
    found = opened(keys, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert found == [b"first", None, *PARTS[2:]]


def test_parts_that_are_dropped_swapped_repeated_or_cut_off_are_found(keys: Keys) -> None:
    data = sealed(keys, PARTS)
    head, (one, two, three, four) = data[:HEAD], frames(data)
    assert opened(keys, head + one + two + three + four) == PARTS
    for changed in (
        [one, two, three],
        [one],
        [],
        [two, three, four],
        [one, three, four],
        [two, one, three, four],
        [one, one, two, three, four],
        [one, two, three, four, four],
        [four],
    ):
        assert None in opened(keys, head + b"".join(changed))


def test_a_part_that_is_made_to_look_like_the_last_one_does_not_open(keys: Keys) -> None:
    data = sealed(keys, PARTS)
    one, two, three, _ = frames(data)
    assert opened(keys, data[:HEAD] + one + two + three[:4] + b"\1" + three[5:]) == [*PARTS[:2], None]


def test_a_part_does_not_open_in_another_file_or_under_another_name(keys: Keys) -> None:
    ours, theirs = sealed(keys, PARTS), sealed(keys, PARTS, salt=b"t" * SALT_BYTES)
    assert set(opened(keys, theirs[:HEAD] + b"".join(frames(ours)))) == {None}
    assert set(opened(keys, ours, name="blocks/aa/other")) == {None}


def test_equal_parts_do_not_look_equal() -> None:
    keys = new_keys(SteppingClock(), "a passphrase", COST)[1]
    one, two, _ = frames(sealed(keys, [b"x" * 64, b"x" * 64, b""]))
    assert one[5:] != two[5:] and len(one) == 5 + 64 + TAG_BYTES
    assert b"x" * 8 not in one


def test_only_the_passphrase_opens_the_key_and_nothing_shows_it() -> None:
    file, keys = new_keys(SteppingClock(), "a passphrase", COST)
    assert open_keys(parse_key_file(file.as_bytes(), "keys"), "a passphrase") == keys
    for wrong in ("A passphrase", "a passphrase ", "x"):
        with pytest.raises(SettingInvalid, match="The passphrase is wrong"):
            open_keys(file, wrong)
    with pytest.raises(SettingInvalid, match="is encrypted"):
        open_keys(file, None)
    assert keys.master.hex() not in repr(keys) and keys.master.hex() not in file.as_bytes().decode()


def test_a_key_file_that_takes_the_encryption_off_is_refused() -> None:
    file, _ = new_keys(SteppingClock(), "a passphrase", COST)
    weaker = msgspec.structs.replace(file, encryption="none").summed()
    with pytest.raises(SettingInvalid, match="not encrypted, and a passphrase was given"):
        open_keys(weaker, "a passphrase")


def test_every_change_of_a_key_file_is_found() -> None:
    raw = new_keys(SteppingClock(), "a passphrase", COST)[0].as_bytes()
    for at in range(len(raw)):
        with pytest.raises(StorageFailed):
            parse_key_file(raw[:at] + bytes([raw[at] ^ 0x41]) + raw[at + 1 :], "keys")
    greedy = msgspec.structs.replace(new_keys(SteppingClock(), "x", COST)[0], cost=KeyCost(memory_kib=1 << 30)).summed()
    with pytest.raises(StorageFailed, match="not one of Satchel's"):
        parse_key_file(greedy.as_bytes(), "keys")
