"""Which names are left out, and by which rule."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from satchel.core.entries import Kind
from satchel.device.disk import LocalDisk
from satchel.device.drive import drive
from satchel.device.ignore import BUILT_IN, IgnoreRules, RulesText, Scope, is_built_in, parse_rules
from satchel.device.ports import ROOT_PATH, DiskPath, Stat


def scope_of(*files: tuple[str, str]) -> Scope:
    parsed = [parse_rules(DiskPath(folder.encode()), text.encode()) for folder, text in files]
    return Scope(tuple(rules for rules in parsed if rules is not None))


def hides(scope: Scope, path: str) -> bool:
    """A path that ends in a slash is a folder's."""
    folder, _, name = path.rstrip("/").rpartition("/")
    return scope.hides(DiskPath(folder.encode()), name.encode(), is_folder=path.endswith("/"))


@pytest.mark.parametrize(
    "name", [".DS_Store", "Thumbs.db", "desktop.ini", "~$letter.docx", ".~lock.letter.odt#", ".a.txt.swp", ".a.swo"]
)
def test_what_programs_leave_behind_is_ignored(name: str) -> None:
    assert hides(Scope(), name)
    assert hides(Scope(), f"deep/below/{name}")


@pytest.mark.parametrize(
    "name",
    ["letter.txt~", "a.swp", "4913", "notes.bak", "~draft", ".hidden", "Thumbs.db.txt", ".goutputstream-x", "tmp"],
)
def test_what_a_person_may_miss_is_not_ignored(name: str) -> None:
    assert not hides(Scope(), name)


def test_built_in_list_spares_folders_but_its_own() -> None:
    assert not is_built_in(b"Thumbs.db", is_folder=True)
    assert is_built_in(b".satchel", is_folder=True)


def test_rules_follow_the_syntax_of_gitignore() -> None:
    scope = scope_of(("", "*.log\nbuild/\n/top\n# remark\n\na/**/z\n"))

    assert hides(scope, "x.log")
    assert hides(scope, "deep/x.log")
    assert hides(scope, "deep/build/")
    assert not hides(scope, "deep/build")
    assert hides(scope, "top")
    assert not hides(scope, "deep/top")
    assert hides(scope, "a/b/c/z")
    assert not hides(scope, "# remark")


def test_later_line_takes_a_name_back() -> None:
    scope = scope_of(("", "*.log\n!keep.log\n"))

    assert hides(scope, "x.log")
    assert not hides(scope, "keep.log")


def test_deeper_file_decides_over_a_higher_one() -> None:
    scope = scope_of(("", "*.log\n"), ("sub", "!*.log\nlocal\n"))

    assert not hides(scope, "sub/x.log")
    assert hides(scope, "x.log")
    assert hides(scope, "sub/local")


def test_anchored_rule_is_relative_to_its_own_file() -> None:
    scope = scope_of(("sub", "/x\n"))

    assert hides(scope, "sub/x")
    assert not hides(scope, "sub/deep/x")


def test_built_in_name_can_be_taken_back_but_not_the_state_folder() -> None:
    scope = scope_of(("", "!Thumbs.db\n!.satchel\n"))

    assert not hides(scope, "Thumbs.db")
    assert hides(scope, ".satchel/")


def test_ignore_file_itself_is_never_ignored() -> None:
    assert not hides(scope_of(("", "*\n")), ".satchelignore")


def test_line_that_is_no_pattern_is_passed_over() -> None:
    scope = scope_of(("", "!\n*.log\n"))

    assert hides(scope, "x.log")


def test_file_without_rules_has_none() -> None:
    assert parse_rules(ROOT_PATH, b"# nothing\n\n") is None


def test_name_that_is_not_text_can_be_matched() -> None:
    scope = scope_of(("", "*.log\n"))

    assert scope.hides(ROOT_PATH, b"\xff.log", is_folder=False)


def test_settings_add_rules_that_a_file_can_take_back() -> None:
    base = IgnoreRules(["*.iso"]).base
    assert hides(base, "x.iso")

    taken_back = scope_of(("", "!x.iso\n"))
    assert not hides(Scope((*base.rules, *taken_back.rules)), "x.iso")


def test_rules_learnt_from_another_hold_when_their_file_cannot_be_read(tmp_path: Path) -> None:
    LocalDisk.initialise(os.fsencode(tmp_path))
    file = tmp_path / ".satchelignore"
    file.write_text("*.log\n")
    disk, first, second, third = LocalDisk(os.fsencode(tmp_path)), IgnoreRules(), IgnoreRules(), IgnoreRules()
    drive(first.scope(disk, ROOT_PATH))
    second.learn(first.learnt())
    third.learn(second.learnt())
    stat = drive(disk.stat(DiskPath(b".satchelignore")))
    assert stat is not None
    # Changed since, and out of reach: a folder stands where the file was when it is opened.
    file.unlink()
    file.mkdir()

    scope = drive(third.inside(disk, None, ROOT_PATH, replace(stat, ctime_ns=1)))

    assert hides(scope, "x.log")
    assert not hides(drive(IgnoreRules().inside(disk, None, ROOT_PATH, replace(stat, ctime_ns=1))), "x.log")


def test_rules_learnt_again_are_those_of_the_newer_reading() -> None:
    old, new = (RulesText(ROOT_PATH, Stat(Kind.FILE, 1, 1, at, 3, 4, False), b"ab"[at : at + 1]) for at in (0, 1))
    rules = IgnoreRules()
    rules.learn((old,))
    rules.learn((new,))

    assert rules.learnt() == (new,)


def test_documentation_lists_what_is_built_in() -> None:
    text = (Path(__file__).parents[3] / "docs/use/ignore.md").read_text()
    table = text[text.index("## The built-in list") : text.index("## What cannot be synced")]
    documented = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)

    assert documented == [".satchel", *BUILT_IN]
