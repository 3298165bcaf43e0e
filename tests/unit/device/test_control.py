import asyncio
import contextlib
import os
import socket
from pathlib import Path

import pytest

from satchel.core.errors import DaemonNotRunning, MessageInvalid, NotLinked
from satchel.device.control import SOCKET_NAME, ControlClient, Request
from satchel.device.control_server import ControlServer


async def answer(request: Request) -> object:
    match request.do:
        case "echo":
            return {"local": request.local}
        case "fault":
            raise NotLinked("That folder is not linked.", path=request.local)
    raise MessageInvalid("The daemon does not know this request.", reason=request.do)


async def asked(home: Path, request: Request) -> object:
    async with ControlServer(home, answer).listening():
        return await asyncio.to_thread(ControlClient(home).ask, request, object)


def test_a_request_gets_its_answer(tmp_path: Path) -> None:
    assert asyncio.run(asked(tmp_path, Request("echo", "/x"))) == {"local": "/x"}


def test_a_fault_arrives_as_the_fault_that_it_was(tmp_path: Path) -> None:
    with pytest.raises(NotLinked) as caught:
        asyncio.run(asked(tmp_path, Request("fault", "/x")))
    assert caught.value.fields == {"path": "/x"}


def test_an_unknown_request_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MessageInvalid):
        asyncio.run(asked(tmp_path, Request("dance")))


def test_without_a_daemon_the_client_says_so(tmp_path: Path) -> None:
    assert not ControlClient(tmp_path).is_running()
    with pytest.raises(DaemonNotRunning):
        ControlClient(tmp_path).ask(Request("echo"), object)


def test_a_socket_left_by_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / SOCKET_NAME))
    with pytest.raises(DaemonNotRunning):
        ControlClient(tmp_path).ask(Request("echo"), object)
    assert asyncio.run(asked(tmp_path, Request("echo"))) == {"local": ""}


def test_a_home_with_a_very_long_path_works(tmp_path: Path) -> None:
    home = tmp_path / ("n" * 120) / ("m" * 120)
    home.mkdir(parents=True)
    assert asyncio.run(asked(home, Request("echo", "/x"))) == {"local": "/x"}


def test_the_socket_is_for_its_owner_alone_and_goes_with_the_daemon(tmp_path: Path) -> None:
    async def mode() -> int:
        async with ControlServer(tmp_path, answer).listening():
            return os.stat(tmp_path / SOCKET_NAME).st_mode & 0o777

    assert asyncio.run(mode()) == 0o600
    assert not (tmp_path / SOCKET_NAME).exists()


NONSENSE = [
    b"nonsense\n",
    b"{}\n",
    b'{"do": 7}\n',
    b'{"do": "\xff"}\n',
    b'{"do": "echo", "more": ' + b"[" * 60_000 + b"\n",
]


@pytest.mark.parametrize("line", NONSENSE)
def test_nonsense_is_answered_with_a_fault_and_hurts_nobody(tmp_path: Path, line: bytes) -> None:
    async def talk() -> tuple[bytes, object]:
        async with ControlServer(tmp_path, answer).listening():
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / SOCKET_NAME))
            writer.write(line)
            told = await reader.readline()
            writer.close()
            return told, await asyncio.to_thread(ControlClient(tmp_path).ask, Request("echo"), object)

    told, after = asyncio.run(talk())
    assert b"message_invalid" in told
    assert after == {"local": ""}


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b'{"fault": {"code": "\xff", "message": ""}}\n', b'{"value": "\xff"}\n']
)
def test_an_answer_that_is_nonsense_is_told(tmp_path: Path, line: bytes) -> None:
    async def talk() -> None:
        async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(line)
            writer.close()

        async with await asyncio.start_unix_server(babble, str(tmp_path / SOCKET_NAME)):
            with pytest.raises(MessageInvalid):
                await asyncio.to_thread(ControlClient(tmp_path).ask, Request("echo"), object)

    asyncio.run(talk())


def test_a_line_without_end_is_cut_and_the_next_request_answered(tmp_path: Path) -> None:
    async def talk() -> object:
        async with ControlServer(tmp_path, answer).listening():
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / SOCKET_NAME))
            with contextlib.suppress(ConnectionError):
                # The daemon closes while bytes still wait, so the kernel may reset the line.
                writer.write(b"x" * 1_000_000)
                assert await reader.read() == b""
            writer.close()
            return await asyncio.to_thread(ControlClient(tmp_path).ask, Request("echo"), object)

    assert asyncio.run(talk()) == {"local": ""}
