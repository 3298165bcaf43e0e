"""What the description of REST says beside the code: what each parameter means, examples, faults by route.

Invariant: whatever a route takes has its words here or at the route; a test reads the whole description.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from satchel.core import errors
from satchel.core.errors import Fault

_ID = "018f2d5a6c7e7a10b2c3d4e5f6a7b8c9"
_OTHER_ID = "018f2d5a6c7e7b20a1b2c3d4e5f60718"
_HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0bc22ad3c4b0f6e2f0a1b7"
_MS = 1_764_400_000_000
_TOKEN = "kJ8vQ2mXr5tYb7nW0pLs4A"  # nosec: an example


class Words(NamedTuple):
    """What a parameter means, and an example of it."""

    meaning: str
    example: object


PARAMETERS: dict[str, Words] = {
    "account_id": Words("The account's id, in hex.", _ID),
    "action": Words("Only rows of this action; empty for all.", "sign_in"),
    "after": Words("Where the page begins: `after` of the page before it; empty for the first one.", ""),
    "against": Words("The id of another file of the namespace to compare with, in hex; empty for the file itself.", ""),
    "before": Words("Where the page begins: `before` of the page before it; 0 for the newest.", 0),
    "by": Words("Whose shared folders: `me`, `others`; empty for all.", "me"),
    "content_hash": Words("The content hash that the file must get, in hex; empty for any.", ""),
    "chars": Words("How many characters at most.", 2000),
    "code": Words("What the provider gave for the sign-in.", "SplxlOBeZQQYbYS6WxSbIA"),
    "cursor": Words("The cursor of the last answer; empty for the whole tree.", ""),
    "days": Words("How many days.", 30),
    "device_id": Words("The device's id, in hex.", _ID),
    "does": Words("Only acts of this kind, as rows tell them; empty for all.", "edit"),
    "error": Words("Why the provider signed nobody in; empty when it did.", ""),
    "extension": Words("Only names that end so, several with commas; empty for all.", "pdf"),
    "first_seq": Words("Only from this entry of the journal on; 0 for all.", 0),
    "from": Words("The rev of the older version; 0 for the one before the newer.", 0),
    "group_id": Words("The group's id, in hex.", _ID),
    "grouped": Words("Whether what one device did in one minute is one row.", True),
    "id": Words("The id of a file or folder, in hex, in place of its path.", ""),
    "invitation_id": Words("The invitation's id, in hex.", _ID),
    "iss": Words("The provider that answers.", "https://login.example.org"),
    "kind": Words("Only `file`, `folder` or `symlink`; empty for all.", "file"),
    "last_seq": Words("Only up to this entry of the journal; 0 for all.", 0),
    "limit": Words("How much a page holds at most.", 100),
    "link_id": Words("The link's id, in hex.", _ID + _OTHER_ID),
    "modified_from_ms": Words("Only what was changed at this time or later, in Unix ms.", _MS),
    "modified_until_ms": Words("Only what was changed before this time, in Unix ms.", _MS),
    "mtime_ns": Words("When the content was last changed, in ns since 1970.", _MS * 1_000_000),
    "name": Words("The name of the new file.", "report.pdf"),
    "namespace": Words("The namespace that an id stands in, in hex; empty for the account's own.", ""),
    "next": Words("The page to go to afterwards, of this service.", "/device"),
    "node": Words("The id of the file, in hex.", _ID),
    "ns": Words("Only links in this namespace, in hex; empty for all.", ""),
    "only": Words("Ids of what stands in the folder, in hex, each once: only these; none for all.", [_ID]),
    "offset_min": Words("How many minutes the caller's clock is ahead of UTC.", 60),
    "parent": Words("The id of the folder, in hex; empty for the link's own.", ""),
    "page": Words("Which page; the first is 1.", 1),
    "password_id": Words("The app password's id, in hex.", _ID),
    "path": Words("A path in the account's tree; it leads through mounts of shared folders.", "/Documents/plan.txt"),
    "person": Words("Only what this account did, by its name; empty for everybody.", ""),
    "preview": Words("Whether it is to be shown in place of being saved, where its type may be.", False),
    "q": Words("The words to look for.", "plan 2026"),
    "rev": Words("The rev of an earlier version; 0 for the newest.", 0),
    "session_id": Words("The session's id, in hex.", _ID),
    "share_id": Words("The shared folder's id, in hex: that of its namespace.", _ID),
    "size": Words("`small`, `medium` or `large`.", "small"),
    "state": Words("What the sign-in was begun with.", _TOKEN),
    "timeout": Words("How many seconds to wait for a change.", 60),
    "to": Words("The rev of the newer version; 0 for the newest.", 0),
    "token": Words("The link's token, as it was told when the link was made.", _TOKEN),
    "until_ms": Words("A moment in the last of the days, in Unix ms; 0 for now.", 0),
    "whose": Words("Only what the caller owns, `me`, or what others share, `others`; empty for all.", "me"),
    "webhook_id": Words("The webhook's id, in hex.", _ID),
    "width": Words("`small`, `medium` or `large`: 800, 1,400 or 2,400 pixels.", "medium"),
    "upload_id": Words("The upload's id, in hex.", _ID),
}
"""By name: the same name means the same everywhere."""

HEADERS: dict[str, Words] = {
    "If-Match": Words("Only if the file is still at this rev: the `rev` of its entry, in quotes or without.", '"17"'),
    "If-None-Match": Words("`*`: only if nothing is there yet.", "*"),
    "If-None-Match (read)": Words("The `ETag` that is known already: the answer is 304 if it is still that.", "*"),
    "If-Range": Words("Give the range only if the content is still the one with this `ETag`.", f'"{_HASH}"'),
    "Range": Words(
        "One range of bytes: `bytes=0-99`, `bytes=100-`, `bytes=-100`. Several are answered whole.", "bytes=0-"
    ),
    "Idempotency-Key": Words(
        "A name that the caller made for this request, kept for 24 hours: asked again under it, the first answer comes"
        " again and nothing is done twice.",
        "7d0f0a52-9a31-4be5-9c61-2f2d0c1c7a11",
    ),
    "Satchel-Link-Key": Words("The key that stands for the link's password, from `unlock`.", ""),
    "Satchel-Download-Key": Words("The key of a download that was counted, to go on with it.", ""),
    "Upload-Offset": Words("At which byte this part begins: what the service has so far.", 0),
}
"""What requests carry beside their address; `(read)` is the same header of a download."""

TOLD_HEADERS: dict[str, dict[str, object]] = {
    "Idempotent-Replayed": {
        "description": "`true` when this is the answer to an earlier request with the same `Idempotency-Key`.",
        "schema": {"type": "string"},
        "example": "true",
    },
    "Upload-Length": {
        "description": "How many bytes the file is to have.",
        "schema": {"type": "integer"},
        "example": 10_485_760,
    },
    "Upload-Offset": {
        "description": "How many bytes are there, which is where the next part begins.",
        "schema": {"type": "integer"},
        "example": 3_145_728,
    },
}
"""What answers carry beside their bodies, by routes' `tells`."""

EXAMPLES: dict[str, object] = {
    "account": "ann",
    "action": "update",
    "actor": "ann",
    "address": "192.0.2.7",
    "at_ms": _MS,
    "author": "ann",
    "code": "123456",
    "content_hash": _HASH,
    "cursor": "c1.AAEC",
    "deleted_by": "ann",
    "detail": "{}",
    "device": "laptop",
    "device_code": _TOKEN,
    "device_name": "laptop",
    "day": "2026-11-22",
    "does": "edit",
    "hash": _HASH,
    "invited_by": "ann",
    "key": _TOKEN,
    "kind": "file",
    "lines": ["--- rev 16", "+++ rev 17", "@@ -1 +1 @@", "-old", "+new"],
    "name": "plan.txt",
    "new": "a longer and better one",
    "note": "for Ben",
    "old": "correct horse battery",
    "owner": "ann",
    "page": "/device",
    "parent_id": _OTHER_ID,
    "password": "correct horse battery",
    "path": "/Documents/plan.txt",
    "path_before": "/plan.txt",
    "path_now": "/Documents/plan.txt",
    "path_then": "/plan.txt",
    "permission": "view",
    "preview": "text/plain",
    "recovery_codes": ["8k2m-qv7t-x3nd"],
    "role": "editor",
    "secret": "JBSWY3DPEHPK3PXP",
    "source": "/plan.txt",
    "state": "accepted",
    "status": "ok",
    "subject": "laptop",
    "target": "/Documents/plan.txt",
    "token": _TOKEN,
    "type": "file",
    "uri": "otpauth://totp/Satchel:ann?secret=JBSWY3DPEHPK3PXP",
    "url": f"https://files.example.org/s/{_TOKEN}",
    "user": "ben",
    "what": "taken",
    "user_code": "BCDF-GHJK",
    "value": 1,
}
"""Values of fields by name, where their type alone would make a poor example."""

BY_TYPE: dict[str, Mapping[str, object]] = {
    "LinkAsked": {"path": "/report.pdf", "password": "correct horse battery", "downloads_max": 3},
    "LinkChange": {"downloads_max": 10},
    "MoveAsked": {"from": "/plan.txt", "to": "/Documents/plan.txt"},
    "PreviewAsked": {"path": "/Documents", "to_ms": _MS},
    "RestoreAsked": {"path": "/Documents/plan.txt", "rev": 16},
    "RewindAsked": {"path": "/Documents", "to_ms": _MS},
    "ShareAsked": {"path": "/Team", "with": [{"user": "ben", "role": "editor"}]},
    "TrashRestoreAsked": {"id": _ID},
    "WebhookAsked": {"url": "https://example.org/hook", "events": ["file.changed", "file.deleted"]},
    "UploadAsked": {"path": "/film.mp4", "size": 10_485_760},
}
"""Requests of which not all fields are to be filled in."""

BY_ENDING: tuple[tuple[str, object], ...] = (
    ("_ms", _MS),
    ("_ns", _MS * 1_000_000),
    ("_bytes", 1_048_576),
    ("_seq", 4711),
    ("_rev", 17),
    ("_id", _ID),
    ("_s", 60),
    ("id", _ID),
    ("ns", _ID),
    ("namespace", _ID),
    ("rev", 17),
    ("seq", 4711),
    ("size", 1_024),
    ("count", 3),
    ("hash", _HASH),
)
"""What a field's name ends with, and an example of such a value."""

TAGS: tuple[tuple[str, str, str], ...] = (
    ("/api/v1/public/", "Through a link", "For whoever holds a link's token."),
    ("/s/", "Through a link", ""),
    ("/api/v1/upload", "Uploads", "Files that come in parts and go on after a break."),
    ("/api/v1/webhooks", "Webhooks", "Other programs are told what happens."),
    ("/api/v1/links", "Links", "Links and file requests that the account made."),
    ("/api/v1/share", "Shared folders", "Folders that several accounts have."),
    ("/api/v1/sync", "Changes", "What happened since a cursor."),
    ("/sync", "Changes", ""),
    ("/api/v1/rewind", "History", "Versions, trash, rewinds, activity."),
    ("/api/v1/activity", "History", ""),
    ("/api/v1/versions", "History", ""),
    ("/api/v1/restore", "History", ""),
    ("/api/v1/diff", "History", ""),
    ("/api/v1/trash", "History", ""),
    ("/api/v1/conflicts", "History", ""),
    ("/api/v1/admin", "Administration", "For administrators."),
    ("/api/v1/invitations", "Administration", ""),
    ("/api/v1/groups", "Administration", ""),
    ("/api/v1/setup", "Administration", ""),
    ("/health", "Administration", ""),
    ("/ready", "Administration", ""),
    ("/api/v1/files", "Files and folders", "By path or by id."),
    ("/api/v1/entry", "Files and folders", ""),
    ("/api/v1/content", "Files and folders", ""),
    ("/api/v1/folders", "Files and folders", ""),
    ("/api/v1/move", "Files and folders", ""),
    ("/api/v1/delete", "Files and folders", ""),
    ("/api/v1/search", "Files and folders", ""),
    ("/api/v1/thumbnail", "Files and folders", ""),
    ("/api/v1/zip", "Files and folders", ""),
    ("/", "Account", "Signing in, devices, passwords, the audit log."),
)
"""What a route's path begins with, its group, and what the group is (said once); the first that fits counts."""

ALWAYS: tuple[type[Fault], ...] = (
    errors.MessageInvalid,
    errors.NotFound,
    errors.RequestTimedOut,
    errors.LimitExceeded,
    errors.TooManyRequests,
    Fault,
    errors.StorageFailed,
    errors.Unavailable,
)
WRITING: tuple[type[Fault], ...] = (
    errors.NameInvalid,
    errors.AlreadyExists,
    errors.PreconditionFailed,
    errors.QuotaExceeded,
    errors.StorageFull,
)
"""Of whatever changes something."""

BY_ROUTE: tuple[tuple[str, tuple[type[Fault], ...]], ...] = (
    ("/api/v1/login", (errors.Unauthenticated, errors.SecondFactorRequired)),
    ("/api/v1/sessions", (errors.Unauthenticated, errors.SecondFactorRequired)),
    ("/api/v1/setup", (errors.Unauthenticated,)),
    ("/api/v1/account", (errors.SecondFactorRequired,)),
    ("/api/v1/share", (errors.ShareRefused,)),
    ("/api/v1/public/", (errors.LinkLocked, errors.NameInvalid, errors.BlockDamaged)),
    ("/s/", (errors.LinkLocked,)),
    ("/api/v1/sync", (errors.CursorInvalid,)),
    ("/sync", (errors.CursorInvalid,)),
    ("/api/v1/rewind", (errors.HistoryEnded,)),
    ("/api/v1/activity", (errors.HistoryEnded,)),
    ("/api/v1/content", (errors.BlockDamaged,)),
    ("/api/v1/diff", (errors.BlockDamaged,)),
    ("/api/v1/zip", (errors.BlockDamaged,)),
    ("/api/v1/trash", (errors.ShareRefused,)),
    ("/api/v1/move", (errors.ShareRefused,)),
    ("/api/v1/delete", (errors.ShareRefused,)),
)
"""Faults of routes whose path begins so, beside those above; a query that names a path may name an impossible one."""
