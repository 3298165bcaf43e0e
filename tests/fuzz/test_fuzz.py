"""A short look by what `make fuzz` does at length: the same requests each time, for every fifth route."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.fuzzing import BEHIND_PROXY, Fuzzer
from tests.support.server import running_server

CASES = 2


def test_no_answer_is_a_5xx_or_undescribed(tmp_path: Path) -> None:
    with running_server(tmp_path, *BEHIND_PROXY) as server:
        fuzzer = Fuzzer(server)
        labels = list(fuzzer.operations())[::5]
        for label in labels:
            fuzzer.fuzz(label, cases=CASES, seed=4711)
        wrong = dict(fuzzer.found.wrong)
        # What is not described is noticed: it is taken out of the description, and asked for.
        told = fuzzer.document["paths"]["/api/v1/entry"]["get"]["responses"]
        told.pop("200"), told.pop("400")
        fuzzer.fuzz("GET /api/v1/entry", cases=6, seed=4711)
    assert wrong == {}
    assert fuzzer.found.wrong != {}
    assert {label for label in labels if fuzzer.found.asked[label]} == set(labels)
