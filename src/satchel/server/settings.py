"""The service's settings: flags over environment over file, read once. Invariant: an unknown key stops the start.

`SETTINGS` is the one table; docs/operate/settings.md lists the same and a test compares the two.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from satchel.core.errors import SettingInvalid
from satchel.core.limits import BODY_BYTES_PER_S_MIN, BODY_GRACE_S, HEADER_DEADLINE_S
from satchel.core.retention import KEEP_ALL_DAYS, TRASH_DAYS

PREFIX = "SATCHEL_"
DATA_DEFAULT = "satchel-data"
ROLES = ("gateway", "notifier", "upkeep")
BLOCKS_SCHEMES = ("file:///", "s3://")
STATE_SCHEMES = ("memory://", "redis://", "rediss://", "unix://")
BUS_SCHEMES = (*STATE_SCHEMES, "kafka://")
SECRET_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD")
"""Secrets that client libraries read themselves; only to keep them out of the logs."""
DRAIN_WAIT_S_SHARED = 5.0
DRAIN_WAIT_S_MAX = 600.0
FOREVER = "forever"
DAYS_MAX = 36_500
LOG_LEVELS = ("debug", "info", "warning", "error")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. name: its key in the file and, with SATCHEL_ before it and in capitals, in the environment.

    default: as text; kind: `text`, `flag` or `level`; flag: the command line's, empty when there is none.
    """

    name: str
    default: str
    doc: str
    flag: str = ""
    kind: str = "text"

    @property
    def variable(self) -> str:
        """Name of the environment variable."""
        return PREFIX + self.name.upper()


SETTINGS = (
    Setting("data", DATA_DEFAULT, "Folder that holds everything when the stores are embedded; made 0700.", "--data"),
    Setting("listen", "127.0.0.1:8484", "Address to listen on; port 0 takes a free one.", "--listen"),
    Setting(
        "public_url", "", "Address that people and devices use, when it is not the one listened on.", "--public-url"
    ),
    Setting("database_url", "", "`sqlite:///PATH` or `postgresql://…`; empty: `metadata.db` in the data folder."),
    Setting("blocks_url", "", "`file:///PATH` or `s3://BUCKET/PREFIX?endpoint=…`; empty: `blocks` in the data folder."),
    Setting("state_url", "memory://", "Where it is kept who is connected: `memory://` or `redis://…`."),
    Setting(
        "bus_url", "memory://", "What carries wake-ups between processes: `memory://`, `redis://…` or `kafka://…`."
    ),
    Setting("kafka_user", "", "User of the Kafka cluster, where its URL asks for one."),
    Setting("kafka_password", "", "Password of that user; never in the URL."),
    Setting(
        "roles", ",".join(ROLES), "What the process does, with commas: `gateway`, `notifier`, `upkeep`.", "--roles"
    ),
    Setting(
        "behind_proxy", "", "Addresses of the proxies whose forwarded headers count, with commas.", "--behind-proxy"
    ),
    Setting("tls_certificate", "", "Certificate chain (PEM); with `tls_key` the service speaks TLS itself."),
    Setting("tls_key", "", "Private key (PEM) of `tls_certificate`."),
    Setting(
        "drain_wait_s",
        "",
        "Seconds for which a stopping gateway is not ready and still answers; empty: 0 on SQLite, else 5.",
    ),
    Setting(
        "metrics_listen",
        "",
        "Address that metrics are served on, never the public's: `127.0.0.1:9464`, or a port alone; empty: nowhere.",
    ),
    Setting(
        "trace_endpoint",
        "",
        "Where traces go by OTLP over HTTP, `http://HOST:4318/v1/traces`; empty: nowhere. Needs the extra `trace`.",
    ),
    Setting(
        "secrets_key",
        "",
        "64 hex digits that seal secrets in the database; empty: `secrets.key` in the data folder, if that has it all.",
    ),
    Setting("oidc_issuer", "", "Issuer of a provider of OpenID Connect that people sign in by, `https://…`; or none."),
    Setting("oidc_client_id", "", "What the provider calls this service."),
    Setting("oidc_client_secret", "", "Secret of that client; empty for a public one."),
    Setting("oidc_domains", "", "Only people with a verified e-mail address of these domains, with commas; or all."),
    Setting("oidc_claim", "", "Only people with this claim, `NAME=VALUE` (a list must hold the value); empty: all."),
    Setting(
        "oidc_new_accounts",
        "false",
        "Whoever the provider knows gets an account; otherwise an administrator names the address first.",
        kind="flag",
    ),
    Setting(
        "versions_keep_all_days",
        str(KEEP_ALL_DAYS),
        "For so many days all versions of a file are kept, then ever fewer; `forever`: all.",
    ),
    Setting("trash_keep_days", str(TRASH_DAYS), "So many days after its deletion a file is gone for good; `forever`."),
    Setting(
        "webhook_networks",
        "",
        "Networks that webhooks may reach though they are not public, `10.1.0.0/16`, with commas.",
    ),
    Setting("log_level", "info", "`debug`, `info`, `warning` or `error`.", "--log-level", "level"),
    Setting("log_json", "false", "Write logs as JSON, one object a line.", "--log-json", "flag"),
)
"""Every setting that people may set, with one line of documentation each."""

_BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Deadlines:
    """When a slow request is cut. The numbers are those of core/limits.py; tests shorten them."""

    header_s: float = HEADER_DEADLINE_S
    body_grace_s: float = BODY_GRACE_S
    body_bytes_per_s_min: int = BODY_BYTES_PER_S_MIN
    drain_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Oidc:
    """The provider that people sign in by. claim: a name and a value, None for any."""

    issuer: str
    client_id: str
    secret: str = field(repr=False)
    domains: tuple[str, ...] = ()
    claim: tuple[str, str] | None = None
    new_accounts: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """What the service was told. data: absolute folder; host and port: where to listen; the rest as in SETTINGS."""

    data: str
    host: str
    port: int
    public_url: str
    database_url: str = field(repr=False)
    blocks_url: str
    state_url: str = field(repr=False)
    bus_url: str = field(repr=False)
    kafka_user: str
    kafka_password: str = field(repr=False)
    roles: frozenset[str]
    behind_proxy: tuple[str, ...]
    tls_certificate: str
    tls_key: str
    log_level: str
    log_json: bool
    versions_keep_all_days: int | None
    trash_keep_days: int | None
    webhook_networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    drain_wait_s: float = 0.0
    metrics_listen: tuple[str, int] | None = None
    trace_endpoint: str = field(default="", repr=False)
    oidc: Oidc | None = None
    secrets_key: str = field(default="", repr=False)
    deadlines: Deadlines = Deadlines()

    def __post_init__(self) -> None:
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise SettingInvalid("A certificate and a key go together.", setting="tls_key", reason="only one is set")
        if not (self.behind_proxy or self.tls_key or _is_loopback(self.host)):
            raise SettingInvalid(
                f"Passwords would cross the network in the clear on {self.host}.",
                setting="listen",
                reason="set tls_certificate and tls_key, or behind_proxy, or listen on 127.0.0.1",
            )

    def secrets(self) -> list[str]:
        """Return what must never be written anywhere: passwords of the stores' URLs, in each form, and keys."""
        found = [self.kafka_password, self.secrets_key, self.oidc.secret if self.oidc else ""]
        for url in (self.database_url, self.state_url, self.bus_url, self.blocks_url, self.trace_endpoint):
            password = _password_of(url)
            found += [password, unquote(password)]
        found += [os.environ.get(name, "") for name in SECRET_VARIABLES]
        return [secret for secret in found if secret]

    @property
    def admin_socket(self) -> str:
        """Path of the socket for `satchel admin` beside a running service."""
        return os.path.join(self.data, "admin.sock")

    @property
    def blocks_folder(self) -> str:
        """Path of the folder that `blocks_url` names."""
        return self.blocks_url.removeprefix("file://")


def load_settings(flags: Mapping[str, object], *, config: str | None = None) -> Settings:
    """Return the settings from flags (by setting name; None: not given), the environment and the file `config`.

    Without `config`, `satchel.toml` in the data folder is read when it is there. Raises: SettingInvalid.
    """
    _refuse_unknown(flags, "flag")
    variables = _environment()
    given = {name: _text(value) for name, value in flags.items() if value is not None}
    data = given.get("data") or variables.get("data") or DATA_DEFAULT
    path = config or os.path.join(data, "satchel.toml")
    file = _read_file(path) if config or os.path.exists(path) else {}
    merged = {setting.name: setting.default for setting in SETTINGS} | file | variables | given
    return _settled(merged)


def _settled(merged: Mapping[str, str]) -> Settings:
    data = os.path.abspath(merged["data"])
    host, port = _address(merged["listen"], "listen")
    level = merged["log_level"].lower()
    if level not in LOG_LEVELS:
        raise SettingInvalid("An unknown log level.", setting="log_level", reason=f"one of {', '.join(LOG_LEVELS)}")
    settings = Settings(
        data=data,
        host=host,
        port=port,
        public_url=merged["public_url"].rstrip("/"),
        database_url=merged["database_url"] or f"sqlite:///{os.path.join(data, 'metadata.db')}",
        blocks_url=merged["blocks_url"] or f"file://{os.path.join(data, 'blocks')}",
        state_url=merged["state_url"],
        bus_url=merged["bus_url"],
        kafka_user=merged["kafka_user"],
        kafka_password=merged["kafka_password"],
        roles=_roles(merged["roles"]),
        behind_proxy=tuple(part.strip() for part in merged["behind_proxy"].split(",") if part.strip()),
        tls_certificate=merged["tls_certificate"],
        tls_key=merged["tls_key"],
        log_level=level,
        log_json=_flag("log_json", merged["log_json"]),
        drain_wait_s=_drain_wait_s(merged["drain_wait_s"], merged["database_url"]),
        metrics_listen=_metrics_address(merged["metrics_listen"]),
        trace_endpoint=merged["trace_endpoint"],
        oidc=_oidc(merged),
        secrets_key=merged["secrets_key"],
        versions_keep_all_days=_days("versions_keep_all_days", merged["versions_keep_all_days"]),
        trash_keep_days=_days("trash_keep_days", merged["trash_keep_days"]),
        webhook_networks=_networks(merged["webhook_networks"]),
    )
    if settings.trace_endpoint:
        _check_store(settings.trace_endpoint, "trace_endpoint", "http://", "https://")
    _check_store(settings.blocks_url, "blocks_url", *BLOCKS_SCHEMES)
    _check_store(settings.state_url, "state_url", *STATE_SCHEMES)
    _check_store(settings.bus_url, "bus_url", *BUS_SCHEMES)
    if settings.bus_url.startswith("kafka://") and settings.state_url.startswith("memory://"):
        raise SettingInvalid(
            "The notifier asks the state store where a device is connected.",
            setting="state_url",
            reason="with bus_url = kafka://… it is redis://…",
        )
    return settings


def _oidc(merged: Mapping[str, str]) -> Oidc | None:
    issuer, client_id = merged["oidc_issuer"], merged["oidc_client_id"]
    if not issuer:
        return None
    parts = urlsplit(issuer)
    is_private = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
    if not is_private or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise SettingInvalid("An issuer is an https URL.", setting="oidc_issuer", reason=issuer)
    if not client_id:
        raise SettingInvalid("The provider knows this service by a name.", setting="oidc_client_id", reason="not set")
    if not merged["public_url"]:
        reason = "the provider sends people back to the address that it names"
        raise SettingInvalid("A sign-in by a provider needs it.", setting="public_url", reason=reason)
    name, between, value = merged["oidc_claim"].partition("=")
    if merged["oidc_claim"] and not (name and between and value):
        raise SettingInvalid("A claim is NAME=VALUE.", setting="oidc_claim", reason=merged["oidc_claim"])
    domains = tuple(part.strip().casefold() for part in merged["oidc_domains"].split(",") if part.strip())
    claim = (name, value) if between else None
    may_make = _flag("oidc_new_accounts", merged["oidc_new_accounts"])
    return Oidc(issuer, client_id, merged["oidc_client_secret"], domains, claim, may_make)


def _roles(text: str) -> frozenset[str]:
    roles = frozenset(part.strip() for part in text.split(",") if part.strip())
    if not roles or roles.difference(ROLES):
        raise SettingInvalid("An unknown role.", setting="roles", reason=f"some of {', '.join(ROLES)}, with commas")
    return roles


def _check_store(url: str, name: str, *schemes: str) -> None:
    if not url.startswith(schemes):
        raise SettingInvalid("A URL that names no known store.", setting=name, reason=f"known: {', '.join(schemes)}")


def _environment() -> dict[str, str]:
    # The device's variables share the prefix; which of them exist is not the service's to say.
    return {name: os.environ[s.variable] for name, s in _BY_NAME.items() if os.environ.get(s.variable)}


def _read_file(path: str) -> dict[str, str]:
    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingInvalid("The settings file cannot be read.", setting="config", reason=str(error)) from error
    _refuse_unknown(found, f"key in {path}")
    return {name: _text(value) for name, value in found.items()}


def _refuse_unknown(found: Mapping[str, object], what: str) -> None:
    for name in found:
        if name not in _BY_NAME:
            raise SettingInvalid(f"An unknown {what}: {name}.", setting=name, reason="unknown")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(str(part) for part in value)
    return str(value)


def _flag(name: str, text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise SettingInvalid("A setting that is either on or off.", setting=name, reason="true or false")


def _password_of(url: str) -> str:
    """Return what stands between the first ':' of the user and the '@', as it is written. Also of what is no URL."""
    return url.partition("://")[2].rpartition("@")[0].partition(":")[2]


def _drain_wait_s(text: str, database_url: str) -> float:
    if not text:
        # Where there is one process, nobody else could take over: waiting would only be longer.
        return DRAIN_WAIT_S_SHARED if database_url.startswith("postgres") else 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= DRAIN_WAIT_S_MAX:
        reason = f"0 to {DRAIN_WAIT_S_MAX:g} seconds"
        raise SettingInvalid("This is no time to wait.", setting="drain_wait_s", reason=reason)
    return seconds


def _metrics_address(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    return _address(f"127.0.0.1:{text}" if text.isdigit() else text, "metrics_listen")


def _days(name: str, text: str) -> int | None:
    """Return a number of days, None for `forever`. Never 0: nothing that was just deleted is out of reach."""
    if text.lower() == FOREVER:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= DAYS_MAX):
        reason = f"a number of days from 1 to {DAYS_MAX}, or {FOREVER}"
        raise SettingInvalid("A time to keep things for.", setting=name, reason=reason)
    return int(text)


def _networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise SettingInvalid("A network is like 10.1.0.0/16.", setting="webhook_networks", reason=str(error)) from error


def _address(text: str, setting: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise SettingInvalid("An address is HOST:PORT.", setting=setting, reason=text)
    return host, int(port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
