"""What a WebDAV request is answered with. Invariant: a refusal names the standard's own precondition, where it has one.

Source: RFC 4918 (16, precondition codes), RFC 4331 (quota).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from satchel.core.errors import Fault, QuotaExceeded
from satchel.server.gateway.errors import headers_of
from satchel.server.gateway.webdav.xml_bodies import escaped

XML_TYPE = b"application/xml; charset=utf-8"
OURS = "urn:satchel:webdav"
CHALLENGE = (b"www-authenticate", b'Basic realm="Satchel", charset="UTF-8"')
HEAD = '<?xml version="1.0" encoding="utf-8"?>\n'


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. headers: without a length."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


class Refusal(Exception):  # no fault: an answer that the standard foresees
    """The request is not done. condition: XML of the precondition that failed, empty when the standard names none."""

    def __init__(self, status: int, message: str, condition: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.condition = condition

    def answer(self) -> Answer:
        """Return what is sent."""
        return Answer(self.status, ((b"content-type", XML_TYPE),), error_body(self.message, self.condition))


class ChangedMeanwhile(Exception):  # no fault: the caller looks again
    """What was looked at is not as it was when the change was to be written."""


def xml_answer(status: int, body: str, *more: tuple[bytes, bytes]) -> Answer:
    """Return an answer with an XML document. body: its root element."""
    return Answer(status, ((b"content-type", XML_TYPE), *more), (HEAD + body).encode())


def error_body(message: str, condition: str = "", *, code: str = "") -> bytes:
    """Return the standard's error document, with our own words beside its precondition."""
    ours = f'<s:message xmlns:s="{OURS}">{escaped(message)}</s:message>'
    named = f'<s:code xmlns:s="{OURS}">{escaped(code)}</s:code>' if code else ""
    return f'{HEAD}<D:error xmlns:D="DAV:">{condition}{named}{ours}</D:error>'.encode()


def fault_answer(fault: Fault) -> Answer:
    """Return the answer that a fault means here."""
    condition = "<D:quota-not-exceeded/>" if isinstance(fault, QuotaExceeded) else ""
    message = f"{fault.message} {fault.hint}".strip()
    body = error_body(message, condition, code=fault.code)
    skipped = (b"content-length", b"www-authenticate")
    headers = [header for header in headers_of(fault, XML_TYPE, body) if header[0] not in skipped]
    if fault.status == 401:
        headers.append(CHALLENGE)
    return Answer(fault.status, tuple(headers), body)


def locked(hrefs: Sequence[str], message: str = "It is locked.", *, condition: str = "lock-token-submitted") -> Refusal:
    """Return the refusal of what a lock protects. hrefs: roots of the locks in the way."""
    told = "".join(f"<D:href>{escaped(href)}</D:href>" for href in dict.fromkeys(hrefs))
    return Refusal(423, message, f"<D:{condition}>{told}</D:{condition}>")
