"""Archives that are written while they are sent."""

import io
import zipfile

import pytest

from satchel.server.sharing import zipped
from satchel.server.sharing.zipped import ZipWriter, safe_name


def archive(files: dict[str, bytes]) -> bytes:
    writer = ZipWriter()
    parts = []
    for name, data in files.items():
        parts += [writer.begin(name, size=len(data), mtime_ns=1_700_000_000_000_000_000), writer.take(data)]
        parts.append(writer.end())
    return b"".join([*parts, *writer.finish()])


def test_what_was_written_is_read() -> None:
    files = {"a/ü.txt": b"one", "empty": b"", "b": bytes(100_000)}
    with zipfile.ZipFile(io.BytesIO(archive(files))) as read:
        assert read.testzip() is None
        assert {name: read.read(name) for name in read.namelist()} == files
        assert read.getinfo("b").date_time == (2023, 11, 14, 22, 13, 20)


def test_more_entries_than_the_old_form_counts_are_read() -> None:
    count = 70_000
    with zipfile.ZipFile(io.BytesIO(archive({f"folder/{at}": b"" for at in range(count)}))) as read:
        assert len(read.namelist()) == count
        assert read.namelist()[-1] == f"folder/{count - 1}"


def test_lengths_and_places_past_four_gib_are_told_in_the_long_form(monkeypatch: pytest.MonkeyPatch) -> None:
    # What "too long" is, is moved so low that every entry is; the form is what a reader must understand.
    monkeypatch.setattr(zipped, "_FULL_32", 40)
    raw = archive({"first": bytes(range(200)), "second": b"x" * 300})
    monkeypatch.undo()
    # The places that say "look at the long form" hold the moved number here: put the real one in.
    fixed = raw.replace((40).to_bytes(4, "little"), b"\xff" * 4)
    with zipfile.ZipFile(io.BytesIO(fixed)) as read:
        assert [(info.filename, info.file_size) for info in read.infolist()] == [("first", 200), ("second", 300)]
        assert read.infolist()[1].header_offset > 200
        assert (read.read("first"), read.read("second")) == (bytes(range(200)), b"x" * 300)


def test_bytes_that_are_missing_or_too_many_are_no_archive() -> None:
    writer = ZipWriter()
    writer.begin("a", size=3, mtime_ns=0)
    writer.take(b"ab")
    with pytest.raises(AssertionError):
        writer.end()
    with pytest.raises(AssertionError):
        writer.take(b"cd")


def test_the_table_of_contents_of_a_million_files_is_kept_small() -> None:
    writer = ZipWriter()
    for at in range(50_000):
        name = f"documents/of the year/{at:08}.txt"
        writer.begin(name, size=0, mtime_ns=at * 10**9)
        writer.end()
    kept = sum(len(packed) for packed in writer._packed)
    assert kept / writer.count < 25
    assert sum(len(piece) for piece in writer.finish()) / writer.count > 70


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("plain name.txt", "plain name.txt"),
        ("größe 👨‍👩‍👧.txt", "größe 👨‍👩‍👧.txt"),
        ("..\\..\\evil", ".._.._evil~01020304"),
        ("C:\\x", "_:_x~01020304"),
        ("12:30 notes", "12:30 notes"),
        ("line\nbreak\x7f", "line_break_~01020304"),
        ("txt.\u202eexe", "txt._exe~01020304"),
    ],
)
def test_names_lead_nowhere(name: str, safe: str) -> None:
    assert safe_name(name, bytes(12) + b"\1\2\3\4") == safe
