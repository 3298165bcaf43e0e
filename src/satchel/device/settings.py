"""The device's settings. Invariant: read once at start into a frozen value; nothing else here reads the environment.

Flags of a command over environment over `settings.json` in SATCHEL_HOME (written by `satchel config set`). Source:
docs/use/settings.md, which a test compares with SETTINGS.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import platformdirs

from satchel.core.errors import SettingInvalid
from satchel.core.limits import KIB, MIB
from satchel.device.durable import read_json, write_json

FILE_NAME = "settings.json"
LOG_LEVELS = ("debug", "info", "warning", "error")
TRANSFER_THREADS_MAX = 32
LIMIT_BYTES_PER_S_MIN = 16 * KIB
"""With less, a server ends what comes so slowly."""
NO_LIMIT = "off"
_RATE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)([KMG])(?:I?B)?(?:/S)?", re.IGNORECASE)
_UNITS = {"K": KIB, "M": MIB, "G": 1024 * MIB}


@dataclass(frozen=True, slots=True)
class Setting:
    """One documented setting. name: in the file and for `config set`; variable: in the environment."""

    name: str
    variable: str
    default: str
    doc: str
    is_in_file: bool = True


SETTINGS = (
    Setting(
        "home",
        "SATCHEL_HOME",
        "the platform's state folder",
        "The device's state folder: sign-in, links, index, log. Several devices can live on one machine.",
        is_in_file=False,
    ),
    Setting("device_name", "SATCHEL_DEVICE_NAME", "the machine's name", "Name that this device signs in under."),
    Setting("log_level", "SATCHEL_LOG_LEVEL", "info", "How much the daemon logs: debug, info, warning or error."),
    Setting(
        "transfer_threads",
        "SATCHEL_TRANSFER_THREADS",
        "6",
        "Threads that read, hash, compress and write files, 1 to 32.",
    ),
    Setting(
        "limit_up",
        "SATCHEL_LIMIT_UP",
        NO_LIMIT,
        "How much may be sent a second: 500K, 2M, 1.5G (16K at least), or off. See `satchel limit`.",
    ),
    Setting(
        "limit_down",
        "SATCHEL_LIMIT_DOWN",
        NO_LIMIT,
        "How much may be received a second, as for `limit_up`.",
    ),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What is set on this device. home: absolute."""

    home: Path
    device_name: str
    log_level: str = "info"
    transfer_threads: int = 6
    limit_up: str = NO_LIMIT
    limit_down: str = NO_LIMIT

    def __post_init__(self) -> None:
        _check("device_name", self.device_name)
        _check("log_level", self.log_level)
        _check("transfer_threads", str(self.transfer_threads))
        _check("limit_up", self.limit_up)
        _check("limit_down", self.limit_down)


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of this process. environment: for tests. Raises: SettingInvalid naming the setting."""
    given = os.environ if environment is None else environment
    home = Path(given.get("SATCHEL_HOME") or platformdirs.user_state_dir("satchel", appauthor=False)).expanduser()
    values = file_settings(home)
    for setting in SETTINGS:
        if setting.is_in_file and given.get(setting.variable):
            values[setting.name] = _check(setting.name, given[setting.variable])
    return Settings(
        home=home.absolute(),
        device_name=values.get("device_name") or socket.gethostname()[:64] or "device",
        log_level=values.get("log_level", "info"),
        transfer_threads=int(values.get("transfer_threads", "6")),
        limit_up=values.get("limit_up", NO_LIMIT),
        limit_down=values.get("limit_down", NO_LIMIT),
    )


DIRECTIONS = {"up": "limit_up", "down": "limit_down"}
"""Which setting limits which direction."""


def rate_of(value: str) -> int | None:
    """Return the bytes a second of a limit, 0 for `off`, None for what is no limit."""
    if value == NO_LIMIT:
        return 0
    found = _RATE.fullmatch(value)
    if found is None:
        return None
    rate = int(float(found[1]) * _UNITS[found[2].upper()])
    return rate if rate >= LIMIT_BYTES_PER_S_MIN else None


def wanted_limits(words: Iterable[str]) -> dict[str, str]:
    """Return the rates of words like `up=500K` by direction, all of them checked. Raises: SettingInvalid."""
    wanted: dict[str, str] = {}
    for word in words:
        direction, _, rate = word.partition("=")
        if direction not in DIRECTIONS or direction in wanted or rate_of(rate) is None:
            raise SettingInvalid(
                f"'{word}' is no limit: write up=500K, down=1.5M (K, M or G a second, 16K at least), or up=off.",
                setting=DIRECTIONS.get(direction, "limit"),
                reason="twice" if direction in wanted else "",
            )
        wanted[direction] = rate
    return wanted


def no_color_wanted() -> bool:
    """Return whether NO_COLOR is set (https://no-color.org): any value but an empty one."""
    return bool(os.environ.get("NO_COLOR"))


def file_settings(home: Path) -> dict[str, str]:
    """Return what `config set` has set, by name. Raises: SettingInvalid for an unknown name or a bad value."""
    try:
        values = read_json(home / FILE_NAME, dict[str, str]) or {}
    except msgspec.DecodeError as error:
        raise SettingInvalid("The settings file cannot be read.", setting=FILE_NAME, reason=str(error)) from error
    for name, value in values.items():
        _check(name, value)
    return values


def set_setting(home: Path, name: str, value: str | None) -> None:
    """Set one value in the file, or with None take it out. Raises: SettingInvalid."""
    values = file_settings(home)
    if value is None:
        _check_name(name)
        values.pop(name, None)
    else:
        values[name] = _check(name, value)
    write_json(home / FILE_NAME, values)


def _check_name(name: str) -> None:
    if name not in {setting.name for setting in SETTINGS if setting.is_in_file}:
        raise SettingInvalid("There is no such setting.", setting=name, reason="unknown")


def _check(name: str, value: str) -> str:
    _check_name(name)
    reason = ""
    if name == "log_level" and value not in LOG_LEVELS:
        reason = "one of " + ", ".join(LOG_LEVELS)
    if name == "device_name" and not (0 < len(value.strip()) <= 64 and value.isprintable()):
        reason = "1 to 64 printable characters"
    if name == "transfer_threads" and not (value.isdecimal() and 0 < int(value) <= TRANSFER_THREADS_MAX):
        reason = f"a number from 1 to {TRANSFER_THREADS_MAX}"
    if name in ("limit_up", "limit_down") and rate_of(value) is None:
        reason = "a number with K, M or G for each second, such as 500K or 1.5M and 16K at least, or off"
    if reason:
        raise SettingInvalid(f"The setting must be {reason}.", setting=name, reason=value)
    return value
