"""Packs in an S3 bucket. Invariant: a put is acknowledged only after the store has confirmed all its bytes.

Each put is one object under its own name, sent with its SHA-256 (`x-amz-checksum-sha256`, and again in the signature)
which the store compares before it confirms, and with `If-None-Match: *`, so that nothing is ever overwritten. A put
whose answer was lost is sent again; when the name is taken then, the stored bytes are read and compared.
The library's own repeats are off: it repeats a create whose answer was lost and tells "already exists" for what it has
stored itself, and only repeats counted here keep the load on a failing store below three times what was asked for.
Source: docs/design/020, 030.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from satchel.core.errors import Fault, SettingInvalid, StorageFailed, StorageFull, Unavailable
from satchel.core.limits import KIB, MIB
from satchel.server.ports import Clock, Place, Span

if TYPE_CHECKING:
    from obstore import ListStream, ObjectMeta
    from obstore.store import S3Config

RUN_GAP_BYTES_MAX = 64 * KIB
RUN_BYTES_MAX = 8 * MIB
"""Spans this near to each other are asked for together, up to so much with one request; a longer one is read alone."""
READS_AT_ONCE = 16
"""So many requests of one `get` are under way at once."""
NAMES_MAX = 4_000_000
PAGE_NAMES = 1_000
COMPARED_BYTES = MIB
EXIT_PAUSE_S = 0.05

_SETTING = "blocks_url"
_FORM = "s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_FOLDER = re.compile(r"(?!\.\.?$)[A-Za-z0-9._+=-]+")
_TOLD = "\nDebug source:\n"
_STATUS = re.compile(r"^ +status: (\d{3}),$", re.MULTILINE)
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
_FULL_CODES = ("QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientCapacity")
_PASSING_STATUSES = (408, 409, 425, 429)
_PASSING_CODES = (
    "RequestTimeout",
    "SlowDown",
    "OperationAborted",
    "IncompleteBody",
    "BadDigest",
    "XAmzContentSHA256Mismatch",
)
"""What the store says of a request that may succeed when it is sent again, damaged bytes among it."""
_BUCKET_MISSING = "NoSuchBucket"
_OBJECT_MISSING = "NoSuchKey"
_OTHER_REGION = "region"
_RANGE_PAST_END = 416
_ROLE_ASKED = "/latest/api/token"
"""In the library's text when it found no keys and asked the machine's metadata service."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much at once, and how long. requests_max: for one put, delete, page or joined read, repeats included.

    request_s: one request with its answer. total_s: one put, delete, page or whole `get`, with all pauses and waits.
    slot_s: how long a request waits for one in flight to end. pause_s: about the first pause; the next is four times.
    """

    in_flight_max: int = 32
    waiting_max: int = 2_048
    requests_max: int = 3
    slot_s: float = 30.0
    connect_s: float = 5.0
    request_s: float = 60.0
    total_s: float = 150.0
    pause_s: float = 0.2


@dataclass(frozen=True, slots=True)
class Bucket:
    """What a URL names. endpoint, region: empty for those of the environment, or AWS. prefix: without outer slashes."""

    name: str
    prefix: str
    endpoint: str
    region: str
    is_plain_http: bool

    @property
    def where(self) -> str:
        """Return the place as people know it."""
        return f"s3://{self.name}/{self.prefix}"


def bucket_of(url: str) -> Bucket:
    """Return what `s3://BUCKET/PREFIX?endpoint=…&region=…&allow_http=true` names. Raises: SettingInvalid.

    Credentials in the URL are refused, and plain HTTP to another machine unless `allow_http=true` stands there. No
    message repeats the URL: what is refused may hold a secret.
    """
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        asked = dict(pairs)
        endpoint = urlsplit(asked.get("endpoint", ""))
        _ = endpoint.port
    except ValueError:
        raise _invalid("it is no URL") from None
    if "@" in parts.netloc or "@" in endpoint.netloc:
        raise _invalid("credentials do not belong in it; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if parts.scheme != "s3" or parts.fragment:
        raise _invalid("it begins with s3:// and has no '#'")
    if not asked.keys() <= {"endpoint", "region", "allow_http"} or len(asked) < len(pairs):
        raise _invalid("after '?' stand endpoint, region and allow_http, each at most once")
    if not _BUCKET.fullmatch(parts.netloc):
        raise _invalid("a bucket's name has 3 to 63 small letters, digits, '-' and '.'")
    prefix = parts.path.strip("/")
    if prefix and not all(_FOLDER.fullmatch(folder) for folder in prefix.split("/")):
        raise _invalid("a prefix has folders of letters, digits and . _ + = -")
    is_plain_http = _is_plain_http(asked)
    return Bucket(parts.netloc, prefix, asked.get("endpoint", "").rstrip("/"), asked.get("region", ""), is_plain_http)


async def open_object_blocks(url: str, clock: Clock, bounds: Bounds | None = None) -> ObjectBlocks:
    """Return the store that `url` names once it was listed, written to and deleted from.

    Raises: SettingInvalid (a wrong URL, region or bucket), StorageFailed (credentials), StorageFull, Unavailable.
    """
    blocks = ObjectBlocks(url, clock, bounds)
    try:
        # Listed before it is written to: some stores make a missing bucket on the first put.
        await blocks.names("opened/")
        await blocks.probe()
    except StorageFailed as fault:
        await blocks.close()
        reason = str(fault.fields.get("reason", ""))
        if _BUCKET_MISSING in reason or _OTHER_REGION in reason:
            raise SettingInvalid(fault.message, setting=_SETTING, reason=reason) from None
        raise
    except Fault:
        await blocks.close()
        raise
    return blocks


class ObjectBlocks:
    """BlockStore on a bucket. Credentials are those of the environment (AWS_…), a container or the machine's role."""

    def __init__(self, url: str, clock: Clock, bounds: Bounds | None = None) -> None:
        """Nothing is asked of the store yet. Raises: SettingInvalid."""
        bucket = bucket_of(url)
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._where = bucket.where
        self._store = _store_of(bucket, self._bounds)
        self._slots = asyncio.Semaphore(self._bounds.in_flight_max)
        self._waiting = 0
        self._begun = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_closed = False
        self.retries = 0
        """Requests that were sent again."""

    async def put(self, name: str, pieces: Sequence[bytes | memoryview]) -> Place:
        """See BlockStore. The same bytes once more are no error; other bytes under the name are StorageFailed.

        Unavailable may mean that the bytes are stored and nobody confirmed it.
        """
        data = b"".join(pieces)
        is_taken = False

        async def request() -> None:
            nonlocal is_taken
            if is_taken:
                is_taken = await self._is_equal(name, data)
                if is_taken:
                    return
            else:
                try:
                    await obstore.put_async(self._store, name, data, mode="create", use_multipart=False)
                    return
                except AlreadyExistsError:
                    # Or 409: another put of this name, perhaps the one before this, is not at its end yet.
                    is_taken = True
            raise Unavailable("Nobody confirmed the put.", where=self._where, reason="unsettled")

        with self._counted():
            await self._ask(request)
        return Place(name, 0)

    async def get(self, spans: Sequence[Span]) -> list[bytes | None]:
        """See BlockStore. Neighbours come with one request. A span of no bytes at an object's end counts as missing."""
        found: list[bytes | None] = [None] * len(spans)
        faults: list[Fault] = []
        runs = _runs(spans)

        async def read_runs() -> None:
            for run in runs:
                try:
                    await self._read(spans, run, found)
                except Fault as fault:
                    faults.append(fault)
                if faults:
                    return

        with self._counted():
            async with self._in_time(), asyncio.TaskGroup() as group:
                for _ in range(min(READS_AT_ONCE, len(spans))):
                    group.create_task(read_runs())
        if faults:
            raise faults[0]
        return found

    async def delete(self, name: str) -> None:
        """See BlockStore."""

        async def request() -> None:
            try:
                await obstore.delete_async(self._store, name)
            except FileNotFoundError as error:
                if _BUCKET_MISSING in str(error):
                    raise

        with self._counted():
            await self._ask(request)

    async def names(self, prefix: str) -> list[str]:
        """See BlockStore. Read in pages of a thousand; at most 4,000,000 names are listed, more is StorageFailed.

        A page that failed is asked for again after the last name, or all anew where the store lists in no order.
        """
        listing = _Listing(self._store, prefix.rpartition("/")[0])
        with self._counted():
            while await self._ask(listing.read_page):
                if len(listing.names) > NAMES_MAX:
                    raise StorageFailed("The bucket holds too many objects.", where=self._where, reason="names")
        return sorted(name for name in listing.names if name.startswith(prefix))

    async def open_names(self) -> frozenset[str]:
        """See BlockStore: an object is never appended to."""
        return frozenset()

    async def probe(self) -> None:
        """See BlockStore: puts a small object of its own and deletes it."""
        name = f"probe-{self._clock.random(8).hex()}"
        await self.put(name, [b"satchel"])
        await self.delete(name)

    async def close(self) -> None:
        """See BlockStore. What goes on after its longest time is left to itself."""
        if self._is_closed:
            return
        self._is_closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._bounds.total_s):
                await self._idle.wait()
        # The library's threads abort a process whose interpreter ends within some milliseconds of their last answer.
        await self._clock.sleep_s(EXIT_PAUSE_S)

    # -- one request, and its repeats ---

    async def _ask(self, request: Callable[[], Awaitable[T]]) -> T:
        """Return what `request` returns, called again after a passing failure, at most `requests_max` times in all."""
        left = self._bounds.requests_max
        pause_s = self._bounds.pause_s
        async with self._in_time():
            while True:
                left -= 1
                async with self._slot():
                    try:
                        with _translating(self._where):
                            return await request()
                    except Unavailable:
                        if left <= 0:
                            raise
                self.retries += 1
                await self._clock.sleep_s(pause_s * (0.5 + self._clock.random(1)[0] / 256))
                pause_s *= 4

    @contextlib.asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Give up what stands inside after `total_s`. Raises: Unavailable."""
        try:
            async with asyncio.timeout(self._bounds.total_s):
                yield
        except TimeoutError:
            raise Unavailable(
                "The object store does not answer in time.", where=self._where, reason="timeout"
            ) from None

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Hold one of the requests in flight. Raises: Unavailable when too many wait, or this one waited too long."""
        if self._waiting >= self._bounds.waiting_max:
            raise Unavailable("Too many requests wait for the object store.", where=self._where, reason="queue")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._bounds.slot_s):
                await self._slots.acquire()
        except TimeoutError:
            raise Unavailable(
                "Too many requests wait for the object store.", where=self._where, reason="queue"
            ) from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Let `close` wait for what stands inside. Raises: Unavailable after it."""
        if self._is_closed:
            raise Unavailable("The block store is closed.", where=self._where, reason="closed")
        self._begun += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._begun -= 1
            if not self._begun:
                self._idle.set()

    async def _is_equal(self, name: str, data: bytes) -> bool:
        """Return whether the object is there, with just these bytes. Raises: StorageFailed when it has others."""
        other = StorageFailed("Another object has this name.", where=f"{self._where}/{name}", reason="name taken")
        try:
            stored = await obstore.get_async(self._store, name)
        except FileNotFoundError as error:
            if _OBJECT_MISSING not in str(error):
                raise
            return False
        if stored.meta["size"] != len(data):
            raise other
        at = 0
        async for part in stored.stream(min_chunk_size=COMPARED_BYTES):
            if memoryview(data)[at : at + len(part)] != memoryview(part):
                raise other
            at += len(part)
        if at != len(data):
            raise Unavailable("The object store's answer was cut.", where=self._where, reason="length")
        return True

    async def _read(self, spans: Sequence[Span], run: Sequence[int], found: list[bytes | None]) -> None:
        """Fill in the run's spans. An object that is missing, or ends before they do, leaves None."""
        name, start, _ = spans[run[0]]
        end = max(spans[place].offset + spans[place].length for place in run)

        async def request() -> bytes:
            try:
                part = await obstore.get_range_async(self._store, name, start=start, end=max(end, start + 1))
            except FileNotFoundError as error:
                if _OBJECT_MISSING not in str(error):
                    raise
                return b""
            except BaseError as error:
                if _status_of(str(error)) != _RANGE_PAST_END:
                    raise
                return b""
            return part.to_bytes()

        data = await self._ask(request)
        for place in run:
            at = spans[place].offset - start
            if data and at + spans[place].length <= len(data):
                found[place] = data if len(data) == spans[place].length else data[at : at + spans[place].length]


class _Listing:
    """The names below a folder, page by page. After a failure it goes on behind the last name that came."""

    def __init__(self, store: S3Store, folder: str) -> None:
        self.names: list[str] = []
        self._store = store
        self._folder = folder or None
        self._pages: ListStream[Sequence[ObjectMeta]] | None = None

    async def read_page(self) -> bool:
        """Add one page; return whether there may be more."""
        pages = self._pages or self._begin()
        self._pages = None
        try:
            page = await anext(pages)
        except StopAsyncIteration:
            return False
        self.names += [entry["path"] for entry in page]
        self._pages = pages
        return True

    def _begin(self) -> ListStream[Sequence[ObjectMeta]]:
        if self.names != sorted(self.names):
            # A store that lists in no order (directory buckets do) cannot be asked for what comes behind a name.
            self.names.clear()
        behind = self.names[-1] if self.names else None
        return obstore.list(self._store, self._folder, offset=behind, chunk_size=PAGE_NAMES)


def _runs(spans: Sequence[Span]) -> Iterator[list[int]]:
    """Yield the places of the spans by object and offset, neighbours of one object together."""
    run: list[int] = []
    name, start, end = "", 0, 0
    for place in sorted(range(len(spans)), key=spans.__getitem__):
        span = spans[place]
        is_near = span.name == name and span.offset <= end + RUN_GAP_BYTES_MAX
        if run and not (is_near and max(end, span.offset + span.length) - start <= RUN_BYTES_MAX):
            yield run
            run = []
        if not run:
            name, start, end = span.name, span.offset, span.offset
        run.append(place)
        end = max(end, span.offset + span.length)
    if run:
        yield run


def _store_of(bucket: Bucket, bounds: Bounds) -> S3Store:
    config: S3Config = {
        "checksum_algorithm": "SHA256",
        "conditional_put": "etag",
        "unsigned_payload": False,
        # One object at a time is deleted here, and not every store knows the call for many.
        "disable_bulk_delete": True,
    }
    if bucket.endpoint:
        # Both: the one for S3 alone, when it stands in the environment, would win over the other.
        config["endpoint"] = config["aws_endpoint_url_s3"] = bucket.endpoint
    if bucket.region:
        config["region"] = bucket.region
    try:
        return S3Store(
            bucket.name,
            prefix=bucket.prefix or None,
            config=config,
            client_options={
                "allow_http": bucket.is_plain_http,
                "connect_timeout": timedelta(seconds=bounds.connect_s),
                "timeout": timedelta(seconds=bounds.request_s),
            },
            retry_config={"max_retries": 0},
        )
    except (BaseError, ValueError) as error:
        raise _invalid(f"the object store's client refuses it: {error}") from None


def _is_plain_http(asked: dict[str, str]) -> bool:
    """Return whether the endpoint is spoken to without TLS. Raises: SettingInvalid when it must not be."""
    allowed = asked.get("allow_http", "false")
    if allowed not in ("true", "false"):
        raise _invalid("allow_http is true or false")
    if "endpoint" not in asked:
        return False
    endpoint = urlsplit(asked["endpoint"])
    host = endpoint.hostname or ""
    if endpoint.scheme not in ("http", "https") or not host or endpoint.query or endpoint.fragment:
        raise _invalid("an endpoint is http://HOST:PORT or https://HOST:PORT")
    if endpoint.scheme == "https":
        return False
    if allowed != "true" and not _is_loopback(host):
        raise _invalid("all data would cross the network in the clear; use https, or add allow_http=true")
    return True


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _invalid(reason: str) -> SettingInvalid:
    return SettingInvalid(f"The object store's URL is {_FORM}.", setting=_SETTING, reason=reason)


@contextlib.contextmanager
def _translating(where: str) -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        # Not as its cause: the library's text repeats the store's answer, in which key ids and signatures may stand.
        raise _fault_of(error, where) from None


def _status_of(text: str) -> int:
    """Return the HTTP status in the library's text of an error, 0 when there was no answer."""
    # Behind the last such line the store's own answer stands escaped on one line, so it cannot pass for a status.
    found = _STATUS.search(text.rpartition(_TOLD)[2])
    return int(found[1]) if found else 0


def _fault_of(error: Exception, where: str) -> Fault:
    text = str(error)
    status = _status_of(text)
    found = _CODE.search(text)
    code = found[1] if found else ""
    reason = f"{status} {code}".strip() if status else "timeout" if "TimedOut" in text else "connection"
    if _ROLE_ASKED in text:
        return Unavailable(
            "Neither the environment nor the machine's role gives credentials for the object store; set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            where=where,
            reason=f"no credentials: {reason}",
        )
    if status == 507 or code in _FULL_CODES:
        return StorageFull("The object store is full, or the bucket's quota is used up.", where=where)
    if code == _BUCKET_MISSING:
        return StorageFailed("The bucket does not exist: make it, or correct blocks_url.", where=where, reason=reason)
    if "BareRedirect" in text or code in ("PermanentRedirect", "AuthorizationHeaderMalformed"):
        return StorageFailed("The bucket is in another region: name it.", where=where, reason=_OTHER_REGION)
    if status in _PASSING_STATUSES or code in _PASSING_CODES or (status >= 500 and status != 501):
        return Unavailable("The object store cannot do it just now.", where=where, reason=reason)
    if status in (401, 403):
        fault = StorageFailed("The object store refuses these credentials.", where=where, reason=reason)
        fault.hint = (
            "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the clock, and that the key may list, read, write and "
            "delete in the bucket."
        )
        return fault
    if status:
        return StorageFailed("The object store refuses the request.", where=where, reason=reason)
    return Unavailable("The object store cannot be reached.", where=where, reason=reason)
