"""Times as people write them. Invariant: what is not understood is refused, never guessed."""

from __future__ import annotations

import datetime
import re
import time

from satchel.core.errors import Fault

_AGO = re.compile(r"(?:(?P<count>\d+|an?)\s*)(?P<unit>[a-z]+?)s?(?:\s+ago)?\Z")
_DAY = re.compile(r"(?P<day>today|yesterday)?\s*(?P<clock>\d{1,2}:\d{2}(?::\d{2})?)?\Z")
_SECONDS = {
    **dict.fromkeys(("s", "sec", "second"), 1),
    **dict.fromkeys(("m", "min", "minute"), 60),
    **dict.fromkeys(("h", "hour"), 3_600),
    **dict.fromkeys(("d", "day"), 86_400),
    **dict.fromkeys(("w", "week"), 7 * 86_400),
}


def parse_time_ms(text: str, now_s: float | None = None) -> int:
    """Return Unix ms of a time in the local zone (or with one of its own) or of a while ago. Raises: Fault.

    Understood: `2026-11-22`, `2026-11-22 14:30`, `14:30` (today), `yesterday`, `yesterday 9:00`, `now`, `2h`,
    `3 days ago`, `an hour ago`. A day without a time is its beginning, and yesterday the same time of day as now.
    """
    now = time.time() if now_s is None else now_s
    told = " ".join(text.strip().lower().split())
    if told == "now":
        return int(now * 1000)
    ago = _AGO.match(told)
    if ago is not None and ago["unit"] in _SECONDS:
        count = 1 if ago["count"] in ("a", "an") else int(ago["count"])
        return max(0, int((now - count * _SECONDS[ago["unit"]]) * 1000))
    day = _DAY.match(told) if told else None
    try:
        if day is not None:
            return int(_of_day(day["day"], day["clock"], now).timestamp() * 1000)
        return int(datetime.datetime.fromisoformat(text.strip()).astimezone().timestamp() * 1000)
    except (ValueError, OverflowError):
        raise Fault(f"{text} is no time; write 2026-11-22, 2026-11-22 14:30, yesterday, 2h or 3 days ago.") from None


def _of_day(day: str | None, clock: str | None, now_s: float) -> datetime.datetime:
    """Return a time of today or yesterday. Raises: ValueError."""
    now = datetime.datetime.fromtimestamp(now_s)
    begin = now - datetime.timedelta(days=1) if day == "yesterday" else now
    if clock is None:
        return begin if day == "yesterday" else begin.replace(hour=0, minute=0, second=0, microsecond=0)
    hours, minutes, *seconds = (int(part) for part in clock.split(":"))
    return begin.replace(hour=hours, minute=minutes, second=seconds[0] if seconds else 0, microsecond=0)
