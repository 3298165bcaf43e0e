"""`satchel status|sync|pause|resume|held`. Invariant: the exit code is the state (docs/use/commands.md), with --json
or without; `status` starts nothing and changes nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from satchel.cli import daemon, exit_codes, output, session
from satchel.cli.progress import Round
from satchel.core.errors import DaemonNotRunning, Fault, NotLinked
from satchel.device.control import Request
from satchel.device.status import DaemonStatus, HeldItem, LinkStatus, gravest

SYNC_S_DEFAULT = 3600.0
_WATCH_EVERY_S = 0.5
_SHOWN_MAX = 20

held = typer.Typer(help="Show what waits and why; allow or undo held deletions.", invoke_without_command=True)

_STATE_TEXT = {
    "in_sync": "in sync",
    "syncing": "syncing",
    "attention": "needs attention",
    "offline": "offline",
    "halted": "halted",
    "paused": "paused",
}


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(status)
    app.command()(sync)
    app.command()(pause)
    app.command()(resume)
    app.add_typer(held, name="held")


def status(
    path: Annotated[str, typer.Argument(help="A linked folder, or something in one; all folders when left out.")] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it, until Ctrl-C.")] = False,
) -> None:
    """Show the state of the linked folders.

    Exit code: 0 in sync, 10 syncing, 11 needs attention, 12 offline, 13 halted, 14 daemon not running.
    """
    local = _link_holding(path)
    while True:
        code = _show_status(local, over=watch)
        if not watch:
            raise typer.Exit(code)
        time.sleep(_WATCH_EVERY_S)


def _show_status(local: str, *, over: bool) -> int:
    """Show the state once; `over`: in place of what was shown before."""
    try:
        told = session.daemon_status(session.control())
    except DaemonNotRunning:
        return _show_stopped(local, over=over)
    links = [link for link in told.links if not local or link.local == local]
    code = exit_code(links)
    _show({"daemon": told, "exit_code": code}, _status_text(told, links), over=over)
    return code


def _show_stopped(local: str, *, over: bool) -> int:
    links = session.links_in(local)
    lines = ["The daemon is not running. Start it with 'satchel daemon start'."]
    lines += [f"{link.local}  linked to {link.remote}" for link in links]
    shown = [{"local": link.local, "remote": link.remote} for link in links]
    _show({"daemon": None, "links": shown, "exit_code": exit_codes.NO_DAEMON}, "\n".join(lines), over=over)
    return exit_codes.NO_DAEMON


def _show(value: object, text: str, *, over: bool) -> None:
    if output.mode.quiet:
        return
    if over and not output.mode.json:
        output.redraw(text)
    else:
        output.give(value, text=text)


def exit_code(links: Sequence[LinkStatus]) -> int:
    """Return the exit code of the most serious link."""
    state = gravest(link.state for link in links)
    has_work = any(link.to_upload or link.to_download for link in links)
    return exit_codes.of_state(state, has_work=has_work)


def _status_text(told: DaemonStatus, links: Sequence[LinkStatus]) -> str:
    lines = []
    if not links:
        lines.append("No folder is linked. Link one with 'satchel link ~/Satchel'.")
    for link in links:
        lines += _link_lines(link)
    lines.append(f"{told.account} on {told.server}, daemon {told.pid}")
    if told.limits.up or told.limits.down:
        lines.append(f"limited to {output.rate_text(told.limits.up)} up, {output.rate_text(told.limits.down)} down")
    return "\n".join(lines)


def _link_lines(link: LinkStatus) -> list[str]:
    lines = [_link_line(link)]
    for moving in link.transfers[:_SHOWN_MAX]:
        lines.append(f"  {moving.direction:4} {moving.path}  {_percent(moving.done, moving.total)}")
    lines += _what_waits(link)
    if link.conflicts:
        copies = "1 conflicted copy" if link.conflicts == 1 else f"{link.conflicts:,} conflicted copies"
        lines.append(f"  {copies}: satchel conflicts")
    if link.excluded:
        lines.append(f"  {link.excluded} left out on this device: satchel exclude list")
    lines += [f"  {note}" for note in link.notes]
    if link.degraded:
        lines.append(f"  degraded: {link.degraded}")
    if link.notice:
        lines.append(f"  {link.notice}")
    if link.last_sync_ms and link.state != "in_sync":
        lines.append(f"  last in sync {output.time_text(link.last_sync_ms)}")
    return lines


def _link_line(link: LinkStatus) -> str:
    work = work_text(link)
    return f"{link.local}  ->  {link.remote}  {_STATE_TEXT[link.state]}{': ' if work else ''}{work}"


def _what_waits(link: LinkStatus) -> list[str]:
    message = [f"  {link.message}"] if link.message else []
    return message + held_lines(link.held_items, link.held)


def work_text(link: LinkStatus) -> str:
    """Return one line about what is left to do."""
    parts = []
    if link.to_upload:
        parts.append(f"{link.to_upload:,} up ({output.size_text(link.bytes_up_todo)} to go)")
    if link.to_download:
        parts.append(f"{link.to_download:,} down ({output.size_text(link.bytes_down_todo)} to go)")
    return ", ".join(parts)


def held_lines(items: Sequence[HeldItem], count: int) -> list[str]:
    """Return a line for each held item, and how to go on when a person must say so."""
    lines = [f"  held {item.path or '(whole folder)'}: {item.reason}{_when(item)}" for item in items[:_SHOWN_MAX]]
    if count > len(lines):
        lines.append(f"  ... and {count - len(lines)} more held: satchel held")
    if any(item.needs_consent for item in items):
        lines.append("  Let these deletions go on: satchel held allow. Bring the files back: satchel held undo.")
    return lines


def _when(item: HeldItem) -> str:
    return f" (next try {output.time_text(item.next_try_ms)})" if item.next_try_ms else ""


def _percent(done: int, total: int) -> str:
    return f"{100 * done // total}% of {output.size_text(total)}" if total else ""


def sync(
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait at most.")] = SYNC_S_DEFAULT,
    path: Annotated[str, typer.Argument(help="A linked folder; all of them when left out.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done now, and do nothing.")] = False,
) -> None:
    """Wait until everything is in sync. Exit code: 0 then, else as status."""
    local = _link_holding(path)
    if dry_run:
        from satchel.cli.rehearsal import show_plans

        show_plans(session.links_in(local))
        return
    waited = wait_in_sync(local, timeout, daemon.ensure_daemon())
    code = exit_code(waited.links)
    if not output.mode.quiet:
        output.give({"links": waited.links, "exit_code": code}, text=waited.text())
    raise typer.Exit(code)


@dataclass(frozen=True, slots=True)
class Waited:
    """How a wait for sync ended. links: statuses then; moved: what the wait came to, "" for nothing."""

    links: list[LinkStatus]
    moved: str

    def text(self) -> str:
        """Return it for people: one line where all is well, else a line for each link and what waits in it."""
        if exit_code(self.links) == exit_codes.OK:
            return f"In sync: {self.moved}." if self.moved else "In sync."
        return "\n".join(line for link in self.links for line in (_link_line(link), *_what_waits(link)))


def wait_in_sync(local: str, timeout_s: float, before: DaemonStatus) -> Waited:
    """Wait until in sync or until the time is over, showing a line of progress. before: the daemon as it stood."""
    control = session.control()
    waiting = Round(before.links, local, time.monotonic())
    ended = threading.Event()
    teller = threading.Thread(target=_tell_progress, args=(waiting, ended), daemon=True)
    if output.is_terminal():
        teller.start()
    try:
        links = control.ask(Request("wait", local, timeout_s), list[LinkStatus])
        return Waited(links, waiting.summary(links, time.monotonic()))
    finally:
        ended.set()
        if teller.is_alive():
            teller.join(1.0)


def _tell_progress(waiting: Round, ended: threading.Event) -> None:
    """Keep a line of progress on the terminal until `ended`; what is over at once shows none."""
    control = session.control()
    with output.live_bar() as show:
        while not ended.wait(_WATCH_EVERY_S):
            try:
                links = session.daemon_status(control).links
            except Fault:
                return  # The wait itself tells what is wrong.
            seen = waiting.glimpse(links, time.monotonic())
            show(seen.what, seen.part, seen.told)


def pause() -> None:
    """Stop syncing until `satchel resume`; edits wait."""
    _tell("pause")
    output.say("Paused. Go on with: satchel resume")


def resume() -> None:
    """Go on after `satchel pause`, and try again what was halted."""
    _tell("resume")
    output.say("Syncing.")


def _tell(what: str) -> None:
    daemon.ensure_daemon()
    session.control().ask(Request(what), object)


@held.callback()
def _held(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_held()


@held.command("list")
def list_held() -> None:
    """Show everything that waits, and why."""
    daemon.ensure_daemon()
    found = session.control().ask(Request("held"), list[tuple[str, list[HeldItem]]])
    rows = [
        (item.path or "(whole folder)", item.code, item.reason, _when(item).strip(" ()"))
        for _, items in found
        for item in items
    ]
    shown = [{"local": local, "items": items} for local, items in found]
    output.give(shown, text=lambda: output.table(("PATH", "CODE", "WHY", "NEXT TRY"), rows) or "Nothing is held.")


@held.command()
def allow(local: Annotated[str, typer.Argument(help="A linked folder; all when left out.")] = "") -> None:
    """Let the held deletions go on."""
    _settle("allow_held", local, "deletions go on")


@held.command()
def undo(local: Annotated[str, typer.Argument(help="A linked folder; all when left out.")] = "") -> None:
    """Take the held deletions back: the files return."""
    _settle("undo_held", local, "files come back")


def _settle(what: str, local: str, told: str) -> None:
    folder = _link_holding(local)
    daemon.ensure_daemon()
    count = session.control().ask(Request(what, folder), int)
    output.give({"count": count}, text="" if output.mode.quiet else f"{count} {told}.")


def _link_holding(path: str) -> str:
    """Return the linked folder that holds a local path, "" for none given. Raises: NotLinked."""
    if not path:
        return ""
    found = session.links().holding(path)
    if found is None:
        raise NotLinked(f"{path} lies in no linked folder.", path=path)
    return found[0].local
