"""`satchel admin gc|fsck|stats`. Invariant: what is wrong is said in words, and decides the exit code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from satchel.cli import output
from satchel.cli.administering import Config, Data, administer, server_settings
from satchel.core.errors import Fault


def register(admin: typer.Typer) -> None:
    """Add the commands of this file."""
    # The whole program may be put together more than once in a process.
    if not any(command.callback is gc for command in admin.registered_commands):
        for command in (gc, fsck, stats):
            admin.command()(command)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would go; change nothing.")] = False,
    go_on: Annotated[bool, typer.Option("--go-on", help="Condemn as much as is found, past the brake.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Collect blocks that nobody has used for two days; the server does so by itself."""
    told = _told(administer(server_settings({"data": data}, config), "gc", {"dry_run": dry_run, "go_on": go_on}))
    output.give(told, text=lambda: _gc_text(told))
    if told["alarm"]:
        raise Fault(f"Nothing was condemned or removed: {told['alarm']}.")


def fsck(
    deep: Annotated[bool, typer.Option("--deep", help="Read every stored block too.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Put counters right; contents are never touched.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Count everything that is stored again, and compare."""
    told = _told(administer(server_settings({"data": data}, config), "fsck", {"deep": deep, "repair": repair}))
    output.give(told, text=lambda: _fsck_text(told))
    if not told["is_clean"]:
        raise Fault("The store is not in order; see what was found above.")


def stats(data: Data = None, config: Config = None) -> None:
    """Show what the store holds."""
    told = _told(administer(server_settings({"data": data}, config), "stats", {}))
    output.give(told, text=lambda: _stats_text(told))


def _told(told: object) -> Mapping[str, object]:
    assert isinstance(told, dict)
    return told


def _number(told: Mapping[str, object], name: str) -> int:
    return int(str(told[name]))


def _counted(told: Mapping[str, object], blocks: str, size: str) -> str:
    return f"{_number(told, blocks):,} ({output.size_text(_number(told, size))})"


def _gc_text(told: Mapping[str, object]) -> str:
    would = "would be " if told["dry_run"] else ""
    return output.table(
        ("GARBAGE", ""),
        [
            (f"rights {would}ended", f"{_number(told, 'rights_dropped'):,}"),
            (f"blocks {would}condemned", _counted(told, "blocks_condemned", "bytes_condemned")),
            (f"blocks {would}removed", _counted(told, "blocks_removed", "bytes_removed")),
            (f"packs {would}deleted", f"{_number(told, 'packs_deleted'):,}"),
            ("condemned, still waiting", output.size_text(_number(told, "waiting_bytes"))),
        ],
        right=(1,),
    )


def _fsck_text(told: Mapping[str, object]) -> str:
    found, repaired, kinds = told["found"], told["repaired"], told["kinds"]
    assert isinstance(found, dict) and isinstance(repaired, dict) and isinstance(kinds, dict)
    rows = [(str(count), str(repaired.get(kind, 0)), str(kinds[kind])) for kind, count in sorted(found.items())]
    if isinstance(read := told["scrub"], dict) and read["damaged"]:
        rows.append((str(read["damaged"]), "0", "a stored block is damaged; it heals when a device sends it again"))
    seen = f"namespaces: {_number(told, 'namespaces'):,}, blocks: {_number(told, 'blocks'):,}"
    if not rows:
        return f"All in order ({seen})."
    return output.table(("FOUND", "REPAIRED", "WHAT"), rows, right=(0, 1)) + f"\nCounted {seen}."


def _stats_text(told: Mapping[str, object]) -> str:
    alarms = [str(told[name]) for name in ("alarm", "scrub_alarm") if told[name]]
    rows = [
        ("files", _counted(told, "files", "file_bytes")),
        ("versions", _counted(told, "versions", "logical_bytes")),
        ("blocks", _counted(told, "blocks", "stored_bytes")),
        ("versions to stored bytes", f"{told['dedup_ratio']}"),
        ("packs", f"{_number(told, 'packs'):,}"),
        ("packs that leave soon", _counted(told, "packs_waiting", "packs_waiting_bytes")),
        ("garbage waiting", _counted(told, "garbage_blocks", "garbage_bytes")),
        ("damaged blocks", f"{_number(told, 'damaged_blocks'):,}"),
    ]
    return "\n".join([output.table(("STORE", ""), rows, right=(1,)), *(f"Alarm: {alarm}" for alarm in alarms)])
