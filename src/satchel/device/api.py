"""The service's REST interface, typed, for the command line. Invariant: content is verified by its hash at both ends.

Faults come back as the classes of `core.errors`, with the server's own message and fields. Source: docs/design/050.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

import aiohttp
import msgspec

from satchel.core.errors import (
    BlockMismatch,
    FileChanging,
    MessageInvalid,
    PreconditionFailed,
    Unavailable,
)
from satchel.core.limits import JSON_BODY_BYTES_MAX, LIST_PAGE_MAX, MIB
from satchel.device.content_hashing import ContentHasher, content_of
from satchel.device.wire_http import (
    ERROR_BYTES_MAX,
    HttpSession,
    foreign_fault,
    keeping,
    named_fault,
    read_bounded,
)

READ_BYTES = 1 * MIB
WRITE_BYTES = 4 * MIB
ANY_LENGTH_BYTES = 1 << 44
"""For the timeout of a transfer whose length is not known: the silence of the line ends it, not its length."""

Progress = Callable[[int], None]
"""Told how many more bytes are done."""
T = TypeVar("T")


class SignedIn(msgspec.Struct, frozen=True):
    """A new device of an account. Ids are hex; the token is shown this once."""

    token: str
    account_id: str
    account: str
    device_id: str
    root_ns: str


class DeviceCode(msgspec.Struct, frozen=True):
    """user_code: to be shown; device_code: a secret to ask with; page: where it is approved, below the address."""

    user_code: str
    device_code: str
    page: str
    expires_in_s: int
    interval_s: int


class DevicePolled(msgspec.Struct, frozen=True):
    """status: pending, slow_down, approved (then with the device), denied or expired."""

    status: str
    interval_s: int
    signed_in: SignedIn | None = None


class DeviceWaiting(msgspec.Struct, frozen=True):
    """A device that waits to be approved; address: where it asked from."""

    device_name: str
    address: str
    created_ms: int


class Account(msgspec.Struct, frozen=True):
    """Who asks, and how much is stored. quota_bytes: None when there is no limit."""

    account_id: str
    account: str
    device_id: str
    device: str
    root_ns: str
    is_admin: bool
    used_bytes: int
    quota_bytes: int | None

    @property
    def name(self) -> str:
        """The account's name."""
        return self.account


class Device(msgspec.Struct, frozen=True):
    """One of the account's devices. is_this: the one that asks; is_online: it holds a stream open now."""

    id: str
    name: str
    created_ms: int
    seen_ms: int
    is_this: bool = False
    is_online: bool = False


class Item(msgspec.Struct, frozen=True):
    """A file or folder. kind: file, folder, symlink, mount; rev: of its content; content_hash: hex, of a file.

    namespace: where its id holds; mounts: of a mount, the namespace that it shows. Both hex.
    """

    id: str
    parent_id: str
    name: str
    kind: str
    size: int
    mtime_ns: int
    is_executable: bool
    rev: int
    seq: int
    content_hash: str
    target: str
    namespace: str = ""
    mounts: str = ""

    @property
    def is_folder(self) -> bool:
        """Return whether it can hold others."""
        return self.kind in ("folder", "mount")


class Items(msgspec.Struct, frozen=True):
    """A page of a folder. after: give it to get the next page; empty at the end."""

    items: list[Item]
    after: str = ""


class Version(msgspec.Struct, frozen=True):
    """One committed content of a file. rev names it; number counts from 1."""

    rev: int
    number: int
    size: int
    mtime_ns: int
    content_hash: str
    author: str
    device: str
    created_ms: int


class Versions(msgspec.Struct, frozen=True):
    """A file's versions, the newest first."""

    id: str
    versions: list[Version]


class Trashed(msgspec.Struct, frozen=True):
    """A deleted file or folder. path: where it was; deleted_ms: 0 when unknown; deleted_by, device: who deleted it;
    purge_ms: when it will be gone for good, 0 for never or unknown; has_home: the folder that it was in is there;
    namespace: whose trash has it."""

    id: str
    path: str
    name: str
    kind: str
    size: int
    deleted_ms: int
    deleted_by: str = ""
    device: str = ""
    purge_ms: int = 0
    has_home: bool = True
    namespace: str = ""


class TrashPage(msgspec.Struct, frozen=True):
    """A page of the trash, the last deleted first. after: as for `Items`."""

    items: list[Trashed]
    after: str = ""


class Downloaded(msgspec.Struct, frozen=True):
    """What was written. content_hash: hex, verified."""

    size: int
    content_hash: str


class _Error(msgspec.Struct):
    code: str
    message: str = ""
    hint: str = ""
    fields: dict[str, object] = {}


class _Errors(msgspec.Struct):
    error: _Error


class Api:
    """One session. Use it as `async with Api(url, token) as api`; token "" before login."""

    def __init__(self, url: str, token: str = "") -> None:
        self._http = HttpSession(url, token)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._http.close()

    # -- account and devices ------------------------------------------------------------------------------------------

    async def login(self, user: str, password: str, device_name: str, code: str = "") -> SignedIn:
        """Make a device of the account. Raises: Unauthenticated, SecondFactorRequired, TooManyRequests."""
        told = {"user": user, "password": password, "device_name": device_name}
        return await self._ask("POST", "/api/v1/login", SignedIn, body=told | ({"code": code} if code else {}))

    async def begin_device_code(self, device_name: str) -> DeviceCode:
        """Ask for a code that somebody who is signed in approves. Raises: TooManyRequests."""
        return await self._ask("POST", "/api/v1/device-codes", DeviceCode, body={"device_name": device_name})

    async def poll_device_code(self, device_code: str) -> DevicePolled:
        """Ask how it stands with a code."""
        return await self._ask("POST", "/api/v1/device-codes/poll", DevicePolled, body={"device_code": device_code})

    async def look_at_device_code(self, user_code: str) -> DeviceWaiting:
        """Return which device shows this code. Raises: NotFound, TooManyRequests."""
        return await self._ask("POST", "/api/v1/device-codes/look", DeviceWaiting, body={"user_code": user_code})

    async def approve_device_code(self, user_code: str, *, approve: bool = True) -> None:
        """Sign the device that shows this code in, or turn it away. Raises: NotFound, TooManyRequests."""
        await self._tell("POST", "/api/v1/device-codes/approve", body={"user_code": user_code, "approve": approve})

    async def logout(self) -> None:
        """Revoke the token that is used. Raises: Unauthenticated when it is not valid any more."""
        await self._tell("POST", "/api/v1/logout")

    async def account(self) -> Account:
        """Return who the token belongs to."""
        return await self._ask("GET", "/api/v1/account", Account)

    async def devices(self) -> list[Device]:
        """Return the account's devices, the oldest first (at most 500)."""
        return await self._ask("GET", "/api/v1/devices", list[Device])

    async def rename_device(self, device_id: str, name: str) -> None:
        """Rename one of the account's devices. Raises: NotFound."""
        await self._tell("PATCH", f"/api/v1/devices/{device_id}", body={"name": name})

    async def revoke_device(self, device_id: str) -> None:
        """Sign a device out for ever. Raises: NotFound."""
        await self._tell("DELETE", f"/api/v1/devices/{device_id}")

    # -- the tree -----------------------------------------------------------------------------------------------------

    async def list_page(self, path: str = "/", after: str = "", limit: int = LIST_PAGE_MAX) -> Items:
        """Return a page of a folder. Raises: NotFound."""
        return await self._ask("GET", "/api/v1/files", Items, {"path": path, "after": after, "limit": str(limit)})

    async def list_folder(self, path: str = "/") -> AsyncIterator[Item]:
        """Yield what a folder holds, by name. Raises: NotFound."""
        after, has_more = "", True
        while has_more:
            page = await self.list_page(path, after)
            for item in page.items:
                yield item
            after, has_more = page.after, bool(page.after)

    async def entry(self, path: str) -> Item:
        """Return what stands at a path. Raises: NotFound."""
        return await self._ask("GET", "/api/v1/entry", Item, {"path": path})

    async def make_folder(self, path: str) -> Item:
        """Make a folder in one that exists. Raises: AlreadyExists, NotFound, NameInvalid."""
        return await self._ask("POST", "/api/v1/folders", Item, body={"path": path})

    async def move(self, source: str, target: str) -> Item:
        """Move or rename; the target is the new path itself and must be free. Raises: AlreadyExists, NotFound."""
        return await self._ask("POST", "/api/v1/move", Item, body={"from": source, "to": target})

    async def delete(self, path: str) -> None:
        """Put a file or folder, with all that is in it, into the trash. Raises: NotFound."""
        await self._tell("POST", "/api/v1/delete", body={"path": path})

    # -- versions and trash -------------------------------------------------------------------------------------------

    async def versions(self, path: str = "", *, node_id: str = "") -> Versions:
        """Return a file's versions, by path, or by id (also of a deleted one). Raises: NotFound."""
        return await self._ask("GET", "/api/v1/versions", Versions, _named(path, node_id))

    async def restore(
        self, rev: int, path: str = "", *, node_id: str = "", as_copy: bool = False, target: str = ""
    ) -> Item:
        """Give a file the content of an earlier version, as its newest one. as_copy: make a new file of it, beside it;
        target: at this path. Raises: NotFound, PreconditionFailed (the target is taken)."""
        more: dict[str, object] = {"as_copy": True} if as_copy else {}
        if target:
            more["to"] = target
        return await self._ask("POST", "/api/v1/restore", Item, body={"rev": rev, **_named(path, node_id), **more})

    async def trash_page(self, after: str = "", limit: int = LIST_PAGE_MAX, *, folder: str = "") -> TrashPage:
        """Return a page of what was deleted. folder: as for `list_trash`."""
        query = {"after": after, "limit": str(limit), "path": folder}
        page = await self._ask("GET", "/api/v1/trash", TrashPage, query)
        return TrashPage([msgspec.structs.replace(one, path=folder + one.path) for one in page.items], page.after)

    async def list_trash(self, folder: str = "") -> AsyncIterator[Trashed]:
        """Yield what was deleted, the last first. folder: the path of a shared folder, whose trash it is; else that of
        all that is one's own. Raises: NotFound."""
        after, has_more = "", True
        while has_more:
            page = await self.trash_page(after, folder=folder)
            for item in page.items:
                yield item
            after, has_more = page.after, bool(page.after)

    async def restore_trashed(self, node_id: str, *, target: str = "", namespace: str = "") -> Item:
        """Bring a deleted file or folder back, with all that went with it. target: the path that it gets; namespace:
        whose trash has it, without it one's own.

        Raises: NotFound, PreconditionFailed (the target is taken).
        """
        body = {"id": node_id, "to": target, "namespace": namespace}
        return await self._ask("POST", "/api/v1/trash/restore", Item, body=body)

    # -- content ------------------------------------------------------------------------------------------------------

    async def download(
        self,
        path: str,
        into: BinaryIO,
        *,
        node_id: str = "",
        rev: int = 0,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Downloaded:
        """Write a file's bytes to `into`, verified. rev: an earlier version. A line that breaks is taken up again.

        resume: `into` (readable, seekable) holds the beginning already; what is there is verified with the rest.
        Raises: NotFound; BlockMismatch (what was written is not the file); PreconditionFailed (the file changed while
        it came, and `into` cannot start again); Unavailable when nothing more comes.
        """
        params = _named(path, node_id) | ({"rev": str(rev)} if rev else {})
        download = _Download(into, progress or _nothing)
        if resume:
            await asyncio.to_thread(download.take_what_is_there)
        while True:
            before = download.done
            try:
                if await self._download_part(params, download):
                    break
            except Unavailable:
                # As long as each turn brings something, the next one may bring the rest.
                if download.done == before:
                    raise
        await asyncio.to_thread(download.verify)
        return Downloaded(download.done, download.tag.strip('"'))

    async def _download_part(self, params: dict[str, str], download: _Download) -> bool:
        """Get the bytes from where the download stands. Result: whether the end was reached."""
        headers = {"Range": f"bytes={download.done}-"} if download.done else {}
        if download.tag:
            headers["If-Range"] = download.tag
        async with self._http.request(
            "GET", "/api/v1/content", params=params, headers=headers, bytes_expected=ANY_LENGTH_BYTES
        ) as response:
            tag = response.headers.get("ETag", "")
            if response.status == 416 and download.done:
                total = response.headers.get("Content-Range", "").rpartition("/")[2]
                if download.tag in ("", tag) and total == str(download.done):
                    download.tag = tag
                    return True
                download.restart()
                return False
            if response.status not in (200, 206):
                await self._refuse(response)
            if not tag or response.content_type != "application/octet-stream":
                raise foreign_fault(response, str(self._http.origin))
            if download.done and (response.status == 200 or (download.tag and download.tag != tag)):
                download.restart()
                if response.status == 206:
                    return False
            download.tag = tag
            async for piece in response.content.iter_chunked(WRITE_BYTES):
                await asyncio.to_thread(download.write, piece)
        return True

    async def upload(
        self,
        path: str,
        source: BinaryIO,
        *,
        size: int | None,
        mtime_ns: int = 0,
        base_rev: int | None = None,
        is_new: bool = False,
        progress: Progress | None = None,
    ) -> Item:
        """Store `size` bytes of `source` as the file at a path; None: all that comes (a pipe).

        base_rev: only if the file is still at that rev; is_new: only if nothing is there. Raises: PreconditionFailed;
        FileChanging (fewer bytes than said); QuotaExceeded; BlockMismatch (the server stored something else).
        """
        reading = _Upload(source, size, progress or _nothing)
        headers = {"Content-Type": "application/octet-stream"}
        if size is not None:
            headers["Content-Length"] = str(size)
        if base_rev is not None:
            headers["If-Match"] = f'"{base_rev}"'
        if is_new:
            headers["If-None-Match"] = "*"
        try:
            async with self._http.request(
                "PUT",
                "/api/v1/content",
                params={"path": path, "mtime_ns": str(mtime_ns)},
                headers=headers,
                data=reading.pieces(),
                bytes_expected=ANY_LENGTH_BYTES,
            ) as response:
                item = await self._decoded(response, Item)
        except Unavailable:
            # A fault inside the body's own reading comes out as a broken connection.
            if reading.fault is not None:
                raise reading.fault from None
            raise
        ours = reading.hasher.finished().hex()
        if item.content_hash != ours:
            raise BlockMismatch("The server stored something else.", expected=ours, actual=item.content_hash)
        return item

    # -- one call -----------------------------------------------------------------------------------------------------

    async def ask(
        self, method: str, route: str, into: type[T], params: dict[str, str] | None = None, *, body: object = None
    ) -> T:
        """Ask a route that has no method here; return its answer decoded. Raises: the fault that the server names."""
        return await self._ask(method, route, into, params, body=body)

    async def _ask(
        self, method: str, route: str, into: type[T], params: dict[str, str] | None = None, *, body: object = None
    ) -> T:
        async with self._request(method, route, params, body) as response:
            return await self._decoded(response, into)

    async def _tell(self, method: str, route: str, *, body: object = None) -> None:
        async with self._request(method, route, None, body) as response:
            if response.status not in (200, 201, 204):
                await self._refuse(response)

    def _request(
        self, method: str, route: str, params: dict[str, str] | None, body: object
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        headers = {"Content-Type": "application/json"} if body is not None else None
        data = msgspec.json.encode(body) if body is not None else None
        return self._http.request(method, route, params=params, headers=headers, data=data)

    async def _decoded(self, response: aiohttp.ClientResponse, into: type[T]) -> T:
        if response.status not in (200, 201):
            await self._refuse(response)
        if response.content_type != "application/json":
            raise foreign_fault(response, str(self._http.origin))
        raw = await read_bounded(response, JSON_BODY_BYTES_MAX)
        try:
            return msgspec.json.decode(raw, type=into)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MessageInvalid("The server's answer does not decode.", reason=str(error)) from error

    async def _refuse(self, response: aiohttp.ClientResponse) -> None:
        """Raise the fault that the server named."""
        if response.content_type != "application/json":
            raise foreign_fault(response, str(self._http.origin))
        try:
            told = msgspec.json.decode(await read_bounded(response, ERROR_BYTES_MAX), type=_Errors).error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise foreign_fault(response, str(self._http.origin)) from None
        raise named_fault(told.code, told.message, told.hint, told.fields)


class _Download:
    """A download as it stands. done: bytes written and hashed; tag: the ETag, which is the content hash in quotes."""

    def __init__(self, into: BinaryIO, progress: Progress) -> None:
        self._into = into
        self._progress = progress
        self._hasher = ContentHasher()
        self.done = 0
        self.tag = ""

    def take_what_is_there(self) -> None:
        self._into.seek(0)
        while piece := self._into.read(READ_BYTES):
            self._hasher.feed(piece)
            self.done += len(piece)
        self._progress(self.done)

    def write(self, piece: bytes) -> None:
        with keeping():
            self._into.write(piece)
        self._hasher.feed(piece)
        self.done += len(piece)
        self._progress(len(piece))

    def restart(self) -> None:
        """Begin again: the file is another one now. Raises: PreconditionFailed."""
        if not self._into.seekable():
            raise PreconditionFailed("The file changed while it was downloaded.", expected=self.tag, actual="")
        self._into.seek(0)
        self._into.truncate()
        self._progress(-self.done)
        self._hasher = ContentHasher()
        self.done, self.tag = 0, ""

    def verify(self) -> None:
        """Raises: BlockMismatch."""
        expected, actual = self.tag.strip('"'), self._hasher.finished().hex()
        if expected == actual:
            return
        # It may have been cut another way; only reading it again can tell.
        if self._into.seekable() and self._into.readable():
            self._into.flush()
            self._into.seek(0)
            if content_of(self._into, "fixed4m").hex() == expected:
                return
        raise BlockMismatch("What came is not the file.", expected=expected, actual=actual)


class _Upload:
    """A body that is read, hashed and counted as it is sent."""

    def __init__(self, source: BinaryIO, size: int | None, progress: Progress) -> None:
        self._source = source
        self._left = size
        self._progress = progress
        self.hasher = ContentHasher()
        self.fault: FileChanging | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        while self._left is None or self._left > 0:
            piece = await asyncio.to_thread(self._read)
            if not piece:
                break
            yield piece
            self._progress(len(piece))
        if self._left:
            self.fault = FileChanging("The file became shorter while it was read.", path=b"")
            raise self.fault

    def _read(self) -> bytes:
        piece = self._source.read(READ_BYTES if self._left is None else min(READ_BYTES, self._left))
        self.hasher.feed(piece)
        if self._left is not None:
            self._left -= len(piece)
        return piece


def _named(path: str, node_id: str) -> dict[str, str]:
    """Return the node's name for a query: its id if given, else its path."""
    return {"id": node_id} if node_id else {"path": path}


def _nothing(size_bytes: int) -> None:
    return None
