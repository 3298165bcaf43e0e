"""People whose files are taken out of a service and into another: signed-in accounts, asked without a program."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from satchel.api import Client
from satchel.device.api import Api
from satchel.device.carrying.attributes import attributes_of
from satchel.device.carrying.exporting import Exported, export
from satchel.device.carrying.importing import Existing, Imported, Importer
from satchel.device.carrying.sources import ExportSource, FolderSource, Source
from satchel.device.clock import MachineClock
from satchel.device.remote import HttpRemote
from tests.support.server import RunningServer, Session

T = TypeVar("T")
NOW_MS = 1_764_400_000_000


@dataclass(frozen=True, slots=True)
class Person:
    """An account of a running server."""

    name: str
    session: Session

    def api(self, work: Callable[[Api], Coroutine[object, object, T]]) -> T:
        async def run() -> T:
            async with Api(self.session.url, self.session.token) as api:
                return await work(api)

        return asyncio.run(run())

    def export(self, target: Path, *, with_versions: bool = False, is_portable: bool = False) -> Exported:
        async def run() -> Exported:
            remote = HttpRemote(self.session.url, self.session.token, clock=MachineClock())
            try:
                async with Client(self.session.url, self.session.token) as api:
                    return await export(
                        api,
                        target,
                        now_ms=NOW_MS,
                        with_versions=with_versions,
                        is_portable=is_portable,
                        attributes=await attributes_of(remote),
                        links=[link async for link in api.links()],
                    )
            finally:
                await remote.close()

        return asyncio.run(run())

    def take(self, source: Source, to: str = "/", *, existing: Existing = "copy", is_dry: bool = False) -> Imported:
        return self.run(lambda: self.importing(source, to, existing=existing, is_dry=is_dry))

    async def importing(
        self, source: Source, to: str, *, existing: Existing = "copy", is_dry: bool = False
    ) -> Imported:
        clock = MachineClock()
        remote = HttpRemote(self.session.url, self.session.token, clock=clock)
        try:
            async with Api(self.session.url, self.session.token) as api:
                return await Importer(api, remote, clock, existing=existing, is_dry=is_dry).run(source, to)
        finally:
            await remote.close()

    def run(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        return asyncio.run(work())

    def take_folder(self, top: Path, to: str = "/", *, existing: Existing = "copy", is_dry: bool = False) -> Imported:
        return self.take(FolderSource(top), to, existing=existing, is_dry=is_dry)

    def take_export(self, top: Path, to: str = "/", *, existing: Existing = "copy") -> Imported:
        return self.take(ExportSource(top), to, existing=existing)

    def put(self, path: str, data: bytes) -> None:
        answer = self.session.ask("PUT", "/api/v1/content", data, path=path)
        assert answer.status == 200, answer.body

    def get(self, path: str, rev: int = 0) -> bytes:
        answer = self.session.ask("GET", "/api/v1/content", path=path, **({"rev": rev} if rev else {}))
        assert answer.status == 200, answer.body
        return answer.body

    def names(self, path: str = "/") -> list[str]:
        answer = self.session.ask("GET", "/api/v1/files", path=path)
        assert answer.status == 200, answer.body
        return [item["name"] for item in answer.json()["items"]]

    def entry(self, path: str) -> dict[str, object]:
        answer = self.session.ask("GET", "/api/v1/entry", path=path)
        assert answer.status == 200, answer.body
        return answer.json()

    def contents(self, path: str) -> list[bytes]:
        """Return what a file held, its oldest version first."""
        found = self.session.ask("GET", "/api/v1/versions", path=path).json()["versions"]
        return [self.get(path, version["rev"]) for version in reversed(found)]


def person(server: RunningServer, name: str, *, quota_bytes: int | None = None) -> Person:
    """Make an account and sign it in."""
    return Person(name, server.add_user(name, quota_bytes=quota_bytes).sign_in("laptop"))


def share(owner: Person, path: str, other: Person, role: str = "viewer") -> None:
    """Make a folder a shared one that somebody has accepted."""
    told = {"path": path, "with": [{"user": other.name, "role": role}]}
    made = owner.session.ask("POST", "/api/v1/shares", told)
    assert made.status in (200, 201), made.body
    route = f"/api/v1/share-invitations/{made.json()['id']}/accept"
    assert other.session.ask("POST", route).status in (200, 201, 204)


def shape(top: Path) -> dict[str, tuple[object, ...]]:
    """Return what a folder of this machine holds: kinds, bytes, times and executable bits by path."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(top):
        for name in [*folders, *files]:
            path = Path(folder, name)
            told = str(path.relative_to(top))
            if path.is_symlink():
                found[told] = ("symlink", os.readlink(path))
            elif path.is_dir():
                found[told] = ("folder",)
            else:
                status = path.stat()
                found[told] = ("file", path.read_bytes(), status.st_mtime_ns, bool(status.st_mode & 0o100))
    return found
