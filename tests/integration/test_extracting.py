"""Documents are read in a limited process: what they say comes out, and hostile ones end no more than it."""

from __future__ import annotations

import asyncio
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from satchel.core.errors import MessageInvalid, Unavailable
from satchel.server.documents.extracting import Extractor, Plain
from satchel.server.documents.extractor import DEPTH_MAX, DOCUMENT_BYTES_MAX, MEMBERS_MAX, UNPACKED_BYTES_MAX, small_pdf
from satchel.server.documents.limited import AT_ONCE, WAITING_MAX

WORD = b'<w:document xmlns:w="w"><w:body>%b</w:body></w:document>'


def zipped(**parts: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return made.getvalue()


def docx(body: bytes) -> bytes:
    return zipped(**{"word/document.xml": WORD % body})


def read(name: str, data: bytes, **terms: int) -> Plain:
    return asyncio.run(Extractor().text_of(name, data, **terms))


def refused(name: str, data: bytes) -> str:
    with pytest.raises(MessageInvalid) as told:
        read(name, data)
    return str(told.value.fields["reason"])


def test_the_text_of_each_kind_comes_out() -> None:
    assert read("a.TXT", "grüß".encode()) == Plain("grüß", False)
    assert read("a.md", "grüß".encode("latin-1")).text == "grüß"
    assert read("a.csv", "grüß".encode("utf-16")).text == "grüß"
    para = b"<w:p><w:r><w:t>one </w:t><w:t>two &amp; \xc3\xbc</w:t></w:r></w:p><w:p><w:t>three</w:t></w:p>"
    assert read("a.docx", docx(para)).text == "one two & ü\nthree\n"
    slides = {f"ppt/slides/slide{at}.xml": b"<p xmlns:a='a'><a:t>s%d</a:t></p>" % at for at in (10, 2)}
    assert read("a.pptx", zipped(**slides)).text.split() == ["s2", "s10"]
    cells = b"<sst><si><t>cell</t></si><si><t>other</t></si></sst>"
    assert read("a.xlsx", zipped(**{"xl/sharedStrings.xml": cells})).text == "cell\nother\n"
    opened = b"<d><meta>no</meta><o:body xmlns:o='o'><p>para <b>bold</b></p></o:body></d>"
    assert read("a.odt", zipped(**{"content.xml": opened})).text == "para bold\n"
    assert read("a.txt", b"x" * 50, chars_max=10) == Plain("x" * 10, True)
    assert read("a.pdf", small_pdf(b"hello")).text == "hello\n"


HOSTILE: dict[str, Callable[[], tuple[str, bytes]]] = {
    "no zip": lambda: ("a.docx", b"PK\x03\x04 but no more"),
    "a zip without parts": lambda: ("a.docx", zipped(other=b"x")),
    "no XML": lambda: ("a.docx", zipped(**{"word/document.xml": b"\0\xff<<<"})),
    "an XML that ends early": lambda: ("a.odt", zipped(**{"content.xml": b"<body><p>"})),
    "entities": lambda: (
        "a.docx",
        zipped(**{"word/document.xml": b'<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><d><t>&b;</t></d>'}),
    ),
    "an outside entity": lambda: (
        "a.docx",
        zipped(**{"word/document.xml": b'<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><d><t>&a;</t></d>'}),
    ),
    "a binary text": lambda: ("a.txt", b"\x7fELF\0\0\0"),
    "no PDF": lambda: ("a.pdf", b"%PDF-1.4\nbut no more"),
    "a PDF that names itself as its page": lambda: ("a.pdf", small_pdf(b"x").replace(b"/Kids[3 0 R]", b"/Kids[2 0 R]")),
    "a truncated zip": lambda: ("a.docx", docx(b"<w:t>text</w:t>")[:-30]),
}
TOO_LARGE: dict[str, Callable[[], tuple[str, bytes]]] = {
    "a zip bomb": lambda: ("a.docx", docx(b" " * (UNPACKED_BYTES_MAX + 1))),
    "deep XML": lambda: ("a.docx", docx(b"<a>" * (DEPTH_MAX + 1))),
    "very many parts": lambda: ("a.docx", zipped(**{str(at): b"" for at in range(MEMBERS_MAX + 1)})),
    "a long name": lambda: ("a.docx", docx(b"<" + b"a" * (UNPACKED_BYTES_MAX + 1))),
    "a long document": lambda: ("a.txt", b"x" * (DOCUMENT_BYTES_MAX + 1)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_document_is_said_to_be_unreadable(what: str) -> None:
    assert refused(*HOSTILE[what]()) == "unreadable"


@pytest.mark.parametrize("what", TOO_LARGE)
def test_what_would_take_too_much_is_given_up(what: str) -> None:
    assert refused(*TOO_LARGE[what]()) == "too_large"


def test_a_process_that_hangs_or_floods_is_ended_and_leaves_nothing_behind(tmp_path: Path) -> None:
    hangs, floods, note = tmp_path / "hangs.py", tmp_path / "floods.py", tmp_path / "pid"
    hangs.write_text(f"import os, time\nopen({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n")
    floods.write_text("import os\nwhile True: os.write(1, b'x' * 65536)\n")
    for program in (hangs, floods):
        with pytest.raises(MessageInvalid):
            asyncio.run(Extractor(time_s=1.0, program=str(program)).text_of("a.txt", b"x" * 1_000_000))
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_the_process_can_open_nothing_and_knows_nothing_of_ours(tmp_path: Path) -> None:
    source = Path(Extractor.__init__.__globals__["_PROGRAM"]).read_text().partition("if __name__")[0]
    tries = (
        "limit()\nfound = [str(len(os.environ.keys() - {'LC_CTYPE'}))]\n"
        "def attempt(work):\n    try:\n        work(); found.append('done')\n"
        "    except OSError:\n        found.append('refused')\n"
        "attempt(lambda: open('/etc/passwd'))\nattempt(lambda: socket.socket())\n"
        "try:\n    bytearray(512 * 1024 * 1024); found.append('done')\n"
        "except MemoryError:\n    found.append('refused')\n"
        "sys.stdout.write('ok\\n' + ' '.join(found))\n"
    )
    program = tmp_path / "tries.py"
    program.write_text(source.replace("import io\n", "import io\nimport os\nimport socket\n") + tries)
    told = asyncio.run(Extractor(program=str(program)).text_of("a.txt", b""))
    assert told.text == "0 refused refused refused"


def test_more_than_can_wait_are_told_to_come_again(tmp_path: Path) -> None:
    waits = tmp_path / "waits.py"
    waits.write_text("import sys\nsys.stdin.buffer.read()\nprint('ok')\n")

    async def ask_all() -> list[object]:
        extractor = Extractor(program=str(waits))
        asked = [extractor.text_of("a.txt", b"") for _ in range(AT_ONCE + WAITING_MAX + 3)]
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(ask_all())
    assert sum(isinstance(answer, Unavailable) for answer in answers) == 3
    assert answers.count(Plain("", False)) == AT_ONCE + WAITING_MAX
