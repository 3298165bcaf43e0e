"""A link whose remote folder was made shared: the list of links first, then the index, and both again after a stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from satchel.core.errors import StorageFailed
from satchel.core.ids import LinkId
from satchel.device import following_shared
from satchel.device.engine.own_folder import BECOMES, STANDS_ALONE
from satchel.device.following_shared import follow_shared
from satchel.device.index.store import Index
from satchel.device.links import Link, LinkStore, index_folder
from satchel.device.mounted import NO_UNIT

SHARED = b"s" * 16


def linked(home: Path) -> tuple[Link, Path]:
    link = Link(LinkId(b"l" * 16), "/home/ann/team", "/team", "aa" * 16, "bb" * 16, "laptop", has_xattrs=True)
    LinkStore(home).add(link)
    folder = index_folder(home, link.link_id)
    folder.mkdir(parents=True)
    return link, folder / "index.db"


def put(file: Path, **values: object) -> None:
    index = Index(str(file))
    with index.durable():
        for key, value in values.items():
            index.put(key, value)
    index.close()


def told(file: Path) -> dict[str, object]:
    index = Index(str(file))
    found = {key: index.get(key) for key in (BECOMES, STANDS_ALONE, "seq", "scope", "epoch")}
    index.close()
    return found


def test_a_link_of_any_other_folder_begins_as_it_is(tmp_path: Path) -> None:
    link, file = linked(tmp_path)
    assert follow_shared(tmp_path, link) == link
    assert not file.exists()
    put(file, seq=7)
    assert follow_shared(tmp_path, link) == link
    assert told(file)["seq"] == 7


def test_it_begins_in_the_shared_folder_and_stays_there(tmp_path: Path) -> None:
    link, file = linked(tmp_path)
    put(file, seq=7, scope=b"x", epoch=b"e", **{BECOMES: SHARED})
    followed = follow_shared(tmp_path, link)
    assert (followed.ns, followed.unit, followed.link_id) == (SHARED.hex(), NO_UNIT, link.link_id)
    assert told(file) == {BECOMES: None, STANDS_ALONE: 1, "seq": None, "scope": None, "epoch": b"e"}
    assert LinkStore(tmp_path).links() == (followed,)
    # Whoever holds what was known of it before is told of it as it is.
    assert follow_shared(tmp_path, link) == followed


def test_a_stop_between_the_list_and_the_index_does_it_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, file = linked(tmp_path)
    put(file, seq=7, **{BECOMES: SHARED})

    class Stopped(Index):
        def durable(self) -> object:  # type: ignore[override]  # never entered
            raise StorageFailed("Stopped.", where="index")

    with monkeypatch.context() as patched:
        patched.setattr(following_shared, "Index", Stopped)
        with pytest.raises(StorageFailed):
            follow_shared(tmp_path, link)
    assert told(file)["seq"] == 7
    assert follow_shared(tmp_path, link).ns == SHARED.hex()
    assert told(file)["seq"] is None
