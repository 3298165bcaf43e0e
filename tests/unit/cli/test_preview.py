"""What a link foresees of two sides that change while it looks."""

from pathlib import Path

from satchel.cli.preview import Foreseen, foresee
from satchel.core.entries import Kind
from satchel.core.ids import ROOT_NODE, LinkId, NodeId, OpId
from satchel.core.messages import CommitRequest, CreateOp, SnapshotPage, SnapshotRequest
from satchel.device.drive import drive
from satchel.simulation.core_remote import CoreRemote, CoreService


class Hindered(CoreRemote):
    """A remote in whose first answer something else happens: a local name goes, or a folder is missing in the page."""

    gone: Path | None = None
    missing: NodeId | None = None

    async def snapshot(self, request: SnapshotRequest) -> SnapshotPage:
        if self.gone is not None:
            self.gone.unlink(missing_ok=True)
        page = await super().snapshot(request)
        kept = tuple(entry for entry in page.entries if entry.node_id != self.missing)
        return SnapshotPage(page.ns, page.seq, page.tag, kept, page.has_more)


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(16, "big"))


async def foreseen(folder: Path, *, gone: str = "", missing: NodeId | None = None) -> Foreseen:
    """Foresee against `/a` and `/folder/b`, both symlinks to x."""
    service = await CoreService.start()
    one = service.remote()
    remote = Hindered(service, one._principal)
    ops = (
        CreateOp(OpId(node(1)), node(1), ROOT_NODE, "folder", Kind.FOLDER),
        CreateOp(OpId(node(2)), node(2), ROOT_NODE, "a", Kind.SYMLINK, None, "x"),
        CreateOp(OpId(node(3)), node(3), node(1), "b", Kind.SYMLINK, None, "x"),
    )
    await remote.commit(CommitRequest(service.ns, LinkId(bytes(16)), ops), [])
    remote.gone, remote.missing = folder / gone if gone else None, missing
    return await foresee(str(folder), "/", remote, (service.ns, ROOT_NODE))


def test_equal_and_different_symlinks_are_told_apart_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "A").symlink_to("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b").symlink_to("another")
    told = drive(foreseen(tmp_path))
    assert (told.up, told.down, told.equal, told.differing, told.conflicts) == (0, 0, 1, 1, ("folder/b",))


def test_what_goes_while_it_is_compared_is_in_no_count(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("x")
    told = drive(foreseen(tmp_path, gone="a"))
    assert (told.up, told.down, told.equal, told.differing) == (0, 1, 0, 0)


def test_a_node_whose_folder_the_server_does_not_show_is_in_no_count(tmp_path: Path) -> None:
    told = drive(foreseen(tmp_path, missing=node(1)))
    assert (told.up, told.down, told.equal, told.differing) == (0, 1, 0, 0)
