"""What a WebDAV server's listing says, and what is refused in it."""

import pytest

from satchel.core.errors import LimitExceeded, MessageInvalid
from satchel.device.carrying.webdav import Listing, Resource, WebDavSource

PROPERTIES = (
    "<D:getcontentlength>12</D:getcontentlength><D:getlastmodified>Tue, 14 Nov 2023 22:13:20 GMT</D:getlastmodified>"
)


def listing(*responses: str) -> list[Resource]:
    text = f'<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">{"".join(responses)}</D:multistatus>'
    reading = Listing()
    for byte in text.encode():
        reading.feed(bytes((byte,)))
    return reading.finished()


def response(href: str, properties: str, status: str = "HTTP/1.1 200 OK") -> str:
    found = f"<D:propstat><D:prop>{properties}</D:prop><D:status>{status}</D:status></D:propstat>"
    return f"<D:response><D:href>{href}</D:href>{found}</D:response>"


def test_files_and_folders_are_told_apart() -> None:
    assert listing(
        response("/dav/a%20b", PROPERTIES),
        response("/dav/in/", "<D:resourcetype><D:collection/></D:resourcetype>"),
    ) == [Resource("/dav/a%20b", False, 12, 1_700_000_000_000_000_000), Resource("/dav/in/", True)]


def test_a_property_that_was_refused_tells_nothing() -> None:
    assert listing(response("/a", PROPERTIES, "HTTP/1.1 404 Not Found")) == [Resource("/a")]
    assert listing(response("/a", "<D:getcontentlength>-1</D:getcontentlength>")) == [Resource("/a")]
    assert listing(response("/a", "<D:getlastmodified>long ago</D:getlastmodified>")) == [Resource("/a")]


@pytest.mark.parametrize(
    "text",
    [
        b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>',
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1/x"><x/>',
        b"<x>",
        b"not xml",
    ],
)
def test_declarations_and_broken_documents_are_refused(text: bytes) -> None:
    def read() -> None:
        reading = Listing()
        reading.feed(text)
        reading.finished()

    with pytest.raises(MessageInvalid):
        read()


def test_a_document_has_a_depth() -> None:
    with pytest.raises(LimitExceeded):
        Listing().feed(b"<x>" * 100)


@pytest.mark.parametrize("address", ["ftp://h/x", "https://ann:secret@h/dav", "https:///dav", "nowhere"])
def test_an_address_is_of_the_web_and_holds_no_password(address: str) -> None:
    with pytest.raises(MessageInvalid):
        WebDavSource(address)
