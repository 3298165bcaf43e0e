"""`satchel doctor`: looks at everything that commonly goes wrong. Invariant: it changes nothing and names a remedy.

Exit code 0 when all is well or only warned of, 11 when something failed.
"""

from __future__ import annotations

import functools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import typer

from satchel.cli import exit_codes, output, session
from satchel.core.cutting import require_fast_cutter
from satchel.core.errors import DaemonNotRunning, Fault
from satchel.device.links import Link

FREE_BYTES_WARN = 1024**3
WATCH_LIMIT_FILE = Path("/proc/sys/fs/inotify/max_user_watches")
FOLDERS_COUNTED_MAX = 200_000


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. result: ok, warn or fail."""

    what: str
    result: str
    told: str


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(doctor)


def doctor() -> None:
    """Check this device: sign-in, server, daemon, folders, disk, watches."""
    found = list(_findings())
    rows = [(finding.result.upper(), finding.what, finding.told) for finding in found]
    output.give(found, text=output.table(("", "WHAT", ""), rows))
    raise typer.Exit(exit_codes.ATTENTION if any(finding.result == "fail" for finding in found) else exit_codes.OK)


def _findings() -> Iterator[Finding]:
    yield _checked("program", _check_program)
    yield _checked("state folder", _check_home)
    yield _checked("sign-in and server", _check_server)
    yield _checked("daemon", _check_daemon)
    try:
        links = session.links().links()
    except Fault as fault:
        yield Finding("links", "fail", f"{fault.message} {fault.hint}")
        return
    if not links:
        yield Finding("links", "warn", "no folder is linked; satchel link ~/Satchel")
    for link in links:
        yield _checked(link.local, functools.partial(_check_link, link))


def _checked(what: str, check: Callable[[], tuple[str, str]]) -> Finding:
    try:
        result, told = check()
    except Fault as fault:
        return Finding(what, "fail", f"{fault.message} {fault.hint}".strip())
    except OSError as error:
        return Finding(what, "fail", str(error))
    return Finding(what, result, told)


def _check_program() -> tuple[str, str]:
    require_fast_cutter()
    return "ok", "compiled parts are loaded"


def _check_home() -> tuple[str, str]:
    home = session.home()
    if not home.exists():
        return "warn", f"{home} does not exist yet; it is made by 'satchel login'"
    if home.stat().st_mode & 0o077:
        return "fail", f"{home} can be read by others: chmod 700 {home}"
    free = shutil.disk_usage(home).free
    if free < FREE_BYTES_WARN:
        return "warn", f"only {output.size_text(free)} free for the index at {home}"
    return "ok", str(home)


def _check_server() -> tuple[str, str]:
    known = session.credentials()
    before = time.monotonic()
    session.run(_ask_account())
    took_ms = (time.monotonic() - before) * 1000
    if known.url.startswith("http://") and not _is_loopback(known.url):
        return "warn", f"{known.url} is not encrypted"
    return "ok", f"{known.account} on {known.url}, {took_ms:.0f} ms"


async def _ask_account() -> None:
    async with session.api() as api:
        await api.account()


def _is_loopback(url: str) -> bool:
    return url.removeprefix("http://").startswith(("127.", "localhost", "[::1]"))


def _check_daemon() -> tuple[str, str]:
    try:
        told = session.daemon_status(session.control())
    except DaemonNotRunning:
        return "warn", "not running; satchel daemon start"
    return "ok", f"process {told.pid}, version {told.version}"


def _check_link(link: Link) -> tuple[str, str]:
    from satchel.device.disk import LocalDisk
    from satchel.device.drive import drive

    drive(LocalDisk(os.fsencode(link.local)).check_root())
    free = shutil.disk_usage(link.local).free
    if free < FREE_BYTES_WARN:
        return "warn", f"only {output.size_text(free)} free"
    folders = sum(1 for _ in zip(os.walk(link.local), range(FOLDERS_COUNTED_MAX), strict=False))
    limit = int(WATCH_LIMIT_FILE.read_text()) if WATCH_LIMIT_FILE.exists() else FOLDERS_COUNTED_MAX
    if folders > limit * 0.8:
        return "warn", f"{folders} folders, {limit} watches: sysctl fs.inotify.max_user_watches={limit * 4}"
    return "ok", f"linked to {link.remote}, {output.size_text(free)} free, {folders} folders"
