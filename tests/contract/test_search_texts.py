"""Search in texts, on SQLite and on PostgreSQL: what is read, what is found, and what leaves."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

from satchel.core.access import Role
from satchel.core.entries import Kind
from satchel.core.errors import MessageInvalid, NotFound, Unavailable
from satchel.core.ids import ROOT_NODE, NodeId
from satchel.core.messages import CreateOp, DeleteOp, EditOp, MoveOp, Op, Placement, Stored, UndeleteOp
from satchel.server.db.engine import Database, Work
from satchel.server.documents.extracting import Extractor, Plain
from satchel.server.documents.extractor import small_pdf
from satchel.server.search.indexing import step
from satchel.server.search.looking import FoundTexts, search_texts, snippets_of
from satchel.server.search.scopes import Place, places_at
from satchel.server.search.texts import STEP_WORDS, Reading, step_texts
from satchel.server.search.words import asked_words
from satchel.server.sharing.conversion import share_folder
from satchel.server.sharing.people import accept, invite, remove
from satchel.server.upkeep.naming import make_anew
from satchel.server.upkeep.texts import drop_texts, read_texts
from satchel.simulation.stores import MemoryBlocks
from tests.support.databases import Run
from tests.support.memory_service import open_service
from tests.support.upkeep_world import File, Owner, World
from tests.support.writers import content_of, new_id, op_id

NEVER = 1 << 60


class Plainly(Extractor):
    """Takes what comes for text without a process, and counts; what begins with a NUL has none to give."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[bytes] = []

    async def text_as(self, kind: str, data: bytes, *, chars_max: int = 0) -> Plain:
        self.read.append(data)
        if data.startswith(b"\0"):
            raise MessageInvalid("No text.", reason="unreadable")
        return Plain(data.decode(), False)


class Library:
    """Files of an account, their index, and questions to it."""

    def __init__(self, db: Database) -> None:
        self.world, self.documents = World(db, MemoryBlocks()), Plainly()
        self.db = db
        self.ann: Owner

    async def opened(self) -> Library:
        self.ann = await self.world.owner()
        return self

    async def do(self, op: Op) -> int:
        outcome = await self.world.commit(self.ann, op)
        assert isinstance(outcome, Stored), outcome
        return outcome.seq

    async def write(self, name: str, data: bytes, parent: NodeId = ROOT_NODE) -> File:
        await self.world.put(self.ann, data)
        file = File(NodeId(new_id()))
        file.rev = await self.do(CreateOp(op_id(), file.node_id, parent, name, Kind.FILE, content_of(data)))
        return file

    async def edit(self, file: File, data: bytes) -> None:
        await self.world.put(self.ann, data)
        file.rev = await self.do(EditOp(op_id(), file.node_id, file.rev, content_of(data)))

    async def folder(self, name: str) -> NodeId:
        node = NodeId(new_id())
        await self.do(CreateOp(op_id(), node, ROOT_NODE, name, Kind.FOLDER))
        return node

    async def index(self) -> int:
        """Read all that waits; return how many documents were read or removed."""
        reading = Reading(self.db, self.world.service, self.documents, self.world.workers)
        counts = await read_texts(reading, self.world.clock)
        return counts.done.get("texts", 0)

    async def look(self, text: str, who: Owner | None = None, path: str = "/") -> FoundTexts:
        principal = (who or self.ann).principal
        places = await places_at(self.db, principal, path)
        return await search_texts(self.db, principal, places, asked_words(text))

    async def find(self, text: str, who: Owner | None = None, path: str = "/") -> list[str]:
        found = await self.look(text, who, path)
        assert found.is_complete and found.is_all
        return sorted(hit.path for hit in found.hits)

    async def left(self) -> tuple[int, int, int]:
        """Count what the index holds: documents, texts, words."""
        tables = ("text_nodes", "texts", "text_words")
        counts = [(await self.world.rows(f"SELECT COUNT(*) FROM {table}"))[0][0] for table in tables]
        return counts[0], counts[1], counts[2]


def test_documents_are_found_by_their_words_once_they_were_read(run: Run) -> None:
    async def scenario(db: Database) -> None:
        library = await Library(db).opened()
        await library.write("a.txt", "Grüße from the Harbour, twice: harbour".encode())
        await library.write("b.md", b"a harbourmaster in 2024")
        await library.write("c.txt", "年度報告書の写し".encode())
        await library.write("picture.png", b"harbour")
        assert not (await library.look("harbour")).is_complete
        assert await library.index() == 3
        assert await library.find("HARBOUR") == ["/a.txt", "/b.md"]
        assert await library.find("harbour the") == ["/a.txt"]
        assert await library.find("grüsse") == await library.find("GRÜSSE fro") == ["/a.txt"]
        assert await library.find("master") == await library.find("ha") == []
        assert await library.find("in 2024") == ["/b.md"]
        assert (
            await library.find("年度報告書の写し")
            == await library.find("報告書")
            == await library.find("写")
            == ["/c.txt"]
        )
        assert await library.find("harbour", path="/") == ["/a.txt", "/b.md"]
        found = await library.look("harbour")
        shown = await snippets_of(db, library.world.workers, found.hits, asked_words("harbour"))
        pieces = {hit.path: piece for hit, piece in zip(found.hits, shown, strict=True)}
        text, matches = pieces["/a.txt"]
        assert text == "Grüße from the Harbour, twice: harbour"
        assert [text[start:end] for start, end in matches] == ["Harbour", "harbour"]
        for question in ("", " .,- ", "a b c d e f g h i", "x" * 256):
            with pytest.raises(MessageInvalid):
                asked_words(question)

    run(scenario)


def test_equal_contents_are_read_once_and_failures_are_not_tried_again(run: Run) -> None:
    async def scenario(db: Database) -> None:
        library = await Library(db).opened()
        for name in ("one.txt", "two.txt", "three.md"):
            await library.write(name, b"the same words")
        await library.write("none.txt", b"\0binary")
        assert await library.index() == 2
        await library.write("four.txt", b"the same words")
        await library.write("none again.txt", b"\0binary")
        assert await library.index() == 0
        assert sorted(library.documents.read) == [b"\0binary", b"the same words"]
        assert await library.find("same") == ["/four.txt", "/one.txt", "/three.md", "/two.txt"]
        # Whoever makes the index anew has those that failed read once more, and no other.
        await make_anew(db)
        assert await library.index() == 1
        assert await library.find("same") == ["/four.txt", "/one.txt", "/three.md", "/two.txt"]

    run(scenario)


def test_what_is_replaced_deleted_or_renamed_leaves_the_index_with_its_words(run: Run) -> None:
    async def scenario(db: Database) -> None:
        library = await Library(db).opened()
        folder = await library.folder("folder")
        file, other = await library.write("a.txt", b"first words"), await library.write("b.txt", b"other", folder)
        await library.index()
        await library.edit(file, b"second")
        # What is not read yet is not found by what it was.
        assert (await library.look("first")).hits == []
        await library.index()
        assert (await library.find("first"), await library.find("second")) == ([], ["/a.txt"])
        await library.do(DeleteOp(op_id(), folder, NEVER))
        assert await library.find("other") == []
        await library.do(UndeleteOp(op_id(), folder, ROOT_NODE, "folder", is_subtree=True))
        assert await library.find("other", path="/folder") == ["/folder/b.txt"]
        assert await library.find("other") == ["/folder/b.txt"]
        assert await library.find("second", path="/folder") == []
        place = await library.world.rows("SELECT place_rev FROM files WHERE node_id = $1", other.node_id)
        await library.do(MoveOp(op_id(), (Placement(other.node_id, place[0][0], ROOT_NODE, "b.bin"),)))
        await library.index()
        assert await library.find("other") == []
        await library.do(DeleteOp(op_id(), file.node_id, NEVER))
        await library.index()
        assert await library.find("second") == []
        assert await library.left() == (0, 0, 0)

    run(scenario)


def test_what_a_purge_removes_leaves_the_index_too(run: Run) -> None:
    async def scenario(db: Database) -> None:
        library = await Library(db).opened()
        folder = await library.folder("folder")
        await library.write("a.txt", b"words", folder)
        await library.index()
        assert await library.find("words") == ["/folder/a.txt"]
        await library.do(DeleteOp(op_id(), folder, NEVER))
        await library.index()
        await library.world.execute("DELETE FROM files WHERE node_id <> $1", folder)
        await drop_texts(db, library.world.clock)
        await library.index()
        assert await library.left() == (0, 0, 0)

    run(scenario)


def test_a_shared_folder_is_searched_by_its_members_only(run: Run) -> None:
    async def scenario(db: Database) -> None:
        library = await Library(db).opened()
        world, ann = library.world, library.ann
        bob, eve = await world.owner(), await world.owner()
        folder = await library.folder("folder")
        await library.write("a.txt", b"our secret", folder)
        await library.write("mine.txt", b"my secret")
        await library.index()
        ns = await share_folder(db, world.clock, ann.principal, ann.principal.root_ns, folder)
        await invite(db, world.clock, ann.principal, ns, [(bob.principal.account_name, Role.VIEWER)])
        assert await library.find("secret", bob) == []
        await accept(db, world.clock, bob.principal, ns)
        await drop_texts(db, world.clock)
        await library.index()
        assert await library.find("secret") == ["/folder/a.txt", "/mine.txt"]
        assert await library.find("secret", path="/folder") == ["/folder/a.txt"]
        assert await library.find("secret", bob) == await library.find("secret", bob, "/folder") == ["/folder/a.txt"]
        assert await library.find("secret", eve) == []
        with pytest.raises(NotFound):
            await search_texts(db, eve.principal, [Place(ns)], ["secret"])
        await remove(db, world.clock, ann.principal, ns, bob.principal.account_id)
        assert await library.find("secret", bob) == []

    run(scenario)


class Cut:
    """A database whose n-th write does not happen, as if the process had died before it."""

    def __init__(self, db: Database, count: int) -> None:
        self._db, self._left = db, count

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)

    async def write(self, key: bytes, work: Work[int]) -> int:
        self._left -= 1
        if self._left < 0:
            raise Unavailable("Cut.", where="test", reason="cut")
        return await self._db.write(key, work)


def test_reading_and_removing_can_be_cut_anywhere_and_go_on(run: Run) -> None:
    async def scenario(db: Database) -> None:
        library = await Library(db).opened()
        text = " ".join(f"word{number}" for number in range(2 * STEP_WORDS))
        reading = Reading(db, library.world.service, library.documents, library.world.workers)
        await make_anew(db)
        for count in range(5):
            file = await library.write("a.txt", text.encode())
            for is_live in (True, False):
                if not is_live:
                    await library.do(DeleteOp(op_id(), file.node_id, NEVER))
                while await step(db, library.ann.principal.root_ns) is not None:
                    pass
                with contextlib.suppress(Unavailable):
                    await step_texts(replace(reading, db=Cut(db, count)), library.ann.principal.root_ns)  # type: ignore[arg-type]
                await library.index()
                assert await library.find("word0 word1999") == (["/a.txt"] if is_live else [])
            assert await library.left() == (0, 0, 0)

    run(scenario)


def test_a_document_is_read_by_a_process_of_its_own() -> None:
    async def scenario() -> None:
        service = await open_service()
        library = Library(service.services.db)
        library.documents = Extractor()  # type: ignore[assignment]  # the one that starts processes
        library.ann = await library.world.owner()
        await library.write("small.pdf", small_pdf(b"hello"))
        assert await library.index() == 1
        assert await library.find("hello") == ["/small.pdf"]

    asyncio.run(scenario())
