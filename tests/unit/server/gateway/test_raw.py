"""Bodies are bounded, one by one and all together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from satchel.core.errors import LimitExceeded, MessageInvalid, TooManyRequests, Unavailable
from satchel.core.ids import AccountId
from satchel.core.limits import REQUESTS_PER_ACCOUNT_MAX
from satchel.server.gateway.raw import (
    ACCOUNT_BODIES_BYTES_MAX,
    ALL_BODIES_BYTES_MAX,
    JOINED_BYTES_MAX,
    SENT_BYTES_MAX,
    WORKING_MAX,
    Disconnected,
    Joining,
    Message,
    Room,
    Scope,
    declared_bytes,
    patient,
    read_body,
)

ANN, BEN = AccountId(b"a" * 16), AccountId(b"b" * 16)


def body_of(pieces: Sequence[bytes], *, declared: str = "", maximum: int = 10, is_cut: bool = False) -> bytes:
    messages: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages[-1]["more_body"] = is_cut
    messages.append({"type": "http.disconnect"})
    left = iter(messages)

    async def receive() -> Message:
        return next(left)

    scope: Scope = {"headers": [(b"content-length", declared.encode())] if declared else []}
    return asyncio.run(read_body(scope, receive, limit="TEST", maximum=maximum))


@pytest.mark.parametrize("pieces", [[b""], [b"0123456789"], [b"01234", b"", b"56789"], [b"0"] * 10])
def test_a_body_up_to_the_limit_is_read_whole(pieces: list[bytes]) -> None:
    assert body_of(pieces) == b"".join(pieces)


@pytest.mark.parametrize("pieces", [[b"0123456789x"], [b"01234", b"56789", b"x"], [b"x"] * 1_000])
def test_a_body_past_the_limit_is_refused_by_its_name(pieces: list[bytes]) -> None:
    with pytest.raises(LimitExceeded) as refused:
        body_of(pieces)
    assert refused.value.fields["limit"] == "TEST"


def test_a_declared_length_past_the_limit_is_refused_before_a_byte_is_read() -> None:
    async def receive() -> Message:
        raise AssertionError("the body was read")

    scope: Scope = {"headers": [(b"content-length", b"11")]}
    with pytest.raises(LimitExceeded):
        asyncio.run(read_body(scope, receive, limit="TEST", maximum=10))


def test_a_length_that_is_no_number_is_refused() -> None:
    with pytest.raises(MessageInvalid):
        body_of([b"x"], declared="-1")


def test_a_body_that_breaks_off_is_no_body() -> None:
    with pytest.raises(Disconnected):
        body_of([b"half"], is_cut=True)


def test_room_is_given_back_and_never_given_twice() -> None:
    room = Room()
    with room.taken(ANN, ACCOUNT_BODIES_BYTES_MAX):
        with pytest.raises(Unavailable), room.taken(ANN, 1):
            pass
        with room.taken(BEN, 1):
            pass
    with room.taken(ANN, ACCOUNT_BODIES_BYTES_MAX):
        pass


def test_all_accounts_together_are_bounded() -> None:
    room = Room()
    count = ALL_BODIES_BYTES_MAX // ACCOUNT_BODIES_BYTES_MAX

    def fill(number: int) -> None:
        if number == count:
            with pytest.raises(Unavailable), room.taken(ANN, 1):
                pass
            return
        with room.taken(AccountId(bytes([number]) * 16), ACCOUNT_BODIES_BYTES_MAX):
            fill(number + 1)

    fill(0)


def test_a_body_that_does_not_say_its_length_takes_all_that_it_may() -> None:
    assert declared_bytes({"headers": []}, maximum=10) == 10
    assert declared_bytes({"headers": [(b"content-length", b"3")]}, maximum=10) == 3
    assert declared_bytes({"headers": [(b"content-length", b"99")]}, maximum=10) == 10


def test_short_pieces_are_joined_and_long_ones_pass_all_in_their_order() -> None:
    long = b"L" * JOINED_BYTES_MAX
    pieces = [b"a" * 1_000] * 100 + [long, long, b"b", b"", b"c", long] + [b"d" * 40_000] * 3 + [b"e"]
    joining = Joining()
    written = [part for piece in pieces for part in joining.add(piece)]
    written.append(joining.rest())
    assert b"".join(written) == b"".join(pieces)
    assert len(written) == 8
    assert sum(part is long for part in written) == 3
    assert joining.rest() == b""


def test_a_long_piece_leaves_in_parts_that_a_slow_line_takes_in_time() -> None:
    pieces = [b"s", bytes(range(256)) * 8 * 1024, b"", b"e" * SENT_BYTES_MAX]
    sent: list[dict[str, object]] = []

    async def send(message: Message) -> None:
        sent.append(dict(message))

    async def main() -> None:
        for piece in pieces:
            more = piece is not pieces[-1]
            await patient(send)({"type": "http.response.body", "body": piece, "more_body": more})

    asyncio.run(main())
    bodies = [bytes(message["body"]) for message in sent]  # type: ignore[call-overload]  # as a server takes them
    assert b"".join(bodies) == b"".join(pieces)
    assert max(map(len, bodies)) == SENT_BYTES_MAX
    assert [message["more_body"] for message in sent] == [True] * (len(sent) - 1) + [False]


def test_what_has_no_body_passes_as_it_is() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def main() -> None:
        await patient(send)(start)

    start: Message = {"type": "http.response.start", "status": 200, "headers": []}
    asyncio.run(main())
    assert sent == [start]


def test_an_account_has_so_many_requests_at_work_and_no_more() -> None:
    room = Room()
    with ExitStack() as stack:
        for number in range(REQUESTS_PER_ACCOUNT_MAX):
            stack.enter_context(room.working(ANN, is_transfer=number % 2 == 0))
        with pytest.raises(TooManyRequests) as refused, room.working(ANN):
            pass
        assert refused.value.fields["retry_after_s"] == 1
        with room.working(BEN):
            pass
    with room.working(ANN):
        pass


def test_all_accounts_together_have_so_many_requests_at_work_beside_transfers() -> None:
    room = Room()
    accounts = [AccountId(bytes([number]) * 16) for number in range(WORKING_MAX)]
    with ExitStack() as stack:
        for account in accounts:
            stack.enter_context(room.working(account, is_transfer=True))
            stack.enter_context(room.working(account))
        with pytest.raises(Unavailable), room.working(ANN):
            pass
        with room.working(ANN, is_transfer=True):
            pass
    with room.working(ANN):
        pass
