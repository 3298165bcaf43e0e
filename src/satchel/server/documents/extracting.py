"""Plain text of documents. Invariant: what comes out is text and nothing else, at most so much.

Source: docs/design/060 (6, 7).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from satchel.core.errors import MessageInvalid
from satchel.server.documents import extractor
from satchel.server.documents.kinds import kind_of
from satchel.server.documents.limited import TIME_S_MAX, Limited, folder_of

TEXT_CHARS_MAX = 200_000
_PROGRAM = str(Path(extractor.__file__))


class Plain(NamedTuple):
    """A document's text. is_cut: there is more than was taken."""

    text: str
    is_cut: bool


class Extractor:
    """Reads documents. time_s: what one may take; program: for tests."""

    def __init__(self, *, time_s: float = TIME_S_MAX, program: str = _PROGRAM) -> None:
        self._limited = Limited(program, time_s=time_s)

    async def text_of(self, name: str, data: bytes, *, chars_max: int = TEXT_CHARS_MAX) -> Plain:
        """Return the text of a document, which its name says the kind of. Raises: as `text_as`."""
        return await self.text_as(kind_of(name), data, chars_max=chars_max)

    async def text_as(self, kind: str, data: bytes, *, chars_max: int = TEXT_CHARS_MAX) -> Plain:
        """Return the text of a document of a kind.

        Raises: MessageInvalid for one that has none to give, Unavailable (retry) when too many are asked for.
        """
        if not kind:
            raise MessageInvalid("A document of this kind has no text to give.", reason="kind")
        folders = [folder_of("pypdf")] if kind == "pdf" else []
        told = [kind, str(chars_max), *folders]
        head, body = await self._limited.answer(told, data, bytes_max=4 * chars_max + 64)
        return Plain(body.decode(errors="replace")[:chars_max], head == "cut")
