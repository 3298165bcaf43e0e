"""`satchel admin audit`: what was done about rights and secrets. Invariant: a log that does not verify decides the exit
code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from satchel.cli import output
from satchel.cli.administering import Config, Data, administer, server_settings
from satchel.core.errors import Fault

if TYPE_CHECKING:
    from satchel.server.settings import Settings


def register(admin: typer.Typer) -> None:
    """Add the command of this file."""
    # The whole program may be put together more than once in a process.
    if not any(command.callback is audit for command in admin.registered_commands):
        admin.command()(audit)


def audit(
    verify: Annotated[bool, typer.Option("--verify", help="Look whether a row was changed or removed.")] = False,
    user: Annotated[str, typer.Option("--user", help="Of this account alone.")] = "",
    store: Annotated[bool, typer.Option("--store", help="Of what belongs to no account alone.")] = False,
    before: Annotated[int, typer.Option("--before", help="Rows before this one; with --user or --store.")] = 0,
    data: Data = None,
    config: Config = None,
) -> None:
    """Show the newest rows of the audit log, or verify all of it."""
    settings = server_settings({"data": data}, config)
    if not verify:
        arguments: dict[str, object] = {"user": user, "is_store": store, "before": before}
        rows = administer(settings, "audit", arguments)
        assert isinstance(rows, list)
        output.give(rows, text=lambda: _rows_text(rows))
        return
    told = _verified(settings)
    output.give(told, text=lambda: _verified_text(told))
    if told["problems"]:
        raise Fault("The audit log is not what was written; see what was found above.")


def _verified(settings: Settings) -> dict[str, Any]:
    """Verify part by part, so that no single question takes long."""
    found: dict[str, Any] = {"rows": 0, "chains": 0, "problems": [], "ends": []}
    place: dict[str, object] | None = {}
    while place is not None:
        told = administer(settings, "audit.verify", place)
        assert isinstance(told, dict)
        found["rows"] += told["rows"]
        found["chains"] += told["chains"]
        found["problems"] += told["problems"]
        found["ends"] = told["ends"]
        place = told["after"]
    return {**found, "is_clean": not found["problems"]}


def _rows_text(rows: list[dict[str, Any]]) -> str:
    shown = [
        (
            output.time_text(row["at_ms"]),
            row["account"] or "(store)",
            row["action"],
            row["actor"],
            row["address"],
            " ".join(f"{name}={value}" for name, value in row["detail"].items()),
            str(row["seq"]),
        )
        for row in rows
    ]
    return output.table(("WHEN", "ACCOUNT", "WHAT", "BY", "FROM", "", "ROW"), shown, right=(6,)) or "Nothing yet."


def _verified_text(told: dict[str, Any]) -> str:
    if told["is_clean"]:
        return f"All in order ({told['rows']:,} rows of {told['chains']:,} chains)."
    rows = [(problem["chain"], str(problem["seq"]), problem["what"]) for problem in told["problems"]]
    return output.table(("CHAIN", "ROW", "WHAT"), rows, right=(1,))
