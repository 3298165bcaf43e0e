"""`cp`, `find`, `diff` and `report`, as a person types them, against a real server."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.devices import Device, Ran
from tests.support.server import running_server


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    folder = tmp_path_factory.mktemp("copies")
    with running_server(folder) as server:
        made = Device(folder / "home", folder / "folder", "laptop", server.add_user("ann"))
        made.sign_in()
        yield made


def put(laptop: Device, tmp_path: Path, text: str, target: str) -> None:
    source = tmp_path / "source"
    source.write_text(text)
    assert laptop.cli("put", str(source), target).code == 0


def listed(ran: Ran) -> list[str]:
    assert ran.code == 0, ran
    return list(json.loads(ran.out))


def test_a_copy_takes_no_name_that_is_taken(laptop: Device, tmp_path: Path) -> None:
    put(laptop, tmp_path, "one", "/a.txt")
    assert laptop.cli("cp", "/a.txt", "/b.txt").code == 0
    assert laptop.cli("cat", "/b.txt").out == "one"
    assert laptop.cli("cp", "/a.txt", "/b.txt").code in (22, 23)


def test_a_folder_is_copied_with_all_in_it_and_never_into_itself(laptop: Device, tmp_path: Path) -> None:
    assert laptop.cli("mkdir", "-p", "/tree/empty").code == 0
    put(laptop, tmp_path, "deep", "/tree/deep.txt")
    assert laptop.cli("cp", "/tree", "/copy").code == 1
    assert listed(laptop.cli("cp", "-r", "/tree", "/copy", "--json")) == ["/copy/deep.txt"]
    assert laptop.cli("cp", "-r", "/tree", "/tree/empty").code == 1
    assert {item["name"] for item in json.loads(laptop.cli("ls", "/copy", "--json").out)} == {"empty", "deep.txt"}


def test_find_is_by_part_of_a_name_or_by_pattern(laptop: Device, tmp_path: Path) -> None:
    assert laptop.cli("mkdir", "/found").code == 0
    put(laptop, tmp_path, "x", "/found/Invoice 1.PDF")
    put(laptop, tmp_path, "x", "/found/notes.txt")
    assert listed(laptop.cli("find", "invoice", "--json")) == ["/found/Invoice 1.PDF"]
    assert listed(laptop.cli("find", "*.pdf", "/found", "--json")) == ["/found/Invoice 1.PDF"]
    assert laptop.cli("find", "nothing of the kind").code == 21


def test_diff_shows_the_last_change_line_by_line(laptop: Device, tmp_path: Path) -> None:
    put(laptop, tmp_path, "same\nold\n", "/d.txt")
    assert laptop.cli("diff", "/d.txt").code == 21, "there is one version only"
    put(laptop, tmp_path, "same\nnew\n", "/d.txt")
    assert listed(laptop.cli("diff", "/d.txt", "--json"))[2:] == ["@@ -1,2 +1,2 @@", " same", "-old", "+new"]


def test_a_report_is_a_zip_without_names_and_replaces_nothing(laptop: Device, tmp_path: Path) -> None:
    target = tmp_path / "report.zip"
    assert laptop.cli("report", str(target)).code == 0
    with zipfile.ZipFile(target) as bundle:
        assert set(bundle.namelist()) == {"versions.txt", "status.json", "activity.json", "log.txt"}
        whole = "".join(bundle.read(name).decode() for name in bundle.namelist())
    assert str(laptop.home) not in whole and laptop.user.password not in whole
    assert laptop.cli("report", str(target)).code == 22
