"""`satchel link`, as a person types it, against a real server: what it foresees, what it asks, what it tells."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.devices import Device
from tests.support.server import RunningServer, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("link")) as running:
        yield running


@pytest.fixture
def laptop(server: RunningServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Device]:
    user = server.add_user(f"user{abs(hash(request.node.name)) % 10**9}")
    made = Device(tmp_path / "home", tmp_path / "folder", "laptop", user)
    made.sign_in()
    try:
        yield made
    finally:
        made.cli("daemon", "stop")


def on_both_sides(laptop: Device, spool: Path, contents: dict[str, bytes]) -> None:
    """Put files on the server and, as they are, into the folder that is not linked yet."""
    spool.mkdir()
    laptop.folder.mkdir()
    for name, content in contents.items():
        for folder in (spool, laptop.folder):
            (folder / name).write_bytes(content)
    assert laptop.cli("put", *(str(spool / name) for name in contents), "/").code == 0


def foreseen(laptop: Device) -> dict[str, object]:
    """Return the counts of a dry run."""
    told = laptop.cli("link", str(laptop.folder), "--dry-run", "--json").json()
    assert isinstance(told, dict)
    return {key: told[key] for key in ("up", "down", "equal", "differing", "conflicts")}


def test_a_dry_run_knows_equal_files_of_any_size(laptop: Device, tmp_path: Path) -> None:
    sizes = {"empty": 0, "short": 1, "one block": 512 * 1024, "two blocks": 512 * 1024 + 1, "many": 9 * 1024**2}
    on_both_sides(laptop, tmp_path / "spool", {name: os.urandom(size) for name, size in sizes.items()})
    assert foreseen(laptop) == {"up": 0, "down": 0, "equal": 5, "differing": 0, "conflicts": []}
    for name in ("short", "one block", "many"):
        content = (laptop.folder / name).read_bytes()
        (laptop.folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    told = {"up": 0, "down": 0, "equal": 2, "differing": 3, "conflicts": ["many", "one block", "short"]}
    assert foreseen(laptop) == told


def test_a_link_with_yes_foresees_nothing_and_links(laptop: Device, tmp_path: Path) -> None:
    on_both_sides(laptop, tmp_path / "spool", {"equal": b"same", "differs": b"there"})
    (laptop.folder / "differs").write_bytes(b"here!")
    told = laptop.cli("link", str(laptop.folder), "--yes", "--json").json()
    assert isinstance(told, dict)
    assert (told["link"], told["foreseen"]) == ({"local": str(laptop.folder), "remote": "/"}, None)
    assert [link["local"] for link in told["links"]] == [str(laptop.folder)]


def test_a_link_that_nobody_agrees_to_links_nothing(laptop: Device, tmp_path: Path) -> None:
    on_both_sides(laptop, tmp_path / "spool", {"differs": b"there"})
    (laptop.folder / "differs").write_bytes(b"here!")
    refused = laptop.cli("link", str(laptop.folder))
    assert refused.code == 1
    assert "kept twice: differs" in refused.out
    assert "--yes" in refused.err
    assert not (laptop.home / "links.json").exists()


def test_a_first_link_of_a_new_folder_needs_no_yes_and_tells_what_it_foresees(laptop: Device) -> None:
    told = laptop.cli("link", str(laptop.folder), "/new/place", "--json").json()
    assert isinstance(told, dict)
    assert told["link"] == {"local": str(laptop.folder), "remote": "/new/place"}
    assert (told["foreseen"]["up"], told["foreseen"]["down"]) == (0, 0)


@pytest.mark.parametrize("how", ["--yes", "--dry-run"])
def test_a_link_that_overlaps_another_is_refused_before_anything_is_made(laptop: Device, how: str) -> None:
    assert laptop.cli("link", str(laptop.folder), "/plan", "--yes", "--quiet").code == 0
    inner = laptop.folder / "inner"
    for local, remote in ((inner, "/elsewhere"), (laptop.folder.with_name("other"), "/plan/part")):
        refused = laptop.cli("link", str(local), remote, how)
        assert (refused.code, "overlaps" in refused.err) == (22, True)
        assert not local.exists()
    assert laptop.cli("ls", "/").out == "plan/\n"
