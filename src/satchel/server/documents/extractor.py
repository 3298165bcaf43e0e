"""The program of the limited process: a document comes in, its plain text goes out. It imports nothing of ours, and
from outside Python only what reads PDF; it is started by its path.

Invariant: before the first byte of the document is read, the process can open nothing, write no file, start no process,
and has little memory and time; so whatever a document makes of it, the worst is no text. It is told the kind of
document, the most characters to give and, for PDF, the folder of the library; it answers with a line (`ok`, `cut`, or
`bad` and why) and the text in UTF-8.
Source: docs/design/060 (6, 7).
"""

from __future__ import annotations

import encodings.cp437
import encodings.idna
import encodings.latin_1
import encodings.utf_8
import encodings.utf_16  # noqa: F401  # nothing can be imported once the limits are set
import importlib
import io
import resource
import sys
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any
from xml.parsers import expat

MEMORY_BYTES_MAX = 384 * 1024 * 1024
CPU_S_MAX = 10
DOCUMENT_BYTES_MAX = 16 * 1024 * 1024
UNPACKED_BYTES_MAX = 64 * 1024 * 1024
MEMBERS_MAX = 5_000
DEPTH_MAX = 200
TOKEN_BYTES_MAX = 1024 * 1024
"""A name or tag that is longer is looked at again and again while it comes."""
PIECE_BYTES = 64 * 1024
PARTS = {
    # kind: the beginning of the parts that are read, and in which elements the text stands.
    "docx": ("word/document.xml", "t"),
    "pptx": ("ppt/slides/slide", "t"),
    "xlsx": ("xl/sharedStrings.xml", "t"),
    "odt": ("content.xml", "body"),
    "ods": ("content.xml", "body"),
    "odp": ("content.xml", "body"),
}
_NOT_NEEDED = ("cryptography", "Crypto", "PIL", "fontTools", "brotli")
"""What stands beside the library and would be taken by it: more code that a document could reach."""
_LINE_ENDS = frozenset(("p", "h", "si", "br", "tr", "table-row"))


class BadDocument(Exception):
    """The document has no text that could be given; the reason is a word."""


class Text:
    """What was found so far, at most `chars_max` characters."""

    def __init__(self, chars_max: int) -> None:
        self._left = chars_max
        self._found: list[str] = []

    @property
    def is_full(self) -> bool:
        """Tell whether no more is taken."""
        return self._left <= 0

    def add(self, text: str) -> None:
        """Take a piece of text as far as there is room."""
        self._found.append(text[: self._left])
        self._left -= len(text)

    def whole(self) -> str:
        """Return all of it."""
        return "".join(self._found)


def main() -> None:
    """Limit this process, read the document, answer."""
    kind, chars_max, folders = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    found = Text(chars_max)
    try:
        library = library_of(folders) if kind == "pdf" else None
        limit()
        data = sys.stdin.buffer.read(DOCUMENT_BYTES_MAX + 1)
        if len(data) > DOCUMENT_BYTES_MAX:
            raise BadDocument("too_large")
        if library is not None:
            read_pdf(library, data, found)
        else:
            read(kind, data, found)
        head = b"cut\n" if found.is_full else b"ok\n"
    except BadDocument as error:
        head = f"bad {error}\n".encode()
    except (MemoryError, RecursionError):
        head = b"bad too_large\n"
    except (zipfile.BadZipFile, zlib.error, expat.ExpatError, NotImplementedError, OSError, ValueError, EOFError):
        head = b"bad unreadable\n"
    body = b"" if head.startswith(b"bad") else found.whole().encode(errors="replace")
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


def library_of(folders: list[str]) -> Any:
    """Return what reads PDF, with all that it imports late. Raises: BadDocument where it is not there."""
    sys.modules.update(dict.fromkeys(_NOT_NEEDED))  # type: ignore[arg-type]  # None forbids an import
    sys.path += folders
    try:
        library = importlib.import_module("pypdf")
        importlib.import_module("pypdf.xmp")
    except ImportError as error:
        raise BadDocument("kind") from error
    read_pdf(library, small_pdf(b"text"), Text(9))
    return library


def small_pdf(text: bytes) -> bytes:
    """Return a PDF of one page that says no more than the text, of letters and spaces."""
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 90 120]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>"
    shown = b"BT /F 9 Tf 9 60 Td (%b) Tj ET" % text
    parts = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        page,
        b"<</Length %d>>stream\n%b\nendstream" % (len(shown), shown),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )
    made, places = b"%PDF-1.4\n", b"0000000000 65535 f \n"
    for number, part in enumerate(parts, start=1):
        places += b"%010d 00000 n \n" % len(made)
        made += b"%d 0 obj%bendobj\n" % (number, part)
    return made + b"xref\n0 6\n%btrailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (places, len(made))


def read_pdf(library: Any, data: bytes, found: Text) -> None:
    """Find the text of a PDF, page by page. Raises: BadDocument."""
    try:
        for page in library.PdfReader(io.BytesIO(data)).pages:
            if found.is_full:
                return
            found.add(page.extract_text() + "\n")
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        # A library that believes what it reads fails in every way there is.
        raise BadDocument("unreadable") from error


def read(kind: str, data: bytes, found: Text) -> None:
    """Find the text of a document. Raises: BadDocument and what the libraries raise."""
    if kind not in PARTS:
        found.add(plain(data))
        return
    begin, element = PARTS[kind]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > MEMBERS_MAX:
            raise BadDocument("too_large")
        wanted = sorted(
            (member for member in members if member.filename.startswith(begin) and member.filename.endswith(".xml")),
            key=lambda member: (len(member.filename), member.filename),
        )
        if not wanted:
            raise BadDocument("unreadable")
        left = UNPACKED_BYTES_MAX
        for member in wanted:
            left = read_part(archive, member, element, found, left)


def plain(data: bytes) -> str:
    """Return the text of a plain file. Raises: BadDocument for one that is none."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data:
        raise BadDocument("unreadable")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_part(archive: zipfile.ZipFile, member: zipfile.ZipInfo, element: str, found: Text, left: int) -> int:
    """Find the text of one part; return how many bytes may still be unpacked. What the archive says of its sizes is not
    believed: what comes is counted."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadDocument("unreadable")
    with archive.open(member) as part:
        reader, fed = reader_of(element, found), 0
        for piece in pieces(part):
            left -= len(piece)
            fed += len(piece)
            if left < 0 or fed - reader.CurrentByteIndex > TOKEN_BYTES_MAX:
                raise BadDocument("too_large")
            if found.is_full:
                return left
            reader.Parse(piece, False)
        reader.Parse(b"", True)
    return left


def pieces(part: IO[bytes]) -> Iterator[bytes]:
    """Yield the unpacked bytes, a few at a time."""
    while piece := part.read(PIECE_BYTES):
        yield piece


def reader_of(element: str, found: Text) -> expat.XMLParserType:
    """Return a parser that takes the text within the elements. A document type, and so every entity, is refused."""
    depth, inside = 0, 0

    def begun(name: str, _attributes: object) -> None:
        nonlocal depth, inside
        depth += 1
        if depth > DEPTH_MAX:
            raise BadDocument("too_large")
        inside += local(name) == element

    def ended(name: str) -> None:
        nonlocal depth, inside
        depth -= 1
        inside -= local(name) == element
        if local(name) in _LINE_ENDS:
            found.add("\n")

    def text(data: str) -> None:
        if inside:
            found.add(data)

    def refuse(*_: object) -> None:
        raise BadDocument("unreadable")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = begun, ended, text
    parser.StartDoctypeDeclHandler = refuse
    return parser


def local(name: str) -> str:
    """Return an element's name without its prefix."""
    return name.rpartition(":")[2]


if __name__ == "__main__":
    main()
