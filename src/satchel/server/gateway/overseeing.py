"""REST: what the store holds, how the service does, and what it was told, for administrators. Invariant: it changes
nothing, no secret is in it, and nothing is told that the service does not know.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import msgspec
from litestar import get, post

from satchel import __version__
from satchel.server.accounts.audit import STORE_CHAIN, Action, read_chain, verify_part
from satchel.server.db.measured import MeasuredDatabase
from satchel.server.gateway.rest import Asked, admin_of, from_hex, services_of
from satchel.server.settings import FOREVER, SETTINGS, Settings

ROUTES_SHOWN_MAX = 200
PROBLEMS_MAX = 50
SEQ_MAX = 1 << 62
_HASH_BYTES = 32
_SET = "(set)"
_SECRETS = frozenset({"kafka_password", "secrets_key", "oidc_client_secret"})


class StorageShown(msgspec.Struct, frozen=True):
    """What the store holds. logical_bytes: of all versions of all files; block_bytes: of all blocks, each once;
    stored_bytes: those compressed; garbage: held by nobody, condemned: part of that; packs_waiting: old ones whose
    object leaves soon; trash_items: deleted files and folders. alarm, scrub_alarm: empty while nothing is wrong."""

    files: int
    file_bytes: int
    versions: int
    logical_bytes: int
    blocks: int
    block_bytes: int
    stored_bytes: int
    dedup_ratio: float
    trash_items: int
    garbage_blocks: int
    garbage_bytes: int
    condemned_blocks: int
    condemned_bytes: int
    packs: int
    packs_waiting: int
    packs_waiting_bytes: int
    damaged_blocks: int
    alarm: str
    scrub_alarm: str


class TaskShown(msgspec.Struct, frozen=True):
    """Something that is done in the background. last_ms, next_ms: when, 0 for never; took_ms: the last run;
    failures: in a row; fault: of the last run, empty when it ended well."""

    name: str
    last_ms: int
    took_ms: int
    next_ms: int
    failures: int
    fault: str


class RouteShown(msgspec.Struct, frozen=True):
    """What was asked of this process since it started, by route. p50_ms, p99_ms: half of the answers, and all but one
    in a hundred, took no longer, as exactly as the parts of the histogram are."""

    route: str
    count: int
    p50_ms: float
    p99_ms: float


class HealthShown(msgspec.Struct, frozen=True):
    """How the service does: of this process, and of the store. status, not_ready, degraded: as `/ready` says;
    backup_ms: when the last backup was taken, 0 for never."""

    version: str
    schema: int
    run: int
    status: str
    not_ready: tuple[str, ...]
    degraded: tuple[str, ...]
    streams: int
    waiting: int
    requests: int
    database_waiting: int
    backup_ms: int
    tasks: list[TaskShown]
    routes: list[RouteShown]


class SettingShown(msgspec.Struct, frozen=True):
    """A setting as it holds. value: `(set)` in place of a secret; empty for what is not set."""

    name: str
    value: str
    meaning: str


class SettingsShown(msgspec.Struct, frozen=True):
    """All settings of this process."""

    items: list[SettingShown]


class AuditPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where verifying goes on: `next` of the part before; left out: from the beginning."""

    chain: str = ""
    seq: int = 0
    hash: str = ""


class AuditProblem(msgspec.Struct, frozen=True):
    """A row that is not as it was written. chain: the account's, or the store's of zeros."""

    chain: str
    seq: int
    what: str


class AuditVerified(msgspec.Struct, frozen=True):
    """A part of the log that was verified. next: null at the end."""

    rows: int
    problems: list[AuditProblem]
    next: AuditPlace | None


@get("/api/v1/admin/storage")
async def storage(request: Asked) -> StorageShown:
    """Tell what the store holds: it is counted at each request. For administrators."""
    services, _ = services_of(request), await admin_of(request)
    return msgspec.convert(dict(await services.overseer.figures()), StorageShown)


@get("/api/v1/admin/health")
async def health(request: Asked) -> HealthShown:
    """Tell how the service does: readiness, queues, background work, times of answers. For administrators."""
    services, _ = services_of(request), await admin_of(request)
    found, counters, facts = await services.readiness.look(), services.counters, services.facts
    backups = await read_chain(services.db, STORE_CHAIN, limit=1, action=Action.BACKED_UP)
    busiest = sorted(counters.seconds.items(), key=lambda each: -each[1].count)[:ROUTES_SHOWN_MAX]
    return HealthShown(
        version=__version__,
        schema=facts.schema_version,
        run=facts.run,
        status=found.status,
        not_ready=found.not_ready,
        degraded=found.degraded,
        streams=counters.streams,
        waiting=len(services.waiters),
        requests=counters.in_progress,
        database_waiting=services.db.waiting if isinstance(services.db, MeasuredDatabase) else 0,
        backup_ms=backups[0].at_ms if backups else 0,
        tasks=[TaskShown(*each) for each in await services.overseer.tasks()],
        routes=[
            RouteShown(route, took.count, took.quantile(0.5) * 1_000, took.quantile(0.99) * 1_000)
            for route, took in busiest
        ],
    )


@get("/api/v1/admin/settings")
async def settings(request: Asked) -> SettingsShown:
    """Tell the settings as they hold, without their secrets; for administrators."""
    services, _ = services_of(request), await admin_of(request)
    told = services.settings
    return SettingsShown([SettingShown(one.name, _value(told, one.name), one.doc) for one in SETTINGS])


@post("/api/v1/admin/audit/verify", status_code=200)
async def verify(request: Asked, data: AuditPlace) -> AuditVerified:
    """Verify a part of the audit log; ask again with `next` until that is null. For administrators."""
    services, _ = services_of(request), await admin_of(request)
    after = None
    if data.chain:
        after = (
            from_hex(data.chain, what="chain"),
            max(0, min(data.seq, SEQ_MAX)),
            from_hex(data.hash, what="hash", length=_HASH_BYTES),
        )
    found = await verify_part(services.db, after)
    going_on = None if found.after is None else AuditPlace(found.after[0].hex(), found.after[1], found.after[2].hex())
    problems = [AuditProblem(chain.hex(), seq, what) for chain, seq, what in found.problems[:PROBLEMS_MAX]]
    return AuditVerified(found.rows, problems, going_on)


def _value(told: Settings, name: str) -> str:
    """Return a setting as text that anybody may see who administers the service."""
    if name in _SECRETS:
        given = told.oidc.secret if name == "oidc_client_secret" and told.oidc else getattr(told, name, "")
        return _SET if given else ""
    if name == "listen":
        return f"{told.host}:{told.port}"
    if name == "metrics_listen" and told.metrics_listen:
        return ":".join(map(str, told.metrics_listen))
    if name.endswith("_days"):
        return _text(getattr(told, name)) or FOREVER
    if name.startswith("oidc_"):
        return _oidc_value(told, name)
    text = _text(getattr(told, name))
    for secret in told.secrets():
        text = text.replace(secret, _SET)
    return text


def _oidc_value(told: Settings, name: str) -> str:
    if told.oidc is None:
        return ""
    value: object = getattr(told.oidc, name.removeprefix("oidc_"))
    return "=".join(value) if name == "oidc_claim" and isinstance(value, tuple) else _text(value)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float | ipaddress.IPv4Network | ipaddress.IPv6Network):
        return str(value)
    assert isinstance(value, Iterable)
    return ", ".join(sorted(_text(each) for each in value))


ROUTES = (storage, health, settings, verify)
