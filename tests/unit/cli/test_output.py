import json
from collections.abc import Iterator

import pytest

from satchel.cli import output
from satchel.core.errors import NotFound, RootMissing


@pytest.fixture(autouse=True)
def plain_mode() -> Iterator[None]:
    yield
    output.mode.json = output.mode.quiet = False


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10 * 1024, "10 KiB"), (5 * 1024**3, "5.0 GiB")],
)
def test_sizes_are_told_for_people(size_bytes: int, text: str) -> None:
    assert output.size_text(size_bytes) == text


def test_a_name_cannot_steer_the_terminal() -> None:
    assert output.printable("a\x1b[31mred\x9b\u202e") == "a\\x1b[31mred\\x9b\\x202e"


def test_an_error_says_what_why_and_what_to_do_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.complain(RootMissing("The linked folder is gone.", path="/x", reason="unmounted"))
    told = capsys.readouterr().err
    assert told == f"satchel: The linked folder is gone (unmounted). {RootMissing.hint}\n"


def test_with_json_an_error_is_json_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.mode.json = True
    output.complain(NotFound("No such path.", path="/x"))
    told = capsys.readouterr()
    assert told.out == ""
    assert json.loads(told.err)["error"]["code"] == "not_found"


def test_with_json_nothing_for_people_reaches_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    output.mode.json = True
    output.say("Linked.")
    output.give({"path": "/x"}, text="for people")
    assert json.loads(capsys.readouterr().out) == {"path": "/x"}


def test_quiet_keeps_results_and_drops_remarks(capsys: pytest.CaptureFixture[str]) -> None:
    output.mode.quiet = True
    output.say("Linked.")
    output.give([1], text="1")
    assert capsys.readouterr().out == "1\n"


def test_a_table_stands_in_columns() -> None:
    text = output.table(("NAME", "SIZE"), [("a", "1 B"), ("longer", "10 KiB")], right=(1,))
    assert text.split("\n") == ["NAME      SIZE", "a          1 B", "longer  10 KiB"]
