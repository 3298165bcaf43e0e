"""REST: the feed for people's programs, and waiting for it. Invariant: waiting asks the database nothing.

`/sync` and `/sync/longpoll` answer under both their names. At the timeout the long-poll gives no entries and the same
cursor; under load it asks to wait before coming again (`backoff`, seconds). Source: docs/design/050.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import Parameter

from satchel.core.limits import FEED_PAGE_ENTRIES_MAX, LONGPOLL_S_MAX
from satchel.server.feed.seed import SeedEntry, SeedPage, latest, sync
from satchel.server.gateway.rest import Asked, principal_of, services_of
from satchel.server.gateway.services import Services
from satchel.server.metadata.namespaces import namespaces
from satchel.server.notify.presence import Connected, pack_connected, presence_key, waiting_member
from satchel.server.notify.waiters import WAITERS_MAX

PAGE_DEFAULT = 1_000
WAIT_DEFAULT_S = 60
BACKOFF_S = 30
JITTER_MS = 4_000

Limit = Annotated[int, Parameter(ge=1, le=FEED_PAGE_ENTRIES_MAX)]
Timeout = Annotated[int, Parameter(ge=0, le=LONGPOLL_S_MAX)]


class Page(msgspec.Struct, frozen=True):
    """Entries in order and the cursor to go on from. is_reset: what was known is void, the tree is listed anew.

    backoff: wait this many seconds before asking again.
    """

    entries: list[SeedEntry]
    cursor: str
    has_more: bool
    is_reset: bool = False
    backoff: int = 0


class Latest(msgspec.Struct, frozen=True):
    """A cursor of now."""

    cursor: str


@get("/api/v1/sync/latest")
async def latest_cursor(request: Asked) -> Latest:
    """Give a cursor of now, for whoever wants to hear only of what happens from here on."""
    services, principal = services_of(request), await principal_of(request)
    return Latest(await latest(services.db, principal))


@get(["/api/v1/sync", "/sync"])
async def changes(request: Asked, cursor: str = "", limit: Limit = PAGE_DEFAULT) -> Page:
    """Give what happened after the cursor; without one, the whole tree and then what happens."""
    services, principal = services_of(request), await principal_of(request)
    return _page(await sync(services.db, principal, cursor or None, limit))


@get(["/api/v1/sync/longpoll", "/sync/longpoll"], waits=True)
async def longpoll(request: Asked, cursor: str, timeout: Timeout = WAIT_DEFAULT_S, limit: Limit = PAGE_DEFAULT) -> Page:
    """Give what happened after the cursor as soon as something does, or nothing after `timeout` seconds."""
    services, principal = services_of(request), await principal_of(request)
    readable = [head.ns for head in (await namespaces(services.db, principal)).namespaces]
    with services.waiters.joined(principal.account_id, readable) as waiter:
        where = pack_connected(Connected(services.server_id, services.clock.now_ms()))
        waiting = waiting_member(services.server_id)
        await services.state.add_member(presence_key(principal.account_id), waiting, where, ttl_s=LONGPOLL_S_MAX + 1.0)
        page = await sync(services.db, principal, cursor, limit)
        if not page.entries and not page.has_more and not page.is_reset:
            # Every position told since joining is news: what came before it was just read.
            is_news = await waiter.wait({}, timeout_s=_jittered_s(services, timeout))
            if is_news and not waiter.is_stopped:
                # Asked again who it is: the token may have been revoked during the wait.
                page = await sync(services.db, await principal_of(request), cursor, limit)
        return _page(page, backoff=BACKOFF_S if len(services.waiters) > WAITERS_MAX // 2 else 0)


def _jittered_s(services: Services, timeout: int) -> float:
    """Return a little less than the timeout, so that those who came together do not leave together."""
    spread_ms = min(JITTER_MS, timeout * 100)
    return timeout - int.from_bytes(services.clock.random(2), "big") * spread_ms / 65_536 / 1_000


def _page(page: SeedPage, *, backoff: int = 0) -> Page:
    return Page(page.entries, page.cursor, page.has_more, page.is_reset, backoff)


ROUTES = (changes, longpoll, latest_cursor)
