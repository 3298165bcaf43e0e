"""How a file is read, by its name. Invariant: the name alone decides; what stands in the file decides only whether that
works.
"""

from __future__ import annotations

KINDS_OF_TEXT = ("plain", "docx", "pptx", "xlsx", "odt", "ods", "odp", "pdf")
"""Numbers of these are stored: new ones are added behind."""
KINDS_OF_PICTURE = ("image", "pdf", "page", "pages")
"""Numbers of these are stored too."""
_PLAIN = "txt text md markdown log csv tsv ini toml yaml yml json xml rst tex py js ts c h cpp java go rs sh sql"
_IMAGES = "png jpg jpeg jfif gif webp bmp tif tiff"
_READ_AS = {**dict.fromkeys(_PLAIN.split(), "plain"), **{kind: kind for kind in KINDS_OF_TEXT[1:]}}
_DRAWN_AS = {**dict.fromkeys(_IMAGES.split(), "image"), "pdf": "pdf"}


def kind_of(name: str) -> str:
    """Return how the text of a document of this name is read; empty for one that has none to give."""
    return _READ_AS.get(_end(name), "")


def picture_kind_of(name: str) -> str:
    """Return how a small picture of a file of this name is made; empty for one that has none."""
    return _DRAWN_AS.get(_end(name), "")


def _end(name: str) -> str:
    before, _, end = name.rpartition(".")
    return end.lower() if before else ""
