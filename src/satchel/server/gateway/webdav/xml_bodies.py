"""XML of requests, and XML for answers. Invariant: nothing that a document declares is ever expanded or fetched.

A document with a document type is refused before anything of it is used, so there are no entities, no external parts
and no growth; its bytes, depth and elements have bounds. Source: RFC 4918 (8.2, 17, 20.6), docs/design/060 (7).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.parsers import expat

from satchel.core.errors import LimitExceeded, MessageInvalid
from satchel.core.limits import DAV_XML_DEPTH_MAX, DAV_XML_ELEMENTS_MAX

DAV = "DAV:"
XML_NAMESPACE = "http://www.w3.org/XML/1998/namespace"
LANG = (XML_NAMESPACE, "lang")
_BETWEEN = "\x01"
"""Stands between a namespace and a name: no XML document can hold it."""
_IMPOSSIBLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
)

Name = tuple[str, str]
"""Namespace (empty for none) and local name."""


@dataclass(slots=True)
class Element:
    """One element; its children are elements and text, in order."""

    name: Name
    attributes: dict[Name, str]
    children: list[Element | str] = field(default_factory=list)

    @property
    def elements(self) -> list[Element]:
        """Children that are elements."""
        return [child for child in self.children if isinstance(child, Element)]

    @property
    def text(self) -> str:
        """Text that stands directly in it."""
        return "".join(child for child in self.children if isinstance(child, str))

    def find(self, local: str) -> Element | None:
        """Return the first child of that name in the standard's namespace."""
        return next((child for child in self.elements if child.name == (DAV, local)), None)


def parse(body: bytes) -> Element:
    """Return the root element of a document. Raises: MessageInvalid, LimitExceeded (depth, elements)."""
    reading = _Reading()
    parser = expat.ParserCreate(namespace_separator=_BETWEEN)
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_declarations
    parser.EntityDeclHandler = _refuse_declarations
    parser.ExternalEntityRefHandler = _refuse_declarations
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.characters
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise MessageInvalid("The request's body is no XML that can be read.", reason="xml") from error
    assert reading.root is not None
    return reading.root


def written(element: Element) -> str:
    """Return an element as XML that stands by itself wherever it is put."""
    namespace, local = element.name
    tag, declared = (f"n:{local}", f' xmlns:n="{escaped(namespace)}"') if namespace else (local, "")
    told = "".join(_attribute(number, name, value) for number, (name, value) in enumerate(element.attributes.items()))
    inner = inside(element)
    return f"<{tag}{declared}{told}>{inner}</{tag}>" if inner else f"<{tag}{declared}{told}/>"


def inside(element: Element) -> str:
    """Return what stands in an element as XML."""
    return "".join(escaped(child) if isinstance(child, str) else written(child) for child in element.children)


def tagged(name: Name, inner: str, attributes: str = "") -> str:
    """Return an element around XML that is there already. attributes: as XML, with a space before each."""
    namespace, local = name
    if namespace == DAV:
        tag, declared = f"D:{local}", ""
    else:
        tag, declared = (f"n:{local}", f' xmlns:n="{escaped(namespace)}"') if namespace else (local, "")
    return f"<{tag}{declared}{attributes}>{inner}</{tag}>" if inner else f"<{tag}{declared}{attributes}/>"


def escaped(text: str) -> str:
    """Return a text as it may stand in an element or an attribute; what no XML can hold becomes U+FFFD."""
    return _IMPOSSIBLE.sub("\ufffd", text).translate(_ESCAPES)


class _Reading:
    """Builds the tree while the parser goes through the document."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > DAV_XML_ELEMENTS_MAX:
            raise _past("DAV_XML_ELEMENTS_MAX", DAV_XML_ELEMENTS_MAX)
        if len(self._open) >= DAV_XML_DEPTH_MAX:
            raise _past("DAV_XML_DEPTH_MAX", DAV_XML_DEPTH_MAX)
        element = Element(_split(name), {_split(key): value for key, value in attributes.items()})
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, _: str) -> None:
        self._open.pop()

    def characters(self, text: str) -> None:
        if self._open:
            self._open[-1].children.append(text)


def _refuse_declarations(*_: object) -> int:
    raise MessageInvalid("The request's XML declares a document type, which is not taken.", reason="doctype")


def _split(name: str) -> Name:
    namespace, between, local = name.rpartition(_BETWEEN)
    return (namespace, local) if between else ("", name)


def _attribute(number: int, name: Name, value: str) -> str:
    namespace, local = name
    if not namespace:
        return f' {local}="{escaped(value)}"'
    if namespace == XML_NAMESPACE:
        return f' xml:{local}="{escaped(value)}"'
    return f' xmlns:a{number}="{escaped(namespace)}" a{number}:{local}="{escaped(value)}"'


def _past(limit: str, maximum: int) -> LimitExceeded:
    return LimitExceeded("The request's XML is too large.", limit=limit, maximum=maximum, actual="more")
