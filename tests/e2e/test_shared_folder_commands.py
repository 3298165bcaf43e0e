"""The device's commands inside shared folders: what conflicts there, what is taken back there, what a sync would do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.test_shared_folders import done, fill, quiet, share, tree
from tests.support.devices import Device, Ran, wait_for


def said(ran: Ran, code: int = 0) -> Any:
    assert ran.code == code, ran
    return json.loads(ran.out)


def shared(laptop: Device, phone: Device, right: str = "edit") -> tuple[Path, Path]:
    """Share a filled folder; return it on both disks."""
    fill(laptop)
    share(laptop, phone, right)
    here, there = laptop.folder / "team", phone.folder / "team"
    wait_for(lambda: tree(there) == tree(here), phone.told())
    quiet(laptop, phone)
    return here, there


def same(laptop: Device, phone: Device) -> None:
    wait_for(lambda: tree(laptop.folder / "team") == tree(phone.folder / "team"), phone.told())
    quiet(laptop, phone)


def test_a_conflict_in_a_shared_folder_is_found_ended_and_that_taken_back(laptop: Device, phone: Device) -> None:
    here, there = shared(laptop, phone)
    laptop.stop()
    (here / "deep/plan.txt").write_text("from the laptop\n")
    (there / "deep/plan.txt").write_text("from the phone, longer\n")
    quiet(phone)
    laptop.start()
    wait_for(lambda: len(list(there.glob("deep/plan (laptop's conflicted copy *"))) == 1, laptop.told())
    same(laptop, phone)
    (copy,) = here.glob("deep/plan (laptop's conflicted copy *")
    for asked in ((), ("list", str(laptop.folder)), ("list", str(here))):
        (found,) = said(laptop.cli("conflicts", *asked, "--json"))
        assert (found["link"], found["conflict"]["copy"]) == (str(here), f"deep/{copy.name}")
    done(laptop.cli("conflicts", "resolve", str(here / "deep/plan.txt"), "--keep", "mine"))
    wait_for(lambda: (there / "deep/plan.txt").read_text() == "from the laptop\n", laptop.told())
    same(laptop, phone)
    assert not (there / f"deep/{copy.name}").exists()
    assert said(laptop.cli("conflicts", "--json")) == []
    # Taken back without naming the shared folder: what was done last was done there.
    (told,) = said(laptop.cli("undo", "--yes", "--json"))
    assert told["link"] == str(here) and all(item["is_done"] for item in told["items"])
    wait_for(lambda: (there / f"deep/{copy.name}").exists(), laptop.told())
    same(laptop, phone)
    assert (there / "deep/plan.txt").read_text() == "from the phone, longer\n"
    done(laptop.cli("conflicts", "resolve", "--all", "--keep", "theirs"))
    wait_for(lambda: not (there / f"deep/{copy.name}").exists(), laptop.told())
    same(laptop, phone)


def test_what_a_member_did_is_undone_for_all_from_the_local_trash(laptop: Device, phone: Device) -> None:
    here, there = shared(laptop, phone)
    before = tree(here)
    laptop.stop()
    (there / "deep/long.bin").unlink()
    (there / "a.txt").write_text("edited there")
    (there / "new.txt").write_text("new")
    quiet(phone)
    laptop.start()
    same(laptop, phone)
    events = said(laptop.cli("undo", "--dry-run", "--json"))
    assert {(event["what"], event["path"]) for event in events} == {
        ("removed", "deep/long.bin"),
        ("replaced", "a.txt"),
        ("created", "new.txt"),
    }
    (told,) = said(laptop.cli("undo", str(here), "--yes", "--json"), code=23)
    assert [item["path"] for item in told["items"] if not item["is_done"]] == ["new.txt"]
    wait_for(lambda: {**tree(there)} == before | {"new.txt": tree(here)["new.txt"]}, phone.told())
    same(laptop, phone)
    # And that once more.
    done(laptop.cli("undo", "--yes"))
    wait_for(lambda: (there / "a.txt").read_text() == "edited there", phone.told())
    same(laptop, phone)
    assert not (there / "deep/long.bin").exists()


def test_what_was_done_last_is_undone_be_it_in_the_folder_or_in_a_shared_one(laptop: Device, phone: Device) -> None:
    here, there = shared(laptop, phone)
    (there / "a.txt").write_text("older, by the phone")
    wait_for(lambda: (here / "a.txt").read_text() == "older, by the phone", laptop.told())
    quiet(laptop, phone)
    done(laptop.cli("put", str(here / "a.txt"), "satchel:/own.txt"))
    wait_for(lambda: (laptop.folder / "own.txt").read_text() == "older, by the phone", laptop.told())
    quiet(laptop)
    (told,) = said(laptop.cli("undo", "--yes", "--json"))
    assert (told["link"], told["items"][0]["path"]) == (str(laptop.folder), "own.txt")
    assert (laptop.folder / "own.txt").read_text() == "mine"
    (told,) = said(laptop.cli("undo", str(here), "--yes", "--json"))
    assert (here / "a.txt").read_text() == "a"
    same(laptop, phone)


def plans(one: Device, *path: str) -> dict[str, dict[str, tuple[str, str]]]:
    """Return what a sync would do: direction and what, by path, by linked folder."""
    told = said(one.cli("sync", *path, "--dry-run", "--json"))
    return {
        plan["local"]: {change["path"]: (change["direction"], change["what"]) for change in plan["changes"]}
        for plan in told
    }


def test_a_dry_run_tells_what_a_sync_would_do_in_shared_folders(laptop: Device, phone: Device) -> None:
    here, there = shared(laptop, phone)
    assert plans(laptop) == {str(laptop.folder): {}, str(here): {}}
    laptop.stop()
    (there / "deep/long.bin").unlink()
    (there / "a.txt").write_text("theirs")
    quiet(phone)
    (here / "a.txt").write_text("mine, longer")
    (here / "deep/new.txt").write_text("new")
    (laptop.folder / "own.txt").write_text("edited")
    before = tree(laptop.folder)
    found = plans(laptop)
    assert found.pop(str(laptop.folder)) == {"own.txt": ("up", "edit")}
    told = found.pop(str(here))
    (copy,) = [path for path in told if "conflicted copy" in path]
    assert told.pop(copy) == ("up", "conflicted copy")
    assert told == {
        "a.txt": ("down", "edit"),
        "deep/new.txt": ("up", "create"),
        "deep/long.bin": ("down", "delete"),
    }
    assert found == {} and plans(laptop, str(here / "deep")).keys() == {str(here)}
    assert tree(laptop.folder) == before and not (there / "deep/new.txt").exists()
    laptop.start()
    same(laptop, phone)


def test_a_dry_run_tells_what_would_be_kept_apart(laptop: Device, phone: Device) -> None:
    _, there = shared(laptop, phone, "view")
    phone.stop()
    (there / "a.txt").write_text("my edit")
    (there / "more").mkdir()
    (there / "more/new.txt").write_text("new")
    (there / "deep/long.bin").unlink()
    told = plans(phone)[str(there)]
    assert told == {
        "a.txt": ("", "keep apart"),
        "more": ("", "keep apart"),
        "deep/long.bin": ("down", "create"),
    }
    # The part in it ends: the rest leaves the disk as well.
    done(laptop.cli("share", "remove", "satchel:/team", phone.user.name))
    ended = plans(phone)
    assert ended[str(phone.folder)] == {"team": ("down", "delete")}
    assert {path: what for path, what in ended[str(there)].items() if what[0] == ""} == {
        "a.txt": ("", "keep apart"),
        "more": ("", "keep apart"),
    }
    assert ("up" not in {direction for direction, _ in ended[str(there)].values()}) and (there / "a.txt").exists()
    phone.start()
    wait_for(lambda: not there.exists(), phone.told())
    quiet(phone)
    assert set(tree(phone.folder / "Unsynced from team")) == {"a.txt", "more", "more/new.txt"}


def test_a_dry_run_tells_of_a_folder_that_was_made_shared_meanwhile(laptop: Device, phone: Device) -> None:
    fill(laptop)
    laptop.stop()
    (laptop.folder / "team/a.txt").write_text("edited")
    done(laptop.cli("share", "add", "satchel:/team", "--with", phone.user.name))
    assert plans(laptop) == {str(laptop.folder): {"team": ("", "becomes shared")}}
    laptop.start()
    done(phone.cli("share", "accept", "team"))
    wait_for(lambda: (phone.folder / "team/a.txt").exists(), phone.told())
    same(laptop, phone)
    assert (phone.folder / "team/a.txt").read_text() == "edited"


def test_a_shared_folder_and_what_is_in_it_are_not_linked_by_themselves(
    laptop: Device, phone: Device, tmp_path: Path
) -> None:
    shared(laptop, phone)
    done(phone.cli("unlink", str(phone.folder)))
    for remote in ("/team", "/team/deep", "/team/new"):
        ran = phone.cli("link", str(tmp_path / "by itself"), remote, "--yes")
        assert ran.code != 0 and "shared folder" in ran.err, ran
    assert not (laptop.folder / "team/new").exists() and not (tmp_path / "by itself").exists()
