"""The words of WebDAV, without a server: addresses, conditions, XML."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.core.errors import Fault, MessageInvalid, NameInvalid
from satchel.core.paths import validate_name
from satchel.server.gateway.webdav.answers import Refusal
from satchel.server.gateway.webdav.conditions import Facts, holds, names_tag, parse_if, tokens_of
from satchel.server.gateway.webdav.locks import lock_s, new_token
from satchel.server.gateway.webdav.names import href_of, is_inside, names_here, names_of
from satchel.server.gateway.webdav.properties import http_date, media_type_of
from satchel.server.gateway.webdav.xml_bodies import Element, escaped, inside, parse, written


def _is_name(text: str) -> bool:
    with suppress(NameInvalid):
        validate_name(text)
        return True
    return False


def scope(host: str, scheme: str = "http") -> dict[str, object]:
    return {"scheme": scheme, "headers": [(b"host", host.encode())]}


@given(st.lists(st.text(min_size=1, max_size=12).filter(_is_name), max_size=3), st.booleans())
def test_a_path_comes_back_from_its_address(names: list[str], is_folder: bool) -> None:
    href = href_of(names, is_folder=is_folder)
    assert href.isascii()
    assert names_of(href.encode()) == tuple(names)
    assert names_here(scope("here"), "http://here" + href, public_url="") == tuple(names)


@given(st.binary(max_size=60))
def test_any_address_is_a_path_of_names_or_refused(raw: bytes) -> None:
    with suppress(Fault, Refusal):
        for name in names_of(b"/dav/" + raw):
            validate_name(name)


@pytest.mark.parametrize(
    ("host", "scheme", "public_url", "reference"),
    [
        ("here", "http", "", "http://here/dav/a"),
        ("here", "http", "", "/dav/a"),
        ("here:80", "http", "", "http://HERE/dav/a"),
        ("here", "http", "", "https://here:443/dav/a"),
        ("here:8484", "http", "", "http://here:8484/dav/a"),
        ("inner:8484", "http", "https://files.example", "https://files.example/dav/a"),
        ("here", "http", "", "http://user@here/dav/a"),
    ],
)
def test_an_address_of_this_server_is_known(host: str, scheme: str, public_url: str, reference: str) -> None:
    assert names_here(scope(host, scheme), reference, public_url=public_url) == ("a",)


@pytest.mark.parametrize(
    "reference", ["http://else/dav/a", "http://here:81/dav/a", "//else/dav/a", "/other", "http://here/"]
)
def test_an_address_elsewhere_is_refused(reference: str) -> None:
    with pytest.raises(Refusal) as refused:
        names_here(scope("here"), reference, public_url="")
    assert refused.value.status == 502


def test_what_is_inside_is_compared_as_the_server_compares_names() -> None:
    assert is_inside(("A", "b", "c"), ("a", "B"))
    assert is_inside(("a",), ("a",))
    assert is_inside(("a",), ())
    assert not is_inside(("ab",), ("a",))
    assert not is_inside(("a",), ("a", "b"))


@given(st.text(alphabet="()<>[]\"' NotWabc/:-", max_size=60) | st.text(max_size=60))
def test_any_if_header_is_read_or_refused(text: str) -> None:
    with suppress(Refusal):
        claims = parse_if(text)
        holds(claims, lambda _: Facts("", frozenset()))


def test_lists_are_alternatives_and_their_conditions_hold_together() -> None:
    facts = Facts('"e"', frozenset({"t"}))
    for text, is_true in (
        ('(<t> ["e"])', True),
        ('(<t> ["f"])', False),
        ('(<u>) (["e"])', True),
        ('(Not <u> Not ["f"])', True),
        ("(not <t>)", False),
        ('(<u> ["e"]) (<t> ["f"])', False),
        ("(<DAV:no-lock>)", False),
        ("(Not<DAV:no-lock>)", True),
    ):
        assert holds(parse_if(text), lambda _: facts) is is_true, text
    assert tokens_of(parse_if('(<t> Not <u>) (["e"])')) == {"t", "u"}


def test_tagged_lists_are_about_what_they_name() -> None:
    claims = parse_if('<http://h/a> (<t>) (["e"]) <http://h/b> (Not <t>)')
    assert [each.resource for each in claims] == ["http://h/a", "http://h/a", "http://h/b"]
    facts = {"http://h/a": Facts("", frozenset()), "http://h/b": Facts("", frozenset({"t"}))}
    assert not holds(claims, facts.__getitem__)


def test_tags_are_named_strongly() -> None:
    assert names_tag("*", '"a"')
    assert not names_tag("*", "")
    assert names_tag('"b", "a"', '"a"')
    assert not names_tag('"b"', '"a"')
    assert not names_tag("a", '"a"')


@given(st.text(max_size=80))
def test_any_text_stands_in_xml(text: str) -> None:
    root = parse(f'<a b="{escaped(text)}">{escaped(text)}</a>'.encode(errors="surrogatepass"))
    assert root.text == root.attributes["", "b"]
    if text.isprintable():
        assert root.text == text


def test_an_element_that_was_read_is_written_as_the_same() -> None:
    text = (
        '<a xmlns="urn:a" xmlns:b="urn:b" b:at="1" xml:lang="de">x &lt; y<b:c/>tail<none xmlns="">&#13;</none>'
        "<![CDATA[<raw>]]></a>"
    )
    once = parse(text.encode())
    again = parse(written(once).encode())
    assert _plain(once) == _plain(again)
    assert inside(once) == inside(again)


@given(st.binary(max_size=80))
def test_any_body_is_xml_or_refused(body: bytes) -> None:
    with suppress(Fault):
        parse(body)


@pytest.mark.parametrize(
    "body",
    [
        "<!DOCTYPE a><a/>",
        '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        "<a>&x;</a>",
        "<a",
        "",
    ],
)
def test_nothing_that_is_declared_is_taken(body: str) -> None:
    with pytest.raises(MessageInvalid):
        parse(body.encode())


def test_small_words() -> None:
    assert lock_s("Infinite, Second-4100000000") == 3_600
    assert lock_s("Second-120") == 120
    assert lock_s("") == 600
    assert new_token(bytes(16))[6] >> 4 == 4
    assert media_type_of("a.HTML") == media_type_of("a.svg") == media_type_of("a.txt.gz") == "application/octet-stream"
    assert media_type_of("a.JPG") == "image/jpeg"
    assert http_date(10**20).endswith("9999 23:59:59 GMT")


def _plain(element: Element) -> object:
    text = [child if isinstance(child, str) else _plain(child) for child in element.children]
    return element.name, element.attributes, text
