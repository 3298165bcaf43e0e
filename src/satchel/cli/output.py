"""Everything the command line prints. Invariant: with --json stdout holds JSON alone; errors go to stderr in one line:
what, why, what to do. No secret is ever printed except one that was just made and is said to be shown once.

rich is imported only where a table or a bar is drawn on a terminal, so that plain commands start fast.
"""

from __future__ import annotations

import contextlib
import datetime
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from satchel.core.errors import Fault

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_BAR_AFTER_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class Mode:
    """How this run prints; set once from the arguments."""

    json: bool = False
    quiet: bool = False
    color: bool = True


mode = Mode()


def is_terminal() -> bool:
    """Tell whether a person reads stderr, where bars and questions go."""
    return sys.stderr.isatty() and not mode.quiet and not mode.json


def say(text: str) -> None:
    """Print a line for people; nothing with --json or --quiet."""
    if not (mode.json or mode.quiet):
        print(printable(text), flush=True)


def note(text: str) -> None:
    """Print a line for people to stderr; nothing with --quiet."""
    if not mode.quiet:
        print(printable(text), file=sys.stderr, flush=True)


def give(value: object, *, text: Callable[[], str] | str = "") -> None:
    """Print a result: JSON with --json, else `text` (even with --quiet: it is what was asked for)."""
    if mode.json:
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    else:
        told = text if isinstance(text, str) else text()
        if told:
            print(printable(told))
    sys.stdout.flush()


def complain(fault: Fault) -> None:
    """Print a fault in one line: what, why, what to do; with --json as the REST interface would."""
    if mode.json:
        fields = {key: str(value) for key, value in fault.fields.items()}
        body = {"code": fault.code, "message": fault.message, "hint": fault.hint, "fields": fields}
        sys.stderr.write(msgspec.json.encode({"error": body}).decode() + "\n")
        return
    reason = fault.fields.get("reason")
    why = f" ({reason})" if reason and str(reason) not in fault.message else ""
    print(printable(f"satchel: {fault.message.rstrip('.')}{why}. {fault.hint}".strip()), file=sys.stderr)


def printable(text: str) -> str:
    """Return the text without anything that could steer a terminal: names come from other devices."""
    return "".join(char if char in "\n\t" or char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def size_text(size_bytes: int) -> str:
    """Return a size for people: 0 B, 1.0 KiB, 23 MiB."""
    size = float(size_bytes)
    for unit in UNITS:
        if size < 1024 or unit == UNITS[-1]:
            break
        size /= 1024
    return f"{size:.1f} {unit}" if size < 10 and unit != "B" else f"{size:.0f} {unit}"


def rate_text(bytes_per_s: int | None) -> str:
    """Return a limit for people: 500 KiB/s, or off."""
    return f"{size_text(bytes_per_s)}/s" if bytes_per_s else "off"


def time_text(unix_ms: int) -> str:
    """Return a time in the local zone, to the second."""
    if not unix_ms:
        return "never"
    return datetime.datetime.fromtimestamp(unix_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration_text(seconds: float) -> str:
    """Return how long something took: 0.4 s, 12 s, 3 min 5 s, 2 h 7 min."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Return rows in columns. right: indices of the columns that stand to the right (numbers)."""
    if not rows:
        return ""
    shown = [tuple(head), *rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(head))]
    lines = []
    for row in shown:
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


@contextlib.contextmanager
def progress(what: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """Give a function that is told how many more bytes are done; draws a bar on a terminal for what takes long."""
    if not is_terminal() or total_bytes < _BAR_AFTER_BYTES:
        yield lambda _more: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True, no_color=not mode.color)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(printable(what), total=total_bytes)
        yield lambda more: bar.advance(task, more)


@contextlib.contextmanager
def live_bar() -> Iterator[Callable[[str, float | None, str], None]]:
    """Give a function that shows (word, part done or None, the rest of the line) as the one live line of the terminal.

    The line goes when the block ends. Nothing is shown where there is no terminal, nor before the first call.
    """
    with contextlib.ExitStack() as drawn:
        bar: _Line | None = None

        def show(word: str, part: float | None, told: str) -> None:
            nonlocal bar
            bar = bar or drawn.enter_context(_line())
            bar(word, part, told)

        yield show if is_terminal() else lambda _word, _part, _told: None


_Line = Callable[[str, float | None, str], None]


@contextlib.contextmanager
def _line() -> Iterator[_Line]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    cut = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[told]}", markup=False, table_column=cut),
    )
    console = Console(stderr=True, no_color=not mode.color)
    with Progress(*columns, console=console, transient=True, expand=True) as bar:

        def show(word: str, part: float | None, told: str) -> None:
            total = None if part is None else 1.0
            if bar.task_ids:
                bar.update(bar.task_ids[0], description=word, total=total, completed=part or 0.0, told=printable(told))
            else:
                # Made with what it shows: a line that is still empty would flash up before.
                task = bar.add_task(word, total=total, told=printable(told))
                bar.update(task, completed=part or 0.0)

        yield show


def redraw(text: str) -> None:
    """Print a result over the one before it, on a terminal; as another result below it, elsewhere."""
    if not sys.stdout.isatty():
        print(printable(text), flush=True)
        return
    # Line by line over the old ones: a screen that is wiped first flickers.
    lines = "".join(f"{line}\x1b[K\n" for line in printable(text).split("\n"))
    sys.stdout.write(f"\x1b[H{lines}\x1b[J")
    sys.stdout.flush()


def ask_yes(question: str) -> bool:
    """Ask on the terminal; False where nobody can answer."""
    if not (sys.stdin.isatty() and is_terminal()):
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def read_password(*, from_stdin: bool, prompt: str = "Password: ") -> str:
    """Return a password from the first line of stdin or from a prompt that does not show it. Raises: Fault."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise Fault("No terminal to ask for the password on: use --password-stdin.")
    import getpass

    return getpass.getpass(prompt)
