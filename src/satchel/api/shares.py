"""The REST routes of shared folders, typed. Source: docs/protocol/rest.md."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec

from satchel.device.api import Api


class Person(msgspec.Struct, frozen=True):
    """Somebody who takes part. role: owner, editor, viewer; state: invited, accepted, declined."""

    account_id: str
    user: str
    role: str
    state: str
    changed_ms: int


class Share(msgspec.Struct, frozen=True):
    """A shared folder. id: its namespace; path: where it is mounted; role: one's own; members: where asked for."""

    id: str
    path: str
    role: str
    owner: str
    used_bytes: int
    created_ms: int
    members: list[Person] = []


class Invitation(msgspec.Struct, frozen=True):
    """An invitation that waits for an answer. name: what the folder was called then."""

    id: str
    name: str
    role: str
    invited_by: str
    created_ms: int


class _Shares(msgspec.Struct, frozen=True):
    items: list[Share]
    after: str = ""


class _Invitations(msgspec.Struct, frozen=True):
    items: list[Invitation]
    after: str = ""


class ShareCalls(Api):
    """The service's REST interface, with shared folders."""

    async def share(self, path: str, people: Sequence[tuple[str, str]]) -> Share:
        """Share a folder with people, by name and role. Raises: NotFound, ShareRefused, LimitExceeded."""
        invited = [{"user": user, "role": role} for user, role in people]
        return await self._ask("POST", "/api/v1/shares", Share, body={"path": path, "with": invited})

    async def shares(self) -> AsyncIterator[Share]:
        """Yield the shared folders that one takes part in, without their people."""
        after, has_more = "", True
        while has_more:
            page = await self._ask("GET", "/api/v1/shares", _Shares, {"after": after})
            for one in page.items:
                yield one
            after, has_more = page.after, bool(page.after)

    async def share_of(self, share_id: str) -> Share:
        """Return a shared folder with its people. Raises: NotFound."""
        return await self._ask("GET", f"/api/v1/shares/{share_id}", Share)

    async def invitations(self) -> AsyncIterator[Invitation]:
        """Yield the invitations that wait for an answer."""
        after, has_more = "", True
        while has_more:
            page = await self._ask("GET", "/api/v1/share-invitations", _Invitations, {"after": after})
            for one in page.items:
                yield one
            after, has_more = page.after, bool(page.after)

    async def accept(self, share_id: str) -> Share:
        """Take an invitation up. Raises: NotFound, AlreadyExists."""
        return await self._ask("POST", f"/api/v1/share-invitations/{share_id}/accept", Share)

    async def decline(self, share_id: str) -> None:
        """Turn an invitation down. Raises: NotFound."""
        await self._tell("POST", f"/api/v1/share-invitations/{share_id}/decline")

    async def leave_share(self, share_id: str) -> None:
        """End one's own part. Raises: NotFound, ShareRefused."""
        await self._tell("POST", f"/api/v1/shares/{share_id}/leave")

    async def stop_share(self, share_id: str) -> None:
        """End the parts of all others. Raises: NotFound."""
        await self._tell("DELETE", f"/api/v1/shares/{share_id}")

    async def remove_person(self, share_id: str, account_id: str) -> None:
        """End somebody's part. Raises: NotFound, ShareRefused."""
        await self._tell("DELETE", f"/api/v1/shares/{share_id}/members/{account_id}")

    async def change_role(self, share_id: str, account_id: str, role: str) -> None:
        """Give somebody another role. Raises: NotFound, ShareRefused."""
        await self._tell("PATCH", f"/api/v1/shares/{share_id}/members/{account_id}", body={"role": role})

    async def hand_over(self, share_id: str, account_id: str) -> None:
        """Make somebody the owner. Raises: NotFound, ShareRefused, QuotaExceeded."""
        await self._tell("POST", f"/api/v1/shares/{share_id}/transfer", body={"account_id": account_id})
