"""The program of the limited process that makes pictures: an image or a PDF comes in, a WebP goes out. It imports
nothing of ours, and is started by its path.

Invariant: before the first byte is read, the process can open nothing, write no file, start no process, and has little
memory and time. It is told what is wanted (`image` or `pdf`: a small picture; `page`: one page of a PDF; `pages`: how
many there are, and how large), the longest edge or the page's width in pixels, which page, from 0, and the folders of
its libraries. It answers with a line (`ok`, or `bad` and why) and the picture, which holds pixels alone: no place, no
camera, no time. Of `pages` it answers with their number, and the width and height of each in points, a line each.
No script of a PDF runs: the library is built without what would run it. Source: docs/design/060 (6, 7).
"""

from __future__ import annotations

import importlib
import io
import resource
import sys
from typing import Any

MEMORY_BYTES_MAX = 768 * 1024 * 1024
CPU_S_MAX = 10
PICTURE_BYTES_MAX = 32 * 1024 * 1024
PAGE_PIXELS_MAX = 12_000_000
PAGE_EDGE_MAX = 16_000
"""WebP has no longer one."""
SIZES_TOLD_MAX = 2_000
PIXELS_MAX = 64_000_000
"""Of an image as it is unpacked; a JPEG is unpacked smaller where it is larger than need be."""
QUALITY = 80
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
_READERS = ("Png", "Jpeg", "Mpo", "Gif", "WebP", "Bmp", "Tiff")
"""Mpo: a JPEG of several pictures is read by it."""
_ORIENTATION = 0x0112
_NOT_NEEDED = ("numpy", "olefile", "defusedxml", "cffi")
"""What may stand beside the libraries and would be taken by them."""


class BadPicture(Exception):
    """No picture can be made; the reason is a word."""


def main() -> None:
    """Limit this process, read the picture, answer."""
    kind, edge, number, folders = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    body = b""
    try:
        images, pages = libraries_of(kind, folders)
        limit()
        data = sys.stdin.buffer.read(PICTURE_BYTES_MAX + 1)
        if len(data) > PICTURE_BYTES_MAX:
            raise BadPicture("too_large")
        body = answer(kind, images, pages, data, edge, number)
        head = b"ok\n"
    except BadPicture as error:
        head = f"bad {error}\n".encode()
    except (MemoryError, RecursionError):
        head = b"bad too_large\n"
    sys.stdout.buffer.write(head + body)
    sys.stdout.buffer.flush()


def limit() -> None:
    """Give up all that the work does not need."""
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES_MAX),
        (resource.RLIMIT_CPU, CPU_S_MAX),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        # The three that are open stay so; no file and no socket comes after them.
        (resource.RLIMIT_NOFILE, 3),
    ):
        resource.setrlimit(what, (most, most))


def libraries_of(kind: str, folders: list[str]) -> tuple[Any, Any]:
    """Return what reads images, and what reads PDF where it is asked for, with all that they import late.

    Raises: BadPicture where one is not there.
    """
    sys.modules.update(dict.fromkeys(_NOT_NEEDED))  # type: ignore[arg-type]  # None forbids an import
    sys.path += folders
    try:
        images: Any = importlib.import_module("PIL.Image")
        for name in ("ImageOps", *(f"{reader}ImagePlugin" for reader in _READERS)):
            importlib.import_module(f"PIL.{name}")
        pages = importlib.import_module("pypdfium2") if kind != "image" else None
    except ImportError as error:
        raise BadPicture("kind") from error
    # It would look for more formats as soon as one of ours does not fit.
    images._initialized = 2
    # Pictures of our own, so that whatever is loaded at the first use is there.
    for form in FORMATS if pages is None else ("PNG",):
        made, exif = io.BytesIO(), images.Exif()
        exif[_ORIENTATION] = 6
        images.new("P" if form == "GIF" else "RGB", (9, 9)).save(made, form, exif=exif)
        saved(images, opened(images, made.getvalue(), 4))
    return images, pages


def answer(kind: str, images: Any, pages: Any, data: bytes, edge: int, number: int) -> bytes:
    """Return what is wanted. Raises: BadPicture."""
    try:
        if kind == "pages":
            return sizes(pages.PdfDocument(data))
        if kind == "page":
            return saved(images, page_picture(pages, data, edge, number), effort=2)
        return saved(images, opened(images, data, edge) if pages is None else first_page(pages, data, edge))
    except (BadPicture, MemoryError, RecursionError):
        raise
    except Exception as error:
        # Libraries that believe what they read fail in every way there is.
        raise BadPicture("unreadable") from error


def opened(images: Any, data: bytes, edge: int) -> Any:
    """Return an image's first picture, turned as it says it is to be shown, at most so long."""
    images.MAX_IMAGE_PIXELS = None
    picture = images.open(io.BytesIO(data), formats=FORMATS)
    # A JPEG is unpacked at an eighth of its size where that is enough.
    picture.draft("RGB", (2 * edge, 2 * edge))
    width, height = picture.size
    if width * height > PIXELS_MAX:
        raise BadPicture("too_large")
    picture.thumbnail((edge, edge), reducing_gap=2.0)
    return sys.modules["PIL.ImageOps"].exif_transpose(picture)


def first_page(pages: Any, data: bytes, edge: int) -> Any:
    """Return the picture of a PDF's first page, at most so long."""
    page = pages.PdfDocument(data)[0]
    longest = max(page.get_size())
    if not longest > 0:
        raise BadPicture("unreadable")
    return page.render(scale=min(edge / longest, 4.0)).to_pil()


def sizes(document: Any) -> bytes:
    """Return how many pages there are, and how large those at the head are, as they are shown."""
    if not len(document):
        raise BadPicture("unreadable")
    told = [document.get_page_size(at) for at in range(min(len(document), SIZES_TOLD_MAX))]
    return "\n".join([str(len(document)), *(f"{width:.2f} {height:.2f}" for width, height in told)]).encode()


def page_picture(pages: Any, data: bytes, width: int, number: int) -> Any:
    """Return the picture of a page, so wide unless that made it too large, with what was filled into its forms."""
    document = pages.PdfDocument(data)
    if number >= len(document):
        raise BadPicture("no_page")
    # Without it the fields of a form are drawn empty.
    document.init_forms()
    page = document[number]
    across, down = page.get_size()
    if not (across > 0 and down > 0):
        raise BadPicture("unreadable")
    scale = min(width / across, PAGE_EDGE_MAX / max(across, down), (PAGE_PIXELS_MAX / (across * down)) ** 0.5)
    return page.render(scale=scale, may_draw_forms=True).to_pil()


def saved(images: Any, picture: Any, *, effort: int = 4) -> bytes:
    """Return the picture as WebP, with nothing beside its pixels. effort: of 6, for how few bytes they become."""
    has_alpha = picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info
    whole = picture.convert("RGBA" if has_alpha else "RGB")
    bare = images.frombytes(whole.mode, whole.size, whole.tobytes())
    made = io.BytesIO()
    bare.save(made, "WEBP", quality=QUALITY, method=effort)
    return made.getvalue()


if __name__ == "__main__":
    main()
