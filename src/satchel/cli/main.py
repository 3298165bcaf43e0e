"""The program `satchel`: finds the command, prints its result or its one-line error, gives its exit code.

Invariant: a Fault never shows a traceback, and nothing is imported before a command needs it: neither what is heavy
(aiohttp, rich, the server) nor the files of other commands. Source: docs/use/commands.md.
"""

from __future__ import annotations

import errno
import importlib
import sys

import typer

from satchel import __version__
from satchel.cli import exit_codes, output
from satchel.cli.settings import is_color_wanted
from satchel.core.errors import Fault, FileUnreadable, StorageFull

EPILOG = "Everywhere: --json for programs, --quiet for nothing but errors. Exit codes: docs/use/commands.md."

FILES: dict[str, tuple[str, ...]] = {
    "up": ("up",),
    "serving": ("serve", "admin"),
    "account": ("login", "logout", "whoami", "devices"),
    "links": ("link", "unlink"),
    "daemon": ("daemon",),
    "sync": ("status", "sync", "pause", "resume", "held"),
    "opening": ("open",),
    "exclude": ("exclude",),
    "conflicts": ("conflicts", "undo"),
    "explain": ("explain", "activity"),
    "limit": ("limit",),
    "verify": ("verify",),
    "files": ("ls", "cat", "mv", "rm", "mkdir"),
    "copies": ("cp", "find", "diff"),
    "searching": ("search",),
    "transfers": ("put", "get"),
    "carrying": ("export", "import"),
    "shares": ("share",),
    "history": ("versions", "restore", "trash"),
    "rewind": ("rewind", "rewinds"),
    "config": ("config",),
    "doctor": ("doctor",),
    "report": ("report",),
    "sim": ("sim",),
    "completion": ("completion",),
}
"""The files of this package and the commands in each, in the order of --help."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def program(first: str = "") -> typer.Typer:
    """Return the program as far as a line that begins with the command `first` needs it; whole for any other word."""
    app = typer.Typer(
        name="satchel",
        help="Keep a folder the same on all your devices, with every earlier state of it, on a server of your own.",
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name in [file for file, words in FILES.items() if first in words] or FILES:
        importlib.import_module(f"satchel.cli.{name}").register(app)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        output.give({"version": __version__}, text=f"satchel {__version__}")
        raise typer.Exit(exit_codes.OK)


def _options(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
    json: bool = typer.Option(False, "--json", help="Print JSON, one value (anywhere on the line)."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print nothing but results and errors (anywhere)."),
) -> None:
    """See the module; json and quiet are taken off the line before it is parsed and stand here for --help."""


def run() -> None:
    """Entry point of the console script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    rest = _take_modes(arguments)
    for stream in (sys.stdout, sys.stderr):
        # A file's name may hold what the terminal's encoding cannot.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # both are text streams at start
    try:
        program(_first_word(rest))(args=rest, prog_name="satchel")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else exit_codes.FAILED
    except Fault as fault:
        output.complain(fault)
        return exit_codes.of_fault(fault)
    except BaseExceptionGroup as group:
        return _ended_by(group)
    except OSError as error:
        output.complain(_fault_of(error))
        return exit_codes.of_fault(_fault_of(error))
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    return exit_codes.OK


def _first_word(line: list[str]) -> str:
    return next((word for word in line if not word.startswith("-")), "")


def _ended_by(group: BaseExceptionGroup[BaseException]) -> int:
    """Tell the first fault of a task group; anything else is our own mistake and is shown whole."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, OSError):
        first = _fault_of(first)
    if not isinstance(first, Fault):
        raise group
    output.complain(first)
    return exit_codes.of_fault(first)


def _fault_of(error: OSError) -> Fault:
    path = error.filename if isinstance(error.filename, str) else ""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return StorageFull("The disk is full.", where=path, reason=reason)
    return FileUnreadable(f"{path or 'A file'}: {reason}.", path=path, reason=reason)


def _take_modes(arguments: list[str]) -> list[str]:
    """Set the mode from the options that stand anywhere before `--`, and return the rest of the line."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    mine, rest = arguments[:end], arguments[end:]
    output.mode.json = "--json" in mine
    output.mode.quiet = "--quiet" in mine or "-q" in mine
    output.mode.color = is_color_wanted()
    return [word for word in mine if word not in ("--json", "--quiet", "-q")] + rest


if __name__ == "__main__":
    run()
