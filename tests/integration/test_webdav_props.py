"""PROPFIND and PROPPATCH: what litmus' suite `props` asks, bodies that are no harmless XML, and bounds."""

from __future__ import annotations

import pytest

from satchel.core.limits import (
    DAV_PROPERTIES_BYTES_MAX,
    DAV_PROPERTIES_MAX,
    DAV_XML_BYTES_MAX,
    DAV_XML_DEPTH_MAX,
    DAV_XML_ELEMENTS_MAX,
)
from tests.support.server import RunningServer
from tests.support.webdav import D, Dav, client, condition, multistatus

ONE = '<D:set><D:prop><x:one xmlns:x="urn:x">{}</x:one></D:prop></D:set>'
BOMB = (
    '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    '<D:propfind xmlns:D="DAV:"><D:prop><D:x>&b;</D:x></D:prop></D:propfind>'
)
OUTSIDE = (
    '<!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x xmlns="urn:x">&a;</x></D:prop></D:set></D:propertyupdate>'
)
PARAMETER = (
    '<!DOCTYPE b [<!ENTITY % a SYSTEM "http://127.0.0.1:1/"> %a;]><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>'
)


def test_files_and_folders_tell_what_they_are(dav: Dav) -> None:
    tag = dav.put("/a.txt", b"hello").headers["etag"]
    dav.mkcol("/sub")
    folder, file, sub = dav.propfind("/", depth="1")
    assert folder.properties[D + "resourcetype"][0].tag == D + "collection"
    assert [found.href for found in (folder, file, sub)] == [f"/dav{dav.base}{end}" for end in ("/", "/a.txt", "/sub/")]
    assert len(file.properties[D + "resourcetype"]) == 0
    told = {name: file.text(name) for name in ("getcontentlength", "getcontenttype", "getetag", "displayname")}
    assert told == {"getcontentlength": "5", "getcontenttype": "text/plain", "getetag": tag, "displayname": "a.txt"}
    assert file.text("getlastmodified").endswith(" GMT")
    assert file.text("creationdate").endswith("Z")
    assert len(file.properties[D + "supportedlock"]) == 2
    assert D + "getcontentlength" not in sub.properties
    assert len(dav.propfind("/", depth="0")) == 1
    assert len(dav.propfind("/a.txt", depth="1")) == 1


def test_what_is_not_there_is_told_as_such(dav: Dav) -> None:
    dav.put("/a")
    [found] = dav.propfind("/a", "getetag", "foo")
    assert set(found.properties) == {D + "getetag"}
    assert found.failed == {D + "foo": 404}
    assert dav.ask("PROPFIND", "/none", b"", Depth="0").status == 404
    names = dav.ask("PROPFIND", "/a", b'<propfind xmlns="DAV:"><propname/></propfind>', Depth="0")
    [found] = multistatus(names)
    assert D + "getetag" in found.properties
    assert found.text("getetag") == ""


@pytest.mark.parametrize("headers", [{"Depth": "infinity"}, {}])
def test_all_levels_at_once_are_refused(dav: Dav, headers: dict[str, str]) -> None:
    answer = dav.ask("PROPFIND", "/", b"", **headers)
    assert (answer.status, condition(answer)) == (403, "propfind-finite-depth")


@pytest.mark.parametrize(
    "body",
    [
        "<foo>",
        '<D:propfind xmlns:D="DAV:"><D:prop><bar:foo xmlns:bar=""/></D:prop></D:propfind>',
        '<D:propfind xmlns:D="DAV:"></D:propfind>',
        '<D:propfind xmlns:D="DAV:"><D:prop/><D:allprop/></D:propfind>',
        '<D:other xmlns:D="DAV:"/>',
        "<propfind/>",
        "\0",
        '<?xml version="1.0" encoding="no-such"?><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>',
        '<D:propfind xmlns:D="DAV:"><D:prop>&undefined;</D:prop></D:propfind>',
        BOMB,
        OUTSIDE,
        PARAMETER,
        '<!DOCTYPE D:propfind><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>',
    ],
)
def test_a_body_that_is_no_plain_question_is_refused(dav: Dav, body: str) -> None:
    assert dav.ask("PROPFIND", "/", body.encode(), Depth="0").status == 400
    assert dav.ask("PROPPATCH", "/", body.encode()).status == 400
    assert dav.ask("LOCK", "/", body.encode()).status == 400


def test_a_body_past_its_bounds_is_refused(dav: Dav) -> None:
    deep = "<a>" * (DAV_XML_DEPTH_MAX + 1) + "</a>" * (DAV_XML_DEPTH_MAX + 1)
    for body in (deep, "<a>" + "<b/>" * DAV_XML_ELEMENTS_MAX + "</a>", " " * (DAV_XML_BYTES_MAX + 1)):
        answer = dav.ask("PROPFIND", "/", body.encode(), Depth="0")
        assert answer.status == 413, body[:20]


def test_other_encodings_of_xml_are_read(dav: Dav) -> None:
    body = (
        '<?xml version="1.0" encoding="utf-16"?><D:propfind xmlns:D="DAV:"><D:prop><D:getetag/></D:prop></D:propfind>'
    )
    assert dav.ask("PROPFIND", "/", body.encode("utf-16"), Depth="0").status == 207


def test_properties_of_clients_are_kept_replaced_and_removed(dav: Dav) -> None:
    dav.put("/p")
    values = ["plain", "<b>bold</b> &amp; <i xmlns='urn:i' at='1'/>", "\U00010000 ünïcödé", "", " spaced\n"]
    for value in values:
        [done] = multistatus(dav.proppatch("/p", ONE.format(value)))
        assert list(done.properties) == ["{urn:x}one"]
        [found] = dav.propfind("/p")
        told = found.properties["{urn:x}one"]
        assert "".join(told.itertext()) == {values[1]: "bold & "}.get(value, value)
    assert dav.proppatch("/p", ONE.format(values[1])).status == 207
    [found] = dav.propfind("/p")
    children = list(found.properties["{urn:x}one"])
    assert [(child.tag, child.attrib) for child in children] == [("b", {}), ("{urn:i}i", {"at": "1"})]
    remove = '<D:remove><D:prop><one xmlns="urn:x"/><none xmlns="urn:x"/></D:prop></D:remove>'
    assert multistatus(dav.proppatch("/p", remove))[0].failed == {}
    assert "{urn:x}one" not in dav.propfind("/p")[0].properties


def test_instructions_are_followed_in_their_order(dav: Dav) -> None:
    dav.put("/p")
    gone = '<D:remove><D:prop><x:one xmlns:x="urn:x"/></D:prop></D:remove>'
    dav.proppatch("/p", ONE.format("1") + gone)
    assert "{urn:x}one" not in dav.propfind("/p")[0].properties
    dav.proppatch("/p", gone + ONE.format("2"))
    assert dav.propfind("/p")[0].properties["{urn:x}one"].text == "2"


def test_properties_without_a_namespace_and_with_a_language(dav: Dav) -> None:
    dav.mkcol("/p")
    dav.proppatch("/p", '<D:set xml:lang="de"><D:prop><bare xmlns="">x</bare></D:prop></D:set>')
    body = b'<D:propfind xmlns:D="DAV:"><D:prop><bare/><other/></D:prop></D:propfind>'
    [found] = multistatus(dav.ask("PROPFIND", "/p", body, Depth="0"))
    assert found.failed == {"other": 404}
    bare = found.properties["bare"]
    assert (bare.text, bare.attrib) == ("x", {"{http://www.w3.org/XML/1998/namespace}lang": "de"})


def test_properties_go_with_a_move_and_a_copy(dav: Dav) -> None:
    dav.mkcol("/dir")
    dav.put("/dir/p")
    dav.put("/over")
    dav.proppatch("/dir/p", ONE.format("kept"))
    dav.proppatch("/over", ONE.format("replaced"))
    assert dav.status("COPY", "/dir", Destination=dav.to("/copy")) == 201
    assert dav.status("MOVE", "/dir", Destination=dav.to("/moved")) == 201
    assert dav.status("COPY", "/copy/p", Destination=dav.to("/over")) == 204
    for path in ("/copy/p", "/moved/p", "/over"):
        assert dav.propfind(path)[0].properties["{urn:x}one"].text == "kept", path
    dav.put("/over", b"other bytes")
    assert dav.propfind("/over")[0].properties["{urn:x}one"].text == "kept"


def test_what_the_service_tells_is_not_changed_by_clients_and_then_nothing_is(dav: Dav) -> None:
    dav.put("/p")
    inner = ONE.format("1") + "<D:set><D:prop><D:getetag>x</D:getetag></D:prop></D:set>"
    answer = dav.proppatch("/p", inner)
    [found] = multistatus(answer)
    assert found.failed == {D + "getetag": 403, "{urn:x}one": 424}
    assert b"cannot-modify-protected-property" in answer.body
    assert "{urn:x}one" not in dav.propfind("/p")[0].properties


def test_properties_have_bounds_and_past_them_nothing_is_kept(dav: Dav) -> None:
    dav.put("/p")
    many = "".join(f'<n{at} xmlns="urn:x"/>' for at in range(DAV_PROPERTIES_MAX))
    assert multistatus(dav.proppatch("/p", f"<D:set><D:prop>{many}</D:prop></D:set>"))[0].failed == {}
    assert multistatus(dav.proppatch("/p", ONE.format("1")))[0].failed == {"{urn:x}one": 507}
    dav.put("/q")
    long = ONE.format("x" * DAV_PROPERTIES_BYTES_MAX)
    assert multistatus(dav.proppatch("/q", long))[0].failed == {"{urn:x}one": 507}
    assert "{urn:x}one" not in dav.propfind("/q")[0].properties


def test_windows_may_tell_its_times(dav: Dav) -> None:
    dav.put("/w")
    inner = (
        '<D:set><D:prop><Z:Win32LastModifiedTime xmlns:Z="urn:schemas-microsoft-com:">Sun, 09 Sep 2001 01:46:40 GMT'
        '</Z:Win32LastModifiedTime><Z:Win32FileAttributes xmlns:Z="urn:schemas-microsoft-com:">00000020'
        "</Z:Win32FileAttributes></D:prop></D:set>"
    )
    [found] = multistatus(dav.proppatch("/w", inner))
    assert len(found.properties) == 2


def test_quota_is_told_to_who_names_it(dav_server: RunningServer) -> None:
    dav = client(dav_server, quota_bytes=1_000_000)
    dav.put("/a", b"x" * 1_000)
    [found] = dav.propfind("/", "quota-available-bytes", "quota-used-bytes")
    used = int(found.text("quota-used-bytes"))
    assert 0 < used < 10_000
    assert int(found.text("quota-available-bytes")) == 1_000_000 - used
    assert not {D + "quota-used-bytes", D + "quota-available-bytes"} & set(dav.propfind("/")[0].properties)
    body = b'<D:propfind xmlns:D="DAV:"><D:allprop/><D:include><D:quota-used-bytes/></D:include></D:propfind>'
    assert D + "quota-used-bytes" in multistatus(dav.ask("PROPFIND", "/", body, Depth="0"))[0].properties
