"""`satchel report`: a bundle for bug reports.

Invariant: it holds no token, no file's content and no file's name: names are replaced by the same short word each
time, so that two lines about one file can be told to be about one.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from satchel import __version__
from satchel.cli import output, session
from satchel.core.errors import AlreadyExists, Fault

LOG_BYTES_MAX = 1024 * 1024
EVENTS_MAX = 500
_SECRET = re.compile(r"(?i)(authorization|token|password|secret|cookie|bearer)([\"'=: ]+)(?:bearer\s+)?[^\s\"',}]+")
_NAMED = re.compile(r"(\"(?:path|name|local|remote|file|folder|account|user)\": ?\")((?:[^\"\\]|\\.)*)")
_LONG = re.compile(r"[A-Za-z0-9_-]{40,}")
_ADDRESS = re.compile(r"https?://[^\s\"']+")


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(report)


def report(
    file: Annotated[str, typer.Argument(help="The zip file to write; it must not exist.")] = "satchel-report.zip",
) -> None:
    """Write a bundle for a bug report: versions, state, counts, the log's end. No secrets, no names of files."""
    target = Path(file)
    hidden = Redaction()
    parts = dict(_parts(hidden))
    try:
        with open(target, "xb") as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as bundle:
            for name, text in parts.items():
                bundle.writestr(name, text)
    except FileExistsError as error:
        raise AlreadyExists(f"{file} exists.", what="file", name=file) from error
    os.chmod(target, 0o600)
    told = f"{target} holds {', '.join(parts)}. Look through it before you send it."
    output.give({"file": str(target), "parts": list(parts)}, text=told)


class Redaction:
    """Replaces what is private. The words are made with a key that is thrown away, so no name can be guessed back."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)

    def name(self, name: str) -> str:
        """Return the word that stands for a name."""
        return f"<{hashlib.blake2b(name.encode(errors='surrogateescape'), key=self._key, digest_size=4).hexdigest()}>"

    def path(self, path: str) -> str:
        """Return a path with each name replaced."""
        return "/".join(self.name(name) if name else "" for name in path.split("/"))

    def text(self, text: str) -> str:
        """Return a line of the log without secrets, addresses and paths."""
        text = _SECRET.sub(r"\1\2<secret>", text)
        text = _ADDRESS.sub("<address>", text)
        text = _NAMED.sub(lambda found: found[1] + self.path(found[2]), text)
        text = _LONG.sub("<long>", text)
        return re.sub(r"(?<![\w<])/[^\s\"',]+", lambda found: self.path(found[0]), text)


def _parts(hidden: Redaction) -> Iterator[tuple[str, str]]:
    yield "versions.txt", f"satchel {__version__}\npython {sys.version}\n{platform.platform()}\n"
    for name, make in (("status.json", _status), ("activity.json", _activity), ("log.txt", _log)):
        yield name, _made(make, hidden)


def _made(make: Callable[[Redaction], str], hidden: Redaction) -> str:
    try:
        return make(hidden)
    except (Fault, OSError) as error:
        return hidden.text(f"not to be had: {error}")


def _status(hidden: Redaction) -> str:
    told = session.daemon_status(session.control())
    links = []
    for link in told.links:
        items = [
            {"path": hidden.path(item.path), "code": item.code, "needs_consent": item.needs_consent}
            for item in link.held_items
        ]
        with_counts = {name: getattr(link, name) for name in ("state", "to_upload", "to_download", "held")}
        links.append({"link": link.link_id[-8:], **with_counts, "held_items": items, "degraded": bool(link.degraded)})
    return _json({"version": told.version, "started_ms": told.started_ms, "links": links})


def _activity(hidden: Redaction) -> str:
    found = []
    for link in session.links().every():
        with session.view(link) as view:
            files, size = view.file_count()
            rows = view.activity.newest(EVENTS_MAX)
            dirty = view.dirty_count()
        events = [(row.at_ms, row.run, row.act.what.name, row.act.rule, hidden.path(row.act.path)) for row in rows]
        found.append({"link": link.link_id.hex()[-8:], "files": files, "bytes": size, "dirty": dirty, "events": events})
    return _json(found)


def _log(hidden: Redaction) -> str:
    with open(session.home() / "daemon.log", "rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_BYTES_MAX))
        return hidden.text(log.read().decode(errors="replace"))


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=1).decode()
