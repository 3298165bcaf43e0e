"""An rclone remote that an import comes from: the program rclone reads it, for all storage that it knows.

Invariant: rclone's remote control listens on loopback alone, with a password that was made for this run and stands in
no process list; it ends with the import, by its own process. Source: rclone.org/rc (operations/list, --rc-serve).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import hashlib
import re
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from satchel.core.errors import FileChanging, FileUnreadable, MessageInvalid, NotFound, SettingInvalid, Unavailable
from satchel.core.limits import MIB
from satchel.device.carrying.sources import Found, State, walked
from satchel.device.wire_http import CONNECT_TIMEOUT_S, keeping, read_bounded, translating

PROGRAM = "rclone"
START_S = 30.0
END_S = 10.0
SILENCE_S_MAX = 300
"""Some storage takes long until it begins to answer."""
LISTING_BYTES_MAX = 256 * MIB
LOG_BYTES_MAX = 64 * 1024
PIECE_BYTES = 1 * MIB
_USER = "satchel"
_SERVING = re.compile(rb"Serving remote control on (http://127\.0\.0\.1:\d+)/")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)\Z")


class _Listed(msgspec.Struct, frozen=True, rename="pascal"):
    name: str
    is_dir: bool
    size: int = -1
    mod_time: str = ""


class _Listing(msgspec.Struct, frozen=True, rename={"found": "list"}):
    found: list[_Listed] | None = None


class _Refused(msgspec.Struct, frozen=True):
    error: str = ""


class RcloneSource:
    """All that lies in a remote, named as rclone does: `drive:` or `s3:bucket/folder`. Use it as `async with`."""

    def __init__(self, remote: str) -> None:
        self._remote = remote
        self._stack = contextlib.AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None
        self._origin = URL("http://127.0.0.1")

    async def __aenter__(self) -> Self:
        program = shutil.which(PROGRAM)
        if program is None:
            raise SettingInvalid(
                "The program rclone is not installed here; it reads this kind of source.",
                setting="SOURCE",
                reason="install rclone, or name a folder or a WebDAV address",
            )
        async with contextlib.AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="satchel-rclone-")))
            password = secrets.token_hex(16)
            digest = base64.b64encode(hashlib.sha1(password.encode()).digest()).decode()
            # A made password of 128 bits needs no slow hash; the file lies in a folder of ours alone.
            (folder / "htpasswd").write_text(f"{_USER}:{{SHA}}{digest}\n")
            process = await asyncio.create_subprocess_exec(
                program,
                *("rcd", "--rc-addr", "127.0.0.1:0", "--rc-serve", "--ask-password=false"),
                *("--rc-htpasswd", str(folder / "htpasswd")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            stack.push_async_callback(_end, process)
            self._origin = await _origin(process)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            reading = tasks.create_task(_drain(process))
            stack.callback(reading.cancel)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_S_MAX)
            headers = {"Authorization": aiohttp.encode_basic_auth(_USER, password)}
            session = aiohttp.ClientSession(headers=headers, timeout=timeout, trust_env=False)
            self._session = await stack.enter_async_context(session)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self._stack.aclose()

    async def entries(self) -> AsyncIterator[Found]:
        async for found in walked(self._listed):
            yield found

    async def fetch(self, found: Found, into: BinaryIO) -> None:
        assert self._session is not None
        path = quote(f"[{self._remote}]", safe="") + "/" + "/".join(quote(name, safe="") for name in found.names)
        size, done = found.states[-1].size, 0
        with translating(PROGRAM):
            async with self._session.get(URL(f"{self._origin}{path}", encoded=True)) as response:
                if response.status != 200:
                    raise FileUnreadable(
                        "rclone cannot read this file.", path="/".join(found.names), reason=f"HTTP {response.status}"
                    )
                async for piece in response.content.iter_chunked(PIECE_BYTES):
                    with keeping():
                        await asyncio.to_thread(into.write, piece)
                    done += len(piece)
        if size >= 0 and done != size:
            raise FileChanging("The file changed while it was fetched.", path="/".join(found.names))

    async def _listed(self, names: tuple[str, ...]) -> list[Found]:
        listed = sorted(await self._asked(names), key=lambda one: one.name)
        return [_found((*names, each.name), each) for each in listed]

    async def _asked(self, names: tuple[str, ...]) -> list[_Listed]:
        assert self._session is not None
        asked = {"fs": self._remote, "remote": "/".join(names), "opt": {"noMimeType": True}}
        with translating(PROGRAM):
            async with self._session.post(self._origin / "operations/list", json=asked) as response:
                raw = bytes(await read_bounded(response, LISTING_BYTES_MAX))
                status = response.status
        try:
            if status == 200:
                return msgspec.json.decode(raw, type=_Listing).found or []
            reason = msgspec.json.decode(raw, type=_Refused).error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MessageInvalid("What rclone answers does not decode.", reason=str(error)) from error
        if status == 404 or "not found" in reason or "didn't find" in reason:
            raise NotFound(f"rclone finds nothing at {self._remote}: {reason}", path="/".join(names))
        raise Unavailable(f"rclone cannot read {self._remote}.", where=PROGRAM, reason=reason)


async def _origin(process: asyncio.subprocess.Process) -> URL:
    """Wait until rclone says where it listens. Raises: Unavailable."""
    assert process.stderr is not None
    told = b""
    try:
        async with asyncio.timeout(START_S):
            while len(told) < LOG_BYTES_MAX and (line := await process.stderr.readline()):
                told += line
                if found := _SERVING.search(line):
                    return URL(found[1].decode() + "/")
    except TimeoutError:
        pass
    reason = told.decode(errors="replace")[-500:].strip()
    raise Unavailable("rclone did not start.", where=PROGRAM, reason=reason or "it said nothing")


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Read what rclone says, so that it never waits for a reader."""
    assert process.stderr is not None
    while await process.stderr.read(LOG_BYTES_MAX):
        pass


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
    try:
        async with asyncio.timeout(END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _found(names: tuple[str, ...], each: _Listed) -> Found:
    if each.is_dir:
        return Found(names, "folder")
    return Found(names, "file", (State(each.size, _time_ns(each.mod_time)),))


def _time_ns(text: str) -> int:
    """Return a time of RFC 3339 as Unix ns, 0 where it is none."""
    match = _TIME.match(text)
    if match is None:
        return 0
    try:
        second = int(datetime.datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError):
        return 0
    return second * 1_000_000_000 + int((match[2] or "0").ljust(9, "0"))
