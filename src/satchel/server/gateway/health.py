"""REST: is it well, and what did it do. Invariant: health tells strangers nothing but well or not."""

from __future__ import annotations

import asyncio

import msgspec
from litestar import Response, get

from satchel.core.errors import Fault, NotFound
from satchel.server.db.schema import store_facts
from satchel.server.gateway.rest import Asked, principal_of, services_of
from satchel.server.gateway.services import Services

PROBE_KEPT_MS = 10_000
PROBE_TIMEOUT_S = 5.0


class Health(msgspec.Struct, frozen=True):
    """`ok` when metadata can be read and blocks can be written; else `failing`."""

    status: str


class Probe:
    """The last look at the stores, kept for ten seconds so that nobody can wear out the disk by asking."""

    def __init__(self) -> None:
        self._looked_ms = 0
        self._is_well = False

    async def is_well(self, services: Services) -> bool:
        """Return whether both stores answer."""
        now_ms = services.clock.now_ms()
        if now_ms - self._looked_ms >= PROBE_KEPT_MS:
            self._looked_ms = now_ms
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    await store_facts(services.db)
                    await services.blocks.store_port.probe()
                self._is_well = True
            except (Fault, TimeoutError):
                self._is_well = False
        return self._is_well


@get("/health", public=True)
async def health(request: Asked) -> Response[Health]:
    """Tell whether the service is well: 200 `ok`, or 503 `failing`."""
    probe: Probe = request.app.state.probe
    is_well = await probe.is_well(services_of(request))
    return Response(Health("ok" if is_well else "failing"), status_code=200 if is_well else 503)


@get("/api/v1/admin/counters")
async def counters(request: Asked) -> dict[str, object]:
    """Tell what this process did since it started; for administrators."""
    principal = await principal_of(request)
    if not principal.is_admin:
        raise NotFound("There is no such route.")
    return services_of(request).counters.shown()


ROUTES = (health, counters)
