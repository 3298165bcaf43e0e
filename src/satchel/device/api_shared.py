"""The shared folders that an account takes part in, over REST, typed, for the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from satchel.core.errors import NotFound
from satchel.device.api import Api


class SharedFolder(msgspec.Struct, frozen=True):
    """A shared folder. path: where it stands; role: one's own, owner, editor or viewer."""

    path: str
    role: str


class _SharedFolders(msgspec.Struct, frozen=True):
    items: list[SharedFolder]
    after: str = ""


async def shared_folders(api: Api) -> AsyncIterator[SharedFolder]:
    """Yield the shared folders that one takes part in."""
    after, has_more = "", True
    while has_more:
        page = await api.ask("GET", "/api/v1/shares", _SharedFolders, {"after": after})
        for one in page.items:
            yield one
        after, has_more = page.after, bool(page.after)


async def shared_at(api: Api, path: str) -> SharedFolder:
    """Return the shared folder that stands at a path. Raises: NotFound."""
    async for one in shared_folders(api):
        if one.path == path:
            return one
    raise NotFound(f"No shared folder stands at {path}.", path=path)


async def shared_around(api: Api, path: str) -> str:
    """Return the path of the shared folder that a path leads into, empty for none."""
    return max([one.path async for one in shared_folders(api) if path.startswith(f"{one.path}/")], key=len, default="")
