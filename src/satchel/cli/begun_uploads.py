"""Uploads that a command began and did not end. Invariant: a note names one file in one state on its way to one place.

A file that changed since has another name here, so that an upload never goes on with bytes of another state. Notes are
dropped when the server has forgotten the upload.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from satchel.device.durable import read_json, write_json

KEPT_S = 8 * 86_400.0
"""The server forgets an upload a week after its last byte."""


class _Begun(msgspec.Struct, frozen=True):
    upload_id: str


@dataclass(frozen=True, slots=True)
class BegunUpload:
    """The note of one upload."""

    path: Path

    def read(self) -> str:
        """Return the upload's id; empty when none was begun."""
        with contextlib.suppress(msgspec.DecodeError):
            found = read_json(self.path, _Begun)
            return "" if found is None else found.upload_id
        return ""

    def write(self, upload_id: str) -> None:
        """Note the upload, and drop notes that are too old to be of use. Raises: StorageFailed."""
        write_json(self.path, _Begun(upload_id))
        for path in self.path.parent.glob("*.json"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < time.time() - KEPT_S:
                    path.unlink()

    def forget(self) -> None:
        """The upload is done, or never will be."""
        self.path.unlink(missing_ok=True)


def begun_upload(folder: Path, *parts: str | int) -> BegunUpload:
    """Return the note of an upload. parts: all that it is known by."""
    name = hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
    return BegunUpload(folder / f"{name}.json")
