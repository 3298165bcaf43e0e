"""REST: does it live, should it be sent requests, and what did it do. Invariant: strangers hear names of parts at most.

`/health` says that this process answers: one that does not is to be restarted. `/ready` says whether requests should
come here: while not, they go elsewhere, and a restart would not help.
"""

from __future__ import annotations

import msgspec
from litestar import Response, get

from satchel.core.errors import NotFound
from satchel.server.gateway.rest import Asked, principal_of, services_of


class Health(msgspec.Struct, frozen=True):
    """`ok`, always: whoever is not well does not answer."""

    status: str


class ReadyShown(msgspec.Struct, frozen=True):
    """status: `ready`, `degraded` (ready, and slower than it could be) or `not_ready`; the parts that are the cause."""

    status: str
    not_ready: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()


@get("/health", public=True)
async def health(request: Asked) -> Health:
    """Tell that the process lives; no store is asked."""
    return Health("ok")


@get("/ready", public=True)
async def ready(request: Asked) -> Response[ReadyShown]:
    """Tell whether requests should come here: 200 `ready` or `degraded`, or 503 `not_ready`."""
    found = await services_of(request).readiness.look()
    shown = ReadyShown(found.status, found.not_ready, found.degraded)
    return Response(shown, status_code=200 if found.is_ready else 503, headers={"cache-control": "no-store"})


@get("/api/v1/admin/counters")
async def counters(request: Asked) -> dict[str, object]:
    """Tell what this process did since it started; for administrators."""
    principal = await principal_of(request)
    if not principal.is_admin:
        raise NotFound("There is no such route.")
    return services_of(request).counters.shown()


ROUTES = (health, ready, counters)
