"""A report for a bug tells nothing that is private."""

from satchel.cli.report import Redaction


def test_names_are_replaced_by_the_same_word_each_time_and_by_another_in_the_next_report() -> None:
    hidden = Redaction()
    one, two = hidden.path("/home/ann/diary.txt"), hidden.path("/home/ann/letters.txt")
    assert "diary" not in one and "ann" not in one
    assert one.split("/")[:3] == two.split("/")[:3] and one != two
    assert Redaction().path("/home/ann/diary.txt") != one


def test_secrets_addresses_and_paths_leave_the_log() -> None:
    line = 'x token=abc123 "Authorization": "Bearer zzz" url https://files.example.org/x path=/home/ann/diary.txt end'
    told = Redaction().text(line)
    for private in ("abc123", "zzz", "example.org", "diary", "ann"):
        assert private not in told
    assert told.startswith("x token=") and told.endswith(" end")


def test_names_in_fields_of_the_log_are_replaced() -> None:
    told = Redaction().text('{"event": "link.held", "path": "papers/my \\"own\\" diary.txt", "account": "ann"}')
    assert "diary" not in told and "papers" not in told and "ann" not in told
    assert told.startswith('{"event": "link.held", "path": "<')
