"""Tells webhooks what happened, at least once and in order. Invariant: only what the account may see at that moment.

The journal is the queue: a webhook has a place in the feed, which moves on when its address has taken what came before
it. So nothing is lost and nothing piles up; invitations and uses of links, which stand in no journal, are told by time.
Source: docs/use/webhooks.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable
from dataclasses import dataclass, replace

from satchel.core.errors import CursorInvalid, EpochChanged, Fault, Unavailable
from satchel.core.ids import DeviceId, NamespaceId
from satchel.core.limits import LIST_PAGE_MAX, WEBHOOK_FAILING_DAYS_MAX
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.webhooks import Owner, Told, Webhook, due_webhooks, note_refused, note_taken
from satchel.server.db.engine import Database
from satchel.server.feed.seed import SeedEntry, here, sync
from satchel.server.metadata.namespaces import namespaces
from satchel.server.ports import Clock, Poster
from satchel.server.sharing.links import LinkPlace, MadeLink, links_of
from satchel.server.sharing.listing import invitations_of
from satchel.server.sharing.shares import ShareId

EVENTS_MAX = 100
"""Told in one request."""
ROUNDS_MAX = 10
"""Requests to one webhook in one run."""
PAGE = 64
TOGETHER_MAX = 16
LAST_MAX = 20
LAG_MS = 60_000
"""What is told by its time is told so much later: by then all that bears that time is written."""
BACKOFF_MS_MIN, BACKOFF_MS_MAX = 30_000, 3_600_000
DAY_MS = 86_400_000

Event = dict[str, object]


@dataclass(frozen=True, slots=True)
class _News:
    """What there is to tell, and where the webhook stands after that."""

    events: list[Event]
    place: str
    told_until: int
    has_more: bool


async def tell_webhooks(db: Database, clock: Clock, poster: Poster) -> int:
    """Tell every webhook what it does not know yet; return how many requests were taken."""
    taken, after = 0, (b"", b"")
    turns = asyncio.Semaphore(TOGETHER_MAX)

    async def in_turn(work: Awaitable[int]) -> None:
        nonlocal taken
        async with turns:
            taken += await work

    while True:
        due = await due_webhooks(db, after, clock.now_ms(), PAGE)
        async with asyncio.TaskGroup() as group:
            for webhook, owner in due:
                if not owner.is_disabled:
                    group.create_task(in_turn(_tell(db, clock, poster, webhook, owner)))
        if len(due) < PAGE:
            return taken
        after = (due[-1][0].account_id, due[-1][0].webhook_id)


def signature(secret: bytes, timestamp_ms: int, body: bytes) -> str:
    """Return what proves who sent a body, and when: HMAC-SHA256 over both."""
    return "sha256=" + hmac.new(secret, b"%d." % timestamp_ms + body, hashlib.sha256).hexdigest()


async def _tell(db: Database, clock: Clock, poster: Poster, webhook: Webhook, owner: Owner) -> int:
    who = Principal(webhook.account_id, owner.name, DeviceId(b""), "", owner.root_ns, may_write=False)
    taken = 0
    try:
        for _ in range(ROUNDS_MAX):
            news = await _news(db, who, webhook, clock.now_ms())
            if news.events and not await _is_taken(db, clock, poster, webhook, news):
                return taken
            now = clock.now_ms()
            last = _noted(webhook, now, "taken", len(news.events)) if news.events else webhook.last
            # A webhook of an account where nothing happens costs no write.
            if news.events or news.place != webhook.place:
                await note_taken(db, webhook, place=news.place, told_until=news.told_until, last=last, now_ms=now)
            taken += bool(news.events)
            webhook = replace(
                webhook, place=news.place, told_until=news.told_until, failures=0, failing_since=None, last=last
            )
            if not news.has_more:
                break
    except Fault:
        # The store is away, or the account is gone: the next run looks again.
        return taken
    return taken


async def _is_taken(db: Database, clock: Clock, poster: Poster, webhook: Webhook, news: _News) -> bool:
    """Send what there is; note how it went if it was not taken."""
    now = clock.now_ms()
    # The same news have the same id however often they are sent.
    named = hashlib.sha256(webhook.webhook_id + f"{webhook.place} {webhook.told_until}".encode()).hexdigest()[:32]
    body = json.dumps({"id": named, "webhook": webhook.webhook_id.hex(), "events": news.events}).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "satchel-webhook",
        "Satchel-Delivery": named,
        "Satchel-Timestamp": str(now),
        "Satchel-Signature": signature(webhook.secret, now, body),
    }
    try:
        status = await poster.post(webhook.url, headers, body)
        if 200 <= status < 300:
            return True
        what = f"status {status}"
    except Unavailable as error:
        what = str(error.fields.get("reason", error.message))
    wait_ms = min(BACKOFF_MS_MAX, BACKOFF_MS_MIN << min(webhook.failures, 10))
    wait_ms += int.from_bytes(clock.random(2), "big") * wait_ms // 655_360
    since = webhook.failing_since if webhook.failing_since is not None else now
    is_over = now - since >= WEBHOOK_FAILING_DAYS_MAX * DAY_MS
    last = _noted(webhook, now, what, len(news.events))
    await note_refused(db, webhook, next_ms=now + wait_ms, last=last, now_ms=now, is_over=is_over)
    return False


async def _news(db: Database, who: Principal, webhook: Webhook, now_ms: int) -> _News:
    events: list[Event] = []
    try:
        page = await sync(db, who, webhook.place, EVENTS_MAX)
        place, has_more = page.cursor, page.has_more
        entries = page.entries
        if page.is_reset:
            place, has_more, entries = await here(db, who), False, []
            events.append({"type": "reset"})
    except (EpochChanged, CursorInvalid):
        place, has_more, entries = await here(db, who), False, []
        events.append({"type": "reset"})
    wanted = [(entry, Told.DELETED if entry.action == "delete" else Told.CHANGED) for entry in entries]
    events += [_file_event(entry, kind) for entry, kind in wanted if webhook.wants(kind)]
    until = max(webhook.told_until, now_ms - LAG_MS)
    if webhook.wants(Told.INVITED):
        for invitation in await invitations_of(db, who):
            if webhook.told_until < invitation.created_ms <= until:
                events.append(
                    {
                        "type": str(Told.INVITED),
                        "at_ms": invitation.created_ms,
                        "share_id": invitation.ns.hex(),
                        "name": invitation.name,
                        "invited_by": invitation.invited_by,
                    }
                )
    if webhook.wants(Told.LINK_USED):
        inside = [head.ns for head in (await namespaces(db, who)).namespaces]
        events += await _used_links(db, who, inside, webhook.told_until, until)
    return _News(events, place, until, has_more)


async def _used_links(
    db: Database, who: Principal, inside: list[NamespaceId], above_ms: int, until_ms: int
) -> list[Event]:
    # A link is listed to who may share; what is told of it is counts alone.
    maker = Principal(who.account_id, who.account_name, who.device_id, "", who.root_ns)
    made: list[MadeLink] = []
    after, has_more = LinkPlace(NamespaceId(b""), ShareId(b"")), True
    while has_more:
        page = await links_of(db, maker, inside, after=after, limit=LIST_PAGE_MAX)
        made += [one for one in page if above_ms < one.share.seen_ms <= until_ms]
        has_more = len(page) == LIST_PAGE_MAX
        after = LinkPlace(page[-1].share.ns, page[-1].share.share_id) if page else after
    return [
        {
            "type": str(Told.LINK_USED),
            "at_ms": one.share.seen_ms,
            "link_id": (one.share.ns + one.share.share_id).hex(),
            "path": one.path,
            "hits": one.share.hits,
            "downloads": one.share.downloads,
        }
        for one in made
    ]


def _file_event(entry: SeedEntry, kind: Told) -> Event:
    return {
        "type": str(kind),
        "at_ms": entry.created_ms,
        "kind": entry.type,
        "id": entry.id,
        "namespace": entry.namespace,
        "path": entry.path,
        "size": entry.size,
        "rev": entry.rev,
        "seq": entry.seq,
    }


def _noted(webhook: Webhook, at_ms: int, what: str, count: int) -> str:
    """Return the last deliveries with one more, the newest first, as JSON."""
    told = [{"at_ms": at_ms, "what": what, "events": count}, *json.loads(webhook.last)]
    return json.dumps(told[:LAST_MAX])
