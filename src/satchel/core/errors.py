"""The one tree of faults. Invariant: every fault has a fixed code, says whether a retry can help, and carries data.

Expected outcomes (a conflict, a missing block) are values in `messages`, never exceptions. Text for people is made at
the edges (`gateway/errors.py`, `cli`) from `code` and `fields`. Source: docs/design, style.
"""

from __future__ import annotations


class Fault(Exception):
    """Something in the world went wrong. `code` is fixed and documented; `fields` holds plain data for the message."""

    code = "fault"
    retryable = False
    status = 500
    """HTTP status that the gateway answers with; here so that one table documents all codes."""
    hint = ""
    """What a person can do about it; one sentence."""

    def __init__(self, message: str = "", **fields: object) -> None:
        super().__init__(message or self.code)
        self.message = message or self.code
        self.fields = fields

    def __str__(self) -> str:
        if not self.fields:
            return self.message
        told = ", ".join(f"{key}={value!r}" for key, value in self.fields.items())
        return f"{self.message} ({told})"


class NameInvalid(Fault):
    """A file or folder name that no device may hold. Fields: name, reason."""

    code, status = "name_invalid", 400
    hint = "Rename the file: 1 to 255 bytes of UTF-8 without '/', NUL, '.' or '..'."


class LimitExceeded(Fault):
    """A documented limit was passed. Fields: limit (its name), maximum, actual."""

    code, status = "limit_exceeded", 413
    hint = "See docs/protocol/limits.md for the limit that is named."


class MessageInvalid(Fault):
    """A request or a reply that does not decode. Fields: reason."""

    code, status = "message_invalid", 400
    hint = "See /api/v1/docs for what the route takes; a device and a service need versions that speak one protocol."


class Unauthenticated(Fault):
    """No token, or one that is unknown, expired or revoked."""

    code, status = "unauthenticated", 401
    hint = "Sign in again with 'satchel login'."


class SecondFactorRequired(Fault):
    """The password was right, and the account asks for a code too."""

    code, status = "second_factor_required", 401
    hint = "Give the code of your authenticator app, or a recovery code."


class LinkLocked(Fault):
    """A link that asks for its password, or a wrong one."""

    code, status = "link_locked", 403
    hint = "Give the link's password; who sent the link knows it."


class NotFound(Fault):
    """Unknown and forbidden answer alike."""

    code, status = "not_found", 404
    hint = "Check the path, or ask the owner for access."


class AlreadyExists(Fault):
    """The name is taken. Fields: what, name."""

    code, status = "already_exists", 409
    hint = "Choose another name."


class ShareRefused(Fault):
    """A folder that cannot be shared, or a part in it that cannot change so. Fields: reason."""

    code, status = "share_refused", 409
    hint = "Shared folders do not stand in one another; the owner hands a folder over before leaving it."


class PreconditionFailed(Fault):
    """The thing changed since it was read. Fields: expected, actual."""

    code, status = "precondition_failed", 412
    hint = "Read it again and repeat the change."


class OffsetMismatch(Fault):
    """A part of an upload that does not begin where the service has bytes up to. Fields: expected, actual."""

    code, status = "offset_mismatch", 409
    hint = "Ask where the upload stands, and go on from there."


class RequestInProgress(Fault):
    """A request with the same Idempotency-Key is being worked on. Fields: retry_after_s."""

    code, status = "request_in_progress", 409
    retryable = True
    hint = "Ask again in a moment: the answer of the first one is given then."


class KeyReused(Fault):
    """The Idempotency-Key was used for another request."""

    code, status = "key_reused", 422
    hint = "Make a new key for each new request."


class BlockMismatch(Fault):
    """Bytes that do not have the hash they were sent under. Fields: expected, actual."""

    code, status = "block_mismatch", 422
    retryable = True
    hint = "The transfer was damaged; it is sent again. If this repeats, check memory and network."


class BlockDamaged(Fault):
    """A stored block is missing or does not have its hash. Fields: hash."""

    code, status = "block_damaged", 500
    hint = "Run 'satchel admin doctor' on the server; another device may still hold the file."


class QuotaExceeded(Fault):
    """No room left for this account. Fields: used_bytes, quota_bytes."""

    code, status = "quota_exceeded", 507
    hint = "Empty the trash, delete files, or ask the administrator for more room."


class StorageFull(Fault):
    """The disk is full. Fields: where."""

    code, status = "storage_full", 507
    retryable = True
    hint = "Free some space on that disk; Satchel goes on by itself."


class StorageFailed(Fault):
    """The disk or store failed; what was being written does not count. Fields: where, reason."""

    code, status = "storage_failed", 500
    hint = "Check the disk. Nothing that was acknowledged before is affected."


class IndexDamaged(Fault):
    """A link's index is damaged. Fields: where, reason."""

    code, status = "index_damaged", 500
    retryable = True
    hint = "The daemon sets it aside and merges both sides anew; no file is lost. Check the disk."


class Unavailable(Fault):
    """The other side cannot be reached, or it answered that it is overloaded. Fields: where, reason."""

    code, status = "unavailable", 503
    retryable = True
    hint = "Satchel tries again by itself; check the network and that the server runs."


class TooManyRequests(Fault):
    """A rate or a cap was passed. Fields: retry_after_s."""

    code, status = "too_many_requests", 429
    retryable = True
    hint = "Wait the named seconds."


class RequestTimedOut(Fault):
    """Header or body came too slowly. Fields: phase."""

    code, status = "request_timed_out", 408
    retryable = True
    hint = "Check the network between this device and the server."


class EpochChanged(Fault):
    """The server was restored from a backup, or is another server. Fields: expected, actual."""

    code, status = "epoch_changed", 409
    hint = "Satchel merges both sides without deleting anything; no action is needed."


class CursorInvalid(Fault):
    """A cursor that this server did not make, for this account. Fields: reason."""

    code, status = "cursor_invalid", 400
    hint = "Start again without a cursor."


class VersionUnsupported(Fault):
    """A schema or protocol version this program does not know. Fields: what, found, known."""

    code, status = "version_unsupported", 400
    hint = "Update Satchel."


class SettingInvalid(Fault):
    """A setting that is unknown or wrong stops the start. Fields: setting, reason."""

    code, status = "setting_invalid", 500
    hint = "Correct the named setting; docs/operate/settings.md lists them all."


class AlreadyRunning(Fault):
    """Another process holds this data folder. Fields: path, pid."""

    code, status = "already_running", 500
    hint = "Stop the other one first, or name another folder."


class RootMissing(Fault):
    """The linked folder is gone, empty-mounted, or is another volume. Fields: path, reason."""

    code, status = "root_missing", 500
    hint = "Mount or restore the folder; or run 'satchel link LOCAL --moved' if it was restored elsewhere."


class FileUnreadable(Fault):
    """A local file or folder could not be read. Fields: path, reason."""

    code, status = "file_unreadable", 500
    retryable = True
    hint = "Give this user the right to read it; the rest goes on."


class FileChanging(Fault):
    """A local file changed while it was being read, or is not what was planned on. Fields: path."""

    code, status = "file_changing", 500
    retryable = True
    hint = "It is looked at again when it is quiet."


class NameTaken(Fault):
    """Something stands where a new file was to be placed. Fields: path."""

    code, status = "name_taken", 500
    retryable = True
    hint = "It is looked at and merged."


class DaemonNotRunning(Fault):
    """The device's daemon does not answer. Fields: socket."""

    code, status = "daemon_not_running", 500
    hint = "Start it with 'satchel daemon start'."


class NotLinked(Fault):
    """No folder of this device is linked, or not that one. Fields: path."""

    code, status = "not_linked", 500
    hint = "Link a folder with 'satchel link LOCAL'."


class NotSignedIn(Fault):
    """This device has no account yet."""

    code, status = "not_signed_in", 500
    hint = "Sign in with 'satchel login URL'."


class HistoryEnded(Fault):
    """A time or place that the history does not reach. Fields: oldest_seq, oldest_ms, head_seq."""

    code, status = "history_ended", 410
    hint = "Choose a later time: changes are kept for 180 days at least, and the newest million of them."


def every_fault() -> list[type[Fault]]:
    """Return all fault classes, by code; the documentation test reads it."""
    return sorted(Fault.__subclasses__(), key=lambda fault: fault.code)
