"""`satchel daemon start|stop|run`. Invariant: `start` returns once the daemon answers, `stop` once it is gone."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time

import typer

from satchel.cli import output, session
from satchel.core.errors import DaemonNotRunning, Fault, Unavailable
from satchel.device.control import Request
from satchel.device.status import DaemonStatus

START_S_MAX = 20.0
STOP_S_MAX = 15.0
_LOOK_AGAIN_S = 0.02

group = typer.Typer(help="Start and stop the process that keeps the linked folders in sync.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(group, name="daemon")


@group.command()
def start() -> None:
    """Start the daemon in the background, if it does not run yet."""
    pid = ensure_daemon().pid
    output.give({"pid": pid}, text="" if output.mode.quiet else f"The daemon runs (process {pid}).")


@group.command()
def stop() -> None:
    """End the daemon; edits made meanwhile are found at its next start."""
    pid = stop_daemon()
    output.give({"pid": pid}, text="" if output.mode.quiet else "The daemon has stopped.")


@group.command()
def run() -> None:
    """Run the daemon here, with its log on the terminal, until Ctrl-C."""
    from satchel.device.daemon import run_daemon

    raise typer.Exit(run_daemon(session.settings(), to_terminal=True))


def ensure_daemon() -> DaemonStatus:
    """Start the daemon if none answers, and return its status. Raises: NotSignedIn, Fault with the log's place."""
    home = session.home()
    control = session.control()
    try:
        return session.daemon_status(control)
    except DaemonNotRunning:
        session.credentials()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Detached from the terminal and its session, so that closing the window does not end it.
    child = subprocess.Popen(
        [sys.executable, "-m", "satchel.device.daemon"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=home,
        start_new_session=True,
    )
    until = time.monotonic() + START_S_MAX
    while time.monotonic() < until:
        try:
            return session.daemon_status(control)
        except (DaemonNotRunning, Unavailable):
            if child.poll() is not None:
                break
        time.sleep(_LOOK_AGAIN_S)
    raise Fault(f"The daemon does not start. Its log tells why: {home / 'daemon.log'}", log=str(home / "daemon.log"))


def stop_daemon() -> int:
    """End the daemon and return the pid that it had. Raises: DaemonNotRunning, Fault when it does not end in time."""
    control = session.control()
    pid = session.daemon_status(control).pid
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return pid
    try:
        control.ask(Request("stop"), object)
        ended, _, _ = select.select([process], [], [], STOP_S_MAX)
    finally:
        os.close(process)
    if not ended:
        raise Fault(f"The daemon (process {pid}) does not end.", pid=pid)
    return pid
