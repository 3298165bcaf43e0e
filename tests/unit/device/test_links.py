import dataclasses
from pathlib import Path

import pytest

from satchel.core.errors import AlreadyExists, NotLinked, SettingInvalid, VersionUnsupported
from satchel.core.ids import LinkId
from satchel.device.links import Link, LinkStore, check_overlap, is_within


def a_link(local: str, remote: str = "/", number: int = 1) -> Link:
    return Link(LinkId(bytes([number]) * 16), local, remote, "aa" * 16, "00" * 16, "laptop")


def test_a_stored_link_is_there_for_the_next_process(tmp_path: Path) -> None:
    LinkStore(tmp_path).add(a_link("/home/ann/Satchel"))
    assert LinkStore(tmp_path).links() == (a_link("/home/ann/Satchel"),)


def test_the_list_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    LinkStore(tmp_path / "home").add(a_link("/home/ann/Satchel"))
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "home", tmp_path / "home" / "links.json")}
    assert modes == {"home": 0o700, "links.json": 0o600}


@pytest.mark.parametrize(
    ("local", "remote"),
    [
        ("/home/ann/Satchel", "/other"),
        ("/home/ann/Satchel/deep", "/other"),
        ("/home/ann", "/other"),
        ("/somewhere", "/plan"),
        ("/somewhere", "/PLAN/notes"),
        ("/somewhere", "/"),
    ],
)
def test_a_link_that_overlaps_another_on_either_side_is_refused(local: str, remote: str) -> None:
    with pytest.raises(AlreadyExists):
        check_overlap(a_link(local, remote, 2), (a_link("/home/ann/Satchel", "/plan"),))


@pytest.mark.parametrize(("local", "remote"), [("/home/ann/Satchel2", "/other"), ("/home/bob", "/planning")])
def test_names_that_only_begin_alike_do_not_overlap(local: str, remote: str) -> None:
    check_overlap(a_link(local, remote, 2), (a_link("/home/ann/Satchel", "/plan"),))


def test_links_of_two_namespaces_may_have_the_same_remote_path() -> None:
    other = dataclasses.replace(a_link("/somewhere", "/plan", 2), ns="bb" * 16)
    check_overlap(other, (a_link("/home/ann/Satchel", "/plan"),))


def test_a_shared_folder_in_a_linked_one_is_found_first_and_goes_with_it(tmp_path: Path) -> None:
    store, outer = LinkStore(tmp_path), a_link(str(tmp_path / "ann"))
    inner = dataclasses.replace(a_link(str(tmp_path / "ann/team"), "/team", 2), ns="bb" * 16, outer=outer.local)
    store.add(outer)
    store.put_mounted((inner,))
    assert store.links() == (outer,) and store.every() == (inner, outer)
    assert store.holding(str(tmp_path / "ann/team/a")) == (inner, "/team/a")
    assert store.holding(str(tmp_path / "ann/team2")) == (outer, "/team2")
    store.remove(outer.link_id)
    assert store.every() == ()


def test_a_refused_link_leaves_the_list_as_it_was(tmp_path: Path) -> None:
    store = LinkStore(tmp_path)
    store.add(a_link("/home/ann/Satchel"))
    with pytest.raises(AlreadyExists):
        store.add(a_link("/home/ann", "/other", 2))
    assert store.links() == (a_link("/home/ann/Satchel"),)


def test_a_moved_link_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    store = LinkStore(tmp_path)
    store.add(a_link("/old"))
    store.add(a_link("/new", "/", 2), instead_of=a_link("/old").link_id)
    assert store.links() == (a_link("/new", "/", 2),)


def test_removing_an_unknown_link_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotLinked):
        LinkStore(tmp_path).remove(a_link("/old").link_id)


def test_a_local_path_is_told_as_its_remote_twin(tmp_path: Path) -> None:
    folder = tmp_path / "Satchel"
    folder.mkdir()
    store = LinkStore(tmp_path / "home")
    store.add(a_link(str(folder), "/plan"))
    assert store.holding(str(folder / "a" / "b.txt")) == (a_link(str(folder), "/plan"), "/plan/a/b.txt")
    assert store.holding(str(folder)) == (a_link(str(folder), "/plan"), "/plan")
    assert store.holding(str(tmp_path / "elsewhere")) is None


@pytest.mark.parametrize("raw", [b'{"format": 1, "links": [', b'{"format": 1, "links": "\xff"}'])
def test_a_damaged_list_stops_with_its_place_named(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "links.json").write_bytes(raw)
    with pytest.raises(SettingInvalid, match=r"links\.json"):
        LinkStore(tmp_path).links()


def test_a_list_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "links.json").write_bytes(b'{"format": 2, "links": []}')
    with pytest.raises(VersionUnsupported):
        LinkStore(tmp_path).links()


def test_a_folder_lies_within_itself_and_within_the_root() -> None:
    assert is_within("/a", "/a")
    assert is_within("/a", "/")
    assert not is_within("/ab", "/a")


def test_i5_whether_extended_attributes_are_synced_is_remembered(tmp_path: Path) -> None:
    store = LinkStore(tmp_path)
    with_them = dataclasses.replace(a_link(str(tmp_path / "a"), "/a"), has_xattrs=True)
    store.add(with_them)
    store.add(a_link(str(tmp_path / "b"), "/b"))
    assert [link.has_xattrs for link in LinkStore(tmp_path).links()] == [True, False]
