"""REST: addresses that are told what happens. Invariant: a secret is told once, and only what the account sees leaves.

Every route wants the account itself: a webhook is seen and changed by no other. Source: docs/use/webhooks.md.
"""

from __future__ import annotations

import json

import msgspec
from litestar import Response, delete, get, post

from satchel.core.errors import MessageInvalid
from satchel.core.ids import uuid7
from satchel.server.accounts.webhooks import (
    SECRET_BYTES,
    Told,
    Webhook,
    add_webhook,
    remove_webhook,
    rotate_secret,
    webhook_of,
    webhooks_of,
)
from satchel.server.feed.seed import here
from satchel.server.gateway.rest import Asked, from_hex, principal_of, services_of

ONE = "/api/v1/webhooks/{webhook_id:str}"


class WebhookAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to, and what is told there: `file.changed`, `file.deleted`, `share.invited`, `link.used`; else all."""

    url: str
    events: list[Told] = []


class WebhookShown(msgspec.Struct, frozen=True):
    """A webhook. failing_since_ms: since when its address takes nothing, null when it does; ended_ms: when it was
    given up, null when it was not. secret: only in the answer to its making, in hex."""

    id: str
    url: str
    events: list[Told]
    created_ms: int
    failures: int
    failing_since_ms: int | None
    ended_ms: int | None
    secret: str = ""


class Webhooks(msgspec.Struct, frozen=True):
    """All webhooks of the account, the oldest first (at most 20)."""

    items: list[WebhookShown]


class WebhookSecret(msgspec.Struct, frozen=True):
    """What requests are signed with from now on, in hex; not shown again."""

    secret: str


class DeliveryShown(msgspec.Struct, frozen=True):
    """One request that was sent. what: `taken`, or what came instead; events: how many it told of."""

    at_ms: int
    what: str
    events: int


class Deliveries(msgspec.Struct, frozen=True):
    """The last requests, the newest first (at most 20)."""

    items: list[DeliveryShown]


@post("/api/v1/webhooks", status_code=201)
async def make(request: Asked, data: WebhookAsked) -> Response[WebhookShown]:
    """Have an address told what happens from now on. It must be public and speak TLS, unless the administrator named
    its network."""
    services, principal = services_of(request), await principal_of(request)
    if len(set(data.events)) != len(data.events):
        raise MessageInvalid("An event is named twice.", reason="events")
    await services.posts.check(data.url)
    now = services.clock.now_ms()
    made = Webhook(
        account_id=principal.account_id,
        webhook_id=uuid7(now, services.clock.random(10)),
        url=data.url,
        secret=services.clock.random(SECRET_BYTES),
        events=",".join(data.events or list(Told)),
        place=await here(services.db, principal),
        told_until=now,
        created_ms=now,
        next_ms=now,
        failures=0,
        failing_since=None,
        ended_ms=None,
        last="[]",
    )
    await add_webhook(services.db, made)
    shown = msgspec.structs.replace(_shown(made), secret=made.secret.hex())
    return Response(shown, status_code=201, headers={"cache-control": "no-store"})


@get("/api/v1/webhooks")
async def list_webhooks(request: Asked) -> Webhooks:
    """List the account's webhooks."""
    services, principal = services_of(request), await principal_of(request)
    return Webhooks([_shown(one) for one in await webhooks_of(services.db, principal.account_id)])


@delete(ONE, status_code=204)
async def remove(request: Asked, webhook_id: str) -> None:
    """Tell this address nothing more."""
    services, principal = services_of(request), await principal_of(request)
    await remove_webhook(services.db, principal.account_id, from_hex(webhook_id, what="webhook"))


@post(f"{ONE}/rotate", status_code=200)
async def rotate(request: Asked, webhook_id: str) -> Response[WebhookSecret]:
    """Sign with another secret from now on. A webhook that was given up is tried again."""
    services, principal = services_of(request), await principal_of(request)
    secret = services.clock.random(SECRET_BYTES)
    webhook = from_hex(webhook_id, what="webhook")
    await rotate_secret(services.db, principal.account_id, webhook, secret, services.clock.now_ms())
    return Response(WebhookSecret(secret.hex()), headers={"cache-control": "no-store"})


@get(f"{ONE}/deliveries")
async def deliveries(request: Asked, webhook_id: str) -> Deliveries:
    """List the last requests that were sent to it, and how they went."""
    services, principal = services_of(request), await principal_of(request)
    found = await webhook_of(services.db, principal.account_id, from_hex(webhook_id, what="webhook"))
    return Deliveries([DeliveryShown(**each) for each in json.loads(found.last)])


def _shown(one: Webhook) -> WebhookShown:
    return WebhookShown(
        one.webhook_id.hex(),
        one.url,
        [Told(event) for event in one.events.split(",")],
        one.created_ms,
        one.failures,
        one.failing_since,
        one.ended_ms,
    )


ROUTES = (make, list_webhooks, remove, rotate, deliveries)
