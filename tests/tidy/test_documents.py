"""The documents say what the code holds: each fault, limit, setting and command has its line, each path exists."""

import re
import tomllib
from pathlib import Path

import pytest

from satchel.core import limits
from satchel.core.errors import Fault, every_fault
from satchel.core.messages import REFUSAL_CODES
from satchel.device.settings import SETTINGS as DEVICE_SETTINGS
from satchel.server.settings import SETTINGS as SERVER_SETTINGS
from tests.tidy.sources import ROOT, document, rows

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WALKS = ["README.md", "docs/architecture.md", "docs/walk.md"]


def test_every_fault_has_its_row_with_its_status() -> None:
    told = rows("docs/protocol/errors.md", "Faults")
    assert {fault.code for fault in every_fault()} - set(told) == set()
    wrong = [fault.code for fault in every_fault() if str(fault.status) not in told[fault.code].split("|")[0]]
    assert wrong == []


def test_every_fault_code_is_used_once_and_no_row_is_left_over() -> None:
    codes = [fault.code for fault in every_fault()]
    assert sorted(codes) == sorted(set(codes))
    assert set(rows("docs/protocol/errors.md", "Faults")) - set(codes) == set()


def test_every_fault_says_what_to_do() -> None:
    assert [fault.code for fault in every_fault() if not fault.hint] == []
    assert Fault.code not in {fault.code for fault in every_fault()}


def test_every_refusal_has_its_row() -> None:
    assert set(rows("docs/protocol/errors.md", "Refusals of a commit")) == set(REFUSAL_CODES)


def test_every_limit_has_its_row_with_its_number() -> None:
    told = rows("docs/protocol/limits.md")
    known = {name: value for name, value in vars(limits).items() if name.isupper() and name not in ("KIB", "MIB")}
    assert set(told) == set(known)
    wrong = {name for name, value in known.items() if f"{value:,}" not in told[name].split("|")[0]}
    assert wrong == set()


def test_every_setting_of_the_server_has_its_row() -> None:
    told = rows("docs/operate/settings.md")
    assert set(told) == {setting.name for setting in SERVER_SETTINGS}
    said = {setting.name: (setting.doc, f"`{setting.variable}`", setting.flag) for setting in SERVER_SETTINGS}
    assert [name for name, parts in said.items() if not all(part in told[name] for part in parts)] == []


def test_every_setting_of_a_device_has_its_row() -> None:
    told = rows("docs/use/settings.md")
    assert set(told) == {setting.name for setting in DEVICE_SETTINGS}
    said = {setting.name: (setting.doc, f"`{setting.variable}`", setting.default) for setting in DEVICE_SETTINGS}
    assert [name for name, parts in said.items() if not all(part in told[name] for part in parts)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file(page: str) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document(page))
    here = (ROOT / page).parent
    lost = [
        target
        for target in targets
        if "://" not in target and not target.startswith("mailto:") and not (here / target).exists()
    ]
    assert lost == []


@pytest.mark.parametrize("page", WALKS)
def test_every_path_that_is_named_exists(page: str) -> None:
    named = re.findall(r"`((?:src|tests|docs|deploy|web|bench)/[\w./-]*)`", document(page))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_walk_passes_every_room() -> None:
    walk = document("docs/walk.md")
    rooms = [
        "scanner",
        "index",
        "planner",
        "engine",
        "transfer",
        "remote",
        "gateway",
        "blocks",
        "metadata",
        "notify",
        "feed",
        "applier",
    ]
    assert [room for room in rooms if f"/{room}" not in walk] == []


def test_every_decision_says_what_would_change_it() -> None:
    parts = ["Context", "Decision", "What we gave up", "What would change our mind", "Superseded by"]
    lacking = {
        page: missing
        for page in PAGES
        if page.startswith("docs/adr/") and (missing := [part for part in parts if part not in document(page)])
    }
    assert lacking == {}


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads(document("pyproject.toml"))["project"]
    wanted = [
        *project["dependencies"],
        *(line for group in project["optional-dependencies"].values() for line in group),
    ]
    # What other platforms need is not installed here, so its version was never tested.
    here = [line for line in wanted if "!= 'linux'" not in line]
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in document("constraints.txt").splitlines()}
    names = {re.split(r"[<>=!~;\[ ]", line, maxsplit=1)[0].lower().replace("_", "-") for line in here}
    assert names - pinned == set()


def test_no_pin_names_a_host() -> None:
    assert not re.search(r"://|@ ", document("constraints.txt"))


def test_every_make_target_is_explained() -> None:
    makefile = document("Makefile")
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)[1].split())  # type: ignore[index]
    assert set(re.findall(r"^([a-z-]+):.*## \S", makefile, flags=re.MULTILINE)) == phony
    assert Path(ROOT / ".ci/run").stat().st_mode & 0o111
