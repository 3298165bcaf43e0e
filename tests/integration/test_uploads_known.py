"""What of an upload need not be sent, and a folder as an archive, against a real server."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile

from satchel.core.cutting import cut
from satchel.core.limits import KIB, MIB
from tests.integration.test_uploads import add, begin, content, finish, stands
from tests.support.server import Answer, RunningServer, Session


def named(data: bytes) -> list[dict[str, object]]:
    """Return the blocks of a file as a caller names them."""
    told, at = [], 0
    for length in cut(data):
        told.append({"hash": hashlib.sha256(data[at : at + length]).hexdigest(), "size": length})
        at += length
    return told


def known(session: Session, upload: str, offset: int, blocks: list[dict[str, object]]) -> Answer:
    return session.ask("POST", f"/api/v1/uploads/{upload}/known", {"offset": offset, "blocks": blocks})


def test_blocks_that_the_account_has_are_not_sent_again(session: Session) -> None:
    old, fresh = os.urandom(9 * MIB), os.urandom(3 * MIB)
    session.ask("PUT", "/api/v1/content", old, path="/old")
    data = old + fresh
    blocks = named(data)
    upload = begin(session, len(data))
    told = known(session, upload, 0, blocks).json()
    assert 7 * MIB < told["offset"] < len(old)
    assert set(told["missing"]) == {block["hash"] for block in blocks} - {block["hash"] for block in named(old)}
    assert add(session, upload, told["offset"], data[told["offset"] :]).status == 204
    done = finish(session, upload)
    assert (done.status, content(session)) == (200, data)
    whole = session.ask("PUT", "/api/v1/content", data, path="/at once").json()
    assert done.json()["content_hash"] == whole["content_hash"]


def test_known_blocks_follow_bytes_that_came(session: Session) -> None:
    """A block that is shorter than what waits for its end is closed by the one that is named behind it."""
    for first in (1, 300 * KIB, 2 * MIB):
        old, fresh = os.urandom(2 * MIB), os.urandom(first)
        session.ask("PUT", "/api/v1/content", old, path="/old")
        data = fresh + old
        upload = begin(session, len(data))
        assert known(session, upload, 0, [{"hash": "00" * 32, "size": first}]).json()["missing"] == ["00" * 32]
        assert add(session, upload, 0, fresh).status == 204
        assert known(session, upload, first, named(old)).json() == {"offset": len(data), "missing": []}
        assert (finish(session, upload).status, content(session)) == (200, data)


def test_what_came_of_an_upload_that_is_forgotten_need_not_come_again(session: Session) -> None:
    data = os.urandom(9 * MIB)
    first = begin(session, len(data))
    assert add(session, first, 0, data[: 8 * MIB]).status == 204
    assert session.ask("DELETE", f"/api/v1/uploads/{first}").status == 204
    again = begin(session, len(data))
    assert known(session, again, 0, named(data)).json()["offset"] > 3 * MIB


def test_a_hash_opens_nothing_of_another_account(server: RunningServer, session: Session) -> None:
    data = os.urandom(2 * MIB)
    session.ask("PUT", "/api/v1/content", data, path="/secret")
    other = server.add_user("guesses").sign_in()
    upload = begin(other, len(data))
    told = known(other, upload, 0, named(data)).json()
    assert (told["offset"], told["missing"]) == (0, [block["hash"] for block in named(data)])
    assert known(other, begin(session, len(data)), 0, named(data)).status == 404


def test_blocks_that_do_not_fit_are_refused(session: Session) -> None:
    data = os.urandom(2 * MIB)
    session.ask("PUT", "/api/v1/content", data, path="/old")
    blocks = named(data)
    short = begin(session, 10)
    assert known(session, short, 0, blocks).json()["error"]["fields"]["reason"] == "size"
    upload = begin(session, len(data))
    assert known(session, upload, 1, blocks).json()["error"]["code"] == "offset_mismatch"
    assert known(session, upload, 0, []).status == 400
    lying = [{**blocks[0], "size": int(str(blocks[0]["size"])) - 1}]
    assert known(session, upload, 0, lying).json()["offset"] == 0
    assert stands(session, upload) == 0


def test_an_upload_is_finished_only_with_the_content_that_was_meant(session: Session) -> None:
    data = os.urandom(1 * MIB)
    wanted = session.ask("PUT", "/api/v1/content", data, path="/at once").json()["content_hash"]
    upload = begin(session, len(data))
    assert add(session, upload, 0, bytes(len(data))).status == 204
    refused = session.ask("POST", f"/api/v1/uploads/{upload}/finish", content_hash=wanted)
    assert (refused.status, refused.json()["error"]["code"]) == (422, "block_mismatch")
    assert stands(session, upload) == 0
    assert add(session, upload, 0, data).status == 204
    assert session.ask("POST", f"/api/v1/uploads/{upload}/finish", content_hash=wanted).status == 200


def test_a_folder_or_some_of_it_is_one_archive(server: RunningServer) -> None:
    ann, bob = server.add_user("zip ann").sign_in(), server.add_user("zip bob").sign_in()
    made = {}
    for path in ("/docs", "/docs/deep", "/docs/empty", "/ours"):
        made[path] = ann.ask("POST", "/api/v1/folders", {"path": path}).json()
    files = {"/docs/a.txt": b"a", "/docs/deep/b.bin": os.urandom(2 * MIB), "/docs/ü.txt": b"", "/ours/shared.txt": b"s"}
    for path, data in files.items():
        made[path] = ann.ask("PUT", "/api/v1/content", data, path=path).json()
    share = ann.ask("POST", "/api/v1/shares", {"path": "/ours", "with": [{"user": "zip bob", "role": "viewer"}]}).json()
    assert bob.ask("POST", f"/api/v1/share-invitations/{share['id']}/accept").status < 300

    def unpacked(session: Session, path: str, query: str = "") -> dict[str, bytes]:
        told = session.ask("GET", f"/api/v1/zip?path={path}{query}")
        assert told.status == 200, told.body
        with zipfile.ZipFile(io.BytesIO(told.body)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    whole = unpacked(ann, "/docs")
    assert whole["docs/a.txt"], whole["docs/deep/b.bin"] == (b"a", files["/docs/deep/b.bin"])
    assert {"docs/", "docs/empty/", "docs/deep/", "docs/ü.txt"} < set(whole)
    some = unpacked(ann, "/docs", f"&only={made['/docs/a.txt']['id']}&only={made['/docs/empty']['id']}")
    assert sorted(some) == ["docs/", "docs/a.txt", "docs/empty/"]
    assert unpacked(bob, "/")["ours/shared.txt"] == b"s"
    foreign = ann.ask("GET", f"/api/v1/zip?path=/docs&only={made['/docs/deep/b.bin']['id']}")
    assert (foreign.status, ann.ask("GET", "/api/v1/zip?path=/docs/a.txt").status) == (404, 400)
