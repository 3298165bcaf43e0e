"""The short-lived keys of links, and the limits on guessing their passwords."""

import asyncio
import dataclasses

import pytest

from satchel.core.errors import TooManyRequests
from satchel.core.ids import AccountId, ContentHash, DeviceId, NamespaceId, NodeId
from satchel.server.accounts.guesses import network_of
from satchel.server.adapters.state_memory import MemoryState
from satchel.server.sharing.link_keys import LinkKeys, spend_guess
from satchel.server.sharing.shares import Permission, Share, ShareId, hash_of_token, new_token
from tests.support.clocks import SteppingClock

SHARE = Share(
    NamespaceId(b"n" * 16),
    ShareId(b"s" * 16),
    NodeId(b"f" * 16),
    AccountId(b"a" * 16),
    DeviceId(b"d" * 16),
    Permission.VIEW,
    "a password's hash",
    False,
    None,
    None,
    0,
    0,
    0,
    0,
)
NODE, CONTENT = NodeId(b"f" * 16), ContentHash(b"c" * 32)
KEYS = LinkKeys(b"k" * 32)


def test_a_key_opens_its_link_until_its_time_under_its_password_alone() -> None:
    key = KEYS.unlocking(SHARE, until_ms=1_000)
    assert KEYS.unlocks(key, SHARE, now_ms=999)
    assert not KEYS.unlocks(key, SHARE, now_ms=1_000)
    for other in (
        dataclasses.replace(SHARE, password_hash="another hash"),
        dataclasses.replace(SHARE, share_id=ShareId(b"t" * 16)),
    ):
        assert not KEYS.unlocks(key, other, now_ms=0)
    assert not LinkKeys(b"l" * 32).unlocks(key, SHARE, now_ms=0)
    assert not KEYS.resumes(key, SHARE, NODE, CONTENT, now_ms=0)


def test_a_key_goes_on_with_one_content_of_one_file() -> None:
    key = KEYS.resuming(SHARE, NODE, CONTENT, until_ms=1_000)
    assert KEYS.resumes(key, SHARE, NODE, CONTENT, now_ms=0)
    assert not KEYS.resumes(key, SHARE, NodeId(b"g" * 16), CONTENT, now_ms=0)
    assert not KEYS.resumes(key, SHARE, NODE, ContentHash(b"d" * 32), now_ms=0)
    assert not KEYS.unlocks(key, SHARE, now_ms=0)


@pytest.mark.parametrize("key", ["", "A", "A" * 54, "ü" * 54, "A" * 10_000, "=" * 54, "\0" * 54])
def test_what_is_no_key_opens_nothing(key: str) -> None:
    assert not KEYS.unlocks(key, SHARE, now_ms=0)


def test_tokens_are_long_and_each_another() -> None:
    made = {new_token(bytes([at]) * 32) for at in range(200)}
    assert len(made) == 200
    assert {len(token) for token in made} == {43}
    assert len({hash_of_token(token) for token in made}) == 200
    assert hash_of_token("x" * 1_000_000) == hash_of_token("")


async def _tried(state: MemoryState, address: str, share: Share = SHARE) -> int:
    """Return how many guesses were let through from an address, of 200."""
    for count in range(200):
        try:
            await spend_guess(state, share, address)
        except TooManyRequests as refused:
            assert int(str(refused.fields["retry_after_s"])) > 0
            return count
    return 200


def test_guesses_are_limited_by_address_network_and_link() -> None:
    other = dataclasses.replace(SHARE, share_id=ShareId(b"t" * 16))

    async def tried() -> list[int]:
        state = MemoryState(SteppingClock())
        found = [await _tried(state, f"203.0.113.{at}") for at in range(1, 5)]
        found += [await _tried(state, address) for address in ("198.51.100.1", "192.0.2.1", "2001:db8::1")]
        return [*found, await _tried(state, "2001:db8:1::1", other)]

    # Of an address 20, of a network 60, of the link 100; and another link is not touched by it.
    assert asyncio.run(tried()) == [20, 20, 20, 0, 20, 20, 0, 20]


@pytest.mark.parametrize(
    ("address", "network"),
    [("203.0.113.77", "203.0.113.0/24"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"), ("", ""), ("socket", "socket")],
)
def test_an_address_stands_for_its_network(address: str, network: str) -> None:
    assert network_of(address) == network
