"""Draws the app's icons for the places that take no SVG, from web/public/icon.svg.

python -m tests.browser.icons     writes web/public/icon-*.png anew
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.browser import ROOT, running_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PUBLIC = ROOT / "web" / "public"
SAFE_PART = 0.72
"""Of a maskable icon: a launcher may cut off all that is outside of a circle of four fifths."""


def draw(browser: Browser, size: int, *, is_maskable: bool) -> bytes:
    """Return the icon as a PNG of `size` pixels each way.

    is_maskable: its ground fills all of it, its sign the middle.
    """
    drawn = (PUBLIC / "icon.svg").read_text()
    if is_maskable:
        ground, sign = re.split(r"(?<=/>)", drawn.partition(">")[2], maxsplit=1)
        colour = re.search(r'fill="(#\w+)"', ground)
        assert colour is not None
        inside = sign.removesuffix("</svg>\n").removesuffix("</svg>")
        edge = 16 * (1 - SAFE_PART)
        drawn = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" '
            f'fill="{colour[1]}"/><g transform="translate({edge} {edge}) scale({SAFE_PART})">{inside}</g></svg>'
        )
    page = browser.new_page(viewport={"width": size, "height": size})
    try:
        page.set_content(f"<style>body{{margin:0}}svg{{display:block;width:100vw}}</style>{drawn}")
        return page.screenshot(omit_background=True)
    finally:
        page.close()


if __name__ == "__main__":
    with running_browser() as running:
        for side in (192, 512):
            (PUBLIC / f"icon-{side}.png").write_bytes(draw(running, side, is_maskable=False))
        (PUBLIC / "icon-maskable-512.png").write_bytes(draw(running, 512, is_maskable=True))
