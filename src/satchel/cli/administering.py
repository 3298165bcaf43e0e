"""How a command of the administration reaches the store. Invariant: a running server does it, through its socket."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from satchel.cli import output

if TYPE_CHECKING:
    from satchel.server.settings import Settings

Data = Annotated[str | None, typer.Option("--data", help="The server's data folder.")]
Config = Annotated[str | None, typer.Option("--config", help="The server's settings file.")]


def server_settings(flags: dict[str, object], config: str | None = None) -> Settings:
    """Return the server's settings. Raises: SettingInvalid."""
    from satchel.server.settings import load_settings

    return load_settings({name: value for name, value in flags.items() if value is not None}, config=config)


def administer(settings: Settings, command: str, arguments: dict[str, object]) -> object:
    """Run one command of the server's administration, beside it or without it. Raises: Fault."""
    import asyncio

    from satchel.server.admin import run_admin

    with output.live_bar() as show:

        def progress(what: str, done: int) -> None:
            if what and output.is_terminal():
                show(what.capitalize(), None, output.size_text(done) if what == "bytes" else f"{done:,}")

        with _logs_apart():
            return asyncio.run(run_admin(settings, command, arguments, progress))


@contextlib.contextmanager
def _logs_apart() -> Iterator[None]:
    """Keep the store's logs off the results: warnings go to standard error, the rest nowhere."""
    import structlog

    def serious(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if method in ("debug", "info"):
            raise structlog.DropEvent
        return event

    before = structlog.get_config()
    structlog.configure(
        processors=[serious, structlog.processors.add_log_level, structlog.dev.ConsoleRenderer(colors=False)],
        logger_factory=lambda *_names: structlog.PrintLogger(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)
