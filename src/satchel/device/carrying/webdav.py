"""A WebDAV address that an import comes from. Invariant: the password goes to that address alone, no redirect is
followed, and nothing that a document declares is expanded or fetched.

Each folder is listed by itself (PROPFIND, depth 1), since many servers refuse more. Source: RFC 4918 (9.1, 14, 15.7).
"""

from __future__ import annotations

import asyncio
import email.utils
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import unquote
from xml.parsers import expat

import aiohttp
from yarl import URL

from satchel.core.errors import (
    FileChanging,
    FileUnreadable,
    LimitExceeded,
    MessageInvalid,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from satchel.core.limits import MIB
from satchel.device.carrying.sources import Found, State, walked
from satchel.device.wire_http import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, keeping, redirected, retry_after, translating

PIECE_BYTES = 1 * MIB
LISTING_BYTES_MAX = 256 * MIB
TEXT_CHARS_MAX = 16 * 1024
CONNECTIONS_MAX = 4
_BETWEEN = "\x01"
_ASKED = (
    b'<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/><D:getcontentlength/>'
    b"<D:getlastmodified/></D:prop></D:propfind>"
)


@dataclass(slots=True)
class Resource:
    """One resource of a listing. href: as it came; mtime_ns: 0 where the server tells no time; size: -1 likewise."""

    href: str = ""
    is_folder: bool = False
    size: int = -1
    mtime_ns: int = 0


class WebDavSource:
    """All that lies below an address. Use it as `async with WebDavSource(...) as source`."""

    def __init__(self, address: str, *, user: str = "", password: str = "") -> None:
        try:
            url = URL(address)
        except ValueError as error:
            raise MessageInvalid("This is no address.", reason=str(error)) from error
        if url.scheme not in ("http", "https") or not url.host or url.password:
            raise MessageInvalid("A WebDAV address looks like https://user@files.example.org/dav.", reason="url")
        name = user or url.user or ""
        self._top = url.with_user(None).with_path(url.path.rstrip("/") + "/")
        if ":" in name:
            raise MessageInvalid("A WebDAV user's name holds no colon.", reason="user")
        self._headers = {"Accept-Encoding": "identity"}
        if name:
            self._headers["Authorization"] = aiohttp.encode_basic_auth(name, password, "utf-8")
        self._where = str(self._top.origin())
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)
        self._session = aiohttp.ClientSession(
            timeout=timeout,
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            headers=self._headers,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def entries(self) -> AsyncIterator[Found]:
        async for found in walked(self._listed):
            yield found

    async def fetch(self, found: Found, into: BinaryIO) -> None:
        size = found.states[-1].size
        with translating(self._where):
            async with self._asked("GET", self._url(found.names, is_folder=False)) as response:
                _require(response, 200, self._where)
                done = 0
                async for piece in response.content.iter_chunked(PIECE_BYTES):
                    with keeping():
                        await asyncio.to_thread(into.write, piece)
                    done += len(piece)
        if size >= 0 and done != size:
            raise FileChanging("The file changed while it was fetched.", path="/".join(found.names))

    async def _listed(self, names: tuple[str, ...]) -> list[Found]:
        url = self._url(names, is_folder=True)
        listing = Listing()
        with translating(self._where):
            async with self._asked("PROPFIND", url, data=_ASKED, depth="1") as response:
                _require(response, 207, self._where)
                async for piece in response.content.iter_chunked(PIECE_BYTES):
                    listing.feed(piece)
        found = {}
        for resource in listing.finished():
            name = _name_below(resource.href, url)
            if name:
                found[name] = _found((*names, name), resource)
        return [found[name] for name in sorted(found)]

    def _url(self, names: tuple[str, ...], *, is_folder: bool) -> URL:
        url = self._top
        for name in names:
            url = url / name
        return url.with_path(url.path + "/") if is_folder and names else url

    def _asked(
        self, method: str, url: URL, *, data: bytes | None = None, depth: str = ""
    ) -> aiohttp.client._RequestContextManager:
        assert self._session is not None
        headers = {"Depth": depth, "Content-Type": "application/xml"} if depth else {}
        return self._session.request(method, url, data=data, headers=headers, allow_redirects=False)


@dataclass(slots=True)
class Listing:
    """The resources of a multistatus that comes in pieces. Raises, in both methods: MessageInvalid, LimitExceeded."""

    _found: list[Resource] = field(default_factory=list)
    _open: list[str] = field(default_factory=list)
    _text: list[str] = field(default_factory=list)
    _bytes: int = 0
    _status: str = ""
    _told: dict[str, str] = field(default_factory=dict)
    _is_folder: bool = False
    _parser: expat.XMLParserType = field(init=False)

    def __post_init__(self) -> None:
        parser = self._parser = expat.ParserCreate(namespace_separator=_BETWEEN)
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse
        parser.EntityDeclHandler = _refuse
        parser.ExternalEntityRefHandler = _refuse
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._bytes += len(piece)
        if self._bytes > LISTING_BYTES_MAX:
            raise LimitExceeded(
                "A listing is too long.", limit="listing", maximum=LISTING_BYTES_MAX, actual=self._bytes
            )
        self._parse(piece, is_last=False)

    def finished(self) -> list[Resource]:
        """Return all resources."""
        self._parse(b"", is_last=True)
        return self._found

    def _parse(self, piece: bytes, *, is_last: bool) -> None:
        try:
            self._parser.Parse(piece, is_last)
        except expat.ExpatError as error:
            raise MessageInvalid("The server's listing is no XML.", reason=str(error)) from error

    def _begin(self, tag: str, _attributes: dict[str, str]) -> None:
        name = tag.removeprefix("DAV:" + _BETWEEN)
        self._open.append(name)
        self._text = []
        if len(self._open) > 32:
            raise LimitExceeded("A listing is nested too deep.", limit="depth", maximum=32, actual=len(self._open))
        match name:
            case "response":
                self._found.append(Resource())
            case "propstat":
                self._told, self._status, self._is_folder = {}, "", False
            case "collection" if self._open[-2:-1] == ["resourcetype"]:
                self._is_folder = True

    def _characters(self, text: str) -> None:
        if sum(len(part) for part in self._text) + len(text) <= TEXT_CHARS_MAX:
            self._text.append(text)

    def _end(self, _tag: str) -> None:
        name, text = self._open.pop(), "".join(self._text).strip()
        self._text = []
        if not self._found:
            return
        match name:
            case "href" if self._open[-1:] == ["response"]:
                self._found[-1].href = text
            case "getcontentlength" | "getlastmodified":
                self._told[name] = text
            case "status":
                self._status = text
            case "propstat" if " 200" in self._status:
                self._take()

    def _take(self) -> None:
        resource = self._found[-1]
        resource.is_folder = resource.is_folder or self._is_folder
        length = self._told.get("getcontentlength", "")
        if length.isascii() and length.isdigit() and len(length) <= 18:
            resource.size = int(length)
        if when := self._told.get("getlastmodified", ""):
            try:
                resource.mtime_ns = int(email.utils.parsedate_to_datetime(when).timestamp()) * 1_000_000_000
            except (ValueError, TypeError, OverflowError):
                resource.mtime_ns = 0


def _found(names: tuple[str, ...], resource: Resource) -> Found:
    if resource.is_folder:
        return Found(names, "folder")
    return Found(names, "file", (State(resource.size, resource.mtime_ns),), place=resource.href)


def _name_below(href: str, folder: URL) -> str:
    """Return the name of what an address names directly in a folder; empty for the folder itself and all else."""
    above = folder.raw_path
    path = URL(href, encoded=True).raw_path if "://" in href else href
    # Servers escape differently: addresses are compared as what they mean.
    told, top = unquote(path).rstrip("/"), unquote(above).rstrip("/")
    if not told.startswith(top + "/"):
        return ""
    name = told[len(top) + 1 :]
    return "" if "/" in name else name


def _require(response: aiohttp.ClientResponse, status: int, where: str) -> None:
    """Return when the answer is the one that was asked for. Raises: the fault that another one means."""
    if response.status == status:
        return
    match response.status:
        case 401:
            raise Unauthenticated("The WebDAV server does not take this name and password.")
        case 403 | 404 | 405 | 410:
            raise NotFound("There is nothing at this WebDAV address, or no right to it.", path=response.url.path)
        case code if 300 <= code < 400:
            raise redirected(where)
        case 429 | 500 | 502 | 503 | 504:
            raise Unavailable(
                "The WebDAV server does not answer.",
                where=where,
                reason=f"HTTP {response.status}",
                retry_after_s=retry_after(response),
            )
    raise FileUnreadable("The WebDAV server refuses this.", path=response.url.path, reason=f"HTTP {response.status}")


def _refuse(*_arguments: object) -> int:
    raise MessageInvalid("The server's listing declares a document type.", reason="doctype")
