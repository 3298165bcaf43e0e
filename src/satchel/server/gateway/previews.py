"""What a browser may show of a stranger's file. Invariant: a type stands here only if showing it runs nothing.

The name alone decides; `nosniff` keeps the browser to it, and the sandbox holds whatever it is. Source: docs/design/060
(5).
"""

from __future__ import annotations

_TYPES = {
    "image/png": "png",
    "image/jpeg": "jpg jpeg jfif",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "application/pdf": "pdf",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "audio/ogg": "ogg oga opus",
    "audio/flac": "flac",
    "audio/wav": "wav",
    "video/mp4": "mp4 m4v",
    "video/webm": "webm",
    "text/plain": "txt text md markdown log csv tsv ini toml yaml yml json",
}
_BY_END = {end: kind for kind, ends in _TYPES.items() for end in ends.split()}


def preview_type(name: str) -> str:
    """Return the media type under which a file of this name may be shown; empty for one that may only be saved."""
    _, dot, end = name.rpartition(".")
    return _BY_END.get(end.lower(), "") if dot else ""
