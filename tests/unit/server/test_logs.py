"""What is written of a log line: no secret in any of its forms, nothing that ends a line, a bounded length."""

from __future__ import annotations

import contextvars
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from satchel.server.logs import TEXT_CHARS_MAX, Redaction, begin_logs, begin_request

CANARY = "c4n4ry-S3cret_value"


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"{{'authorization': 'Bearer {CANARY}'}}",
        f"headers [(b'authorization', b'Bearer {CANARY}')]",
        f"Basic {CANARY}",
        f"postgresql://satchel:{CANARY}@db:5432/x cannot be reached",
        f"redis://:{CANARY}@valkey:6379/0",
        f"https://bucket.example/a?X-Amz-Credential=AKIA/x&X-Amz-Signature={CANARY}&X-Amz-Expires=60",
        f"https://x/y?a=1&X-Amz-Security-Token={CANARY}",
        f"GET /content?token={CANARY}",
        f"GET /content?access_token={CANARY}&x=1",
        f"AWS_SECRET_ACCESS_KEY={CANARY}",
        f"aws_secret_access_key: {CANARY}",
        f'{{"password": "{CANARY}"}}',
        f"password='{CANARY} with blanks'",
        f"Login(user='ann', password='{CANARY}', device_name='x')",
        f"AWS4-HMAC-SHA256 Credential=x/y, Signature={CANARY}",
        f"GET /s/{CANARY}{CANARY}/photo.jpg",
        f"token={CANARY}",
    ],
)
def test_a_secret_is_found_by_its_form(text: str) -> None:
    told = Redaction().text(text)
    assert CANARY not in told
    assert "[redacted]" in told


def test_a_secret_of_the_settings_is_found_wherever_it_turns_up() -> None:
    told = Redaction([CANARY]).text(f"the server said: {CANARY}!")
    assert told == "the server said: [redacted]!"


def test_a_secret_that_is_cut_in_two_by_the_bound_is_not_told_in_half() -> None:
    assert CANARY[:8] not in Redaction([CANARY]).text("x" * (TEXT_CHARS_MAX - 8) + CANARY)


@pytest.mark.parametrize(
    "name", ["password", "new_password", "token", "Authorization", "api_key", "set-cookie", "secret"]
)
def test_a_field_with_a_secret_name_is_not_told(name: str) -> None:
    assert Redaction().value(name, CANARY) == "[redacted]"
    assert Redaction().value("fields", {"deep": [{name: CANARY}]}) == {"deep": [{name: "[redacted]"}]}


@pytest.mark.parametrize("name", ["tokens_count", "task", "keyspace", "route", "packs", "passed"])
def test_plain_fields_are_told(name: str) -> None:
    assert Redaction().value(name, 7) == 7


def test_contents_are_told_as_their_length_only() -> None:
    assert Redaction().value("body", CANARY.encode()) == f"{len(CANARY)} bytes"


def test_a_line_cannot_be_ended_or_a_terminal_turned() -> None:
    told = Redaction().text("a\nb\r\x1b[31m\u202ec\x9b\u2028d\udcff")
    assert told == "a\\x0ab\\x0d\\x1b[31m\\u202ec\\x9b\\u2028d\\udcff"


def test_a_line_is_json_with_the_request_and_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    begin_logs("info", is_json=True, known=[CANARY])

    def told() -> None:
        begin_request("4711")
        structlog.get_logger("x").info("thing.done", url=f"redis://:{CANARY}@h", count=1, error="a\nb")
        try:
            raise ValueError(f"no {CANARY} here")
        except ValueError:
            logging.getLogger("library").exception("it said %s", CANARY)

    contextvars.copy_context().run(told)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert CANARY not in str(lines)
    assert [(line["event"], line["request"]) for line in lines] == [("thing.done", "4711"), ("library.told", "4711")]
    assert "ValueError" in lines[1]["exception"] and lines[1]["level"] == "error"
    assert lines[0]["error"] == "a\\x0ab"


def test_a_readable_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    begin_logs("info", is_json=False, known=[CANARY])
    structlog.get_logger("x").info("thing.done", error=f"one\ntwo {CANARY}")
    (line,) = capsys.readouterr().err.splitlines()
    assert "thing.done" in line and CANARY not in line
