"""Times and durations as Docker's clients write and read them."""

from __future__ import annotations

import datetime
import re
import time

from heft.errors import InvalidArgument

NEVER = "0001-01-01T00:00:00Z"
"""Go's zero time."""

SECOND = 1_000_000_000
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNIX = re.compile(r"(-?\d+)(?:\.(\d{1,9})\d*)?")
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d(?::\d\d(?::\d\d)?)?)(?:\.(\d{1,9})\d*)?)?(Z|[+-]\d\d:\d\d)?"
)


def fixed(moment: int) -> str:
    """Give RFC 3339 in UTC with nine digits of a second, for nanoseconds since 1970."""
    seconds, rest = divmod(moment, SECOND)
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{rest:09}Z"


def text(moment: int) -> str:
    """Give RFC 3339 in UTC without needless zeros; 0 is Go's zero time, `NEVER`."""
    if not moment:
        return NEVER
    return fixed(moment)[:-1].rstrip("0").rstrip(".") + "Z"


def parse(given: str, *, now: int) -> int:
    """Read a moment: `1136073845.000000001`, RFC 3339 (or its beginning), or a duration before now.

    All are nanoseconds, since 1970. Raises `InvalidArgument`.
    """
    if match := _UNIX.fullmatch(given):
        return int(match[1]) * SECOND + int((match[2] or "").ljust(9, "0"))
    if _DURATION.fullmatch(given):
        parts = _PART.findall(given)
        return now - sum(int(float(number) * _UNITS[unit]) for number, unit in parts)
    if match := _RFC3339.fullmatch(given):
        date, clock, fraction, zone = match.groups(default="")
        # The kernel's zone is not asked: a daemon's clients may live in any.
        moment = f"{date}T{clock.ljust(2, '0') or '00'}{':00:00'[len(clock) - 2 if clock else 0 :]}"
        try:
            whole = datetime.datetime.fromisoformat(moment + (zone or "Z")).timestamp()
        except ValueError as error:
            raise InvalidArgument(f"invalid time {given!r}: {error}") from error
        return int(whole) * SECOND + int(fraction.ljust(9, "0"))
    raise InvalidArgument(
        f"failed to parse value as time or duration: {given!r}",
        hint="seconds since 1970, RFC 3339, or a duration such as 10m",
    )
