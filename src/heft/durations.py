"""How long something is, in the words of Docker."""

from __future__ import annotations


def roughly(seconds: float) -> str:
    """Say how long, roughly, as `docker ps` does (go-units, `HumanDuration`)."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    minutes = whole // 60
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for most, length, name in ((14, 1, "days"), (60, 7, "weeks"), (730, 30, "months")):
        if hours < most * 24:
            return f"{hours // 24 // length} {name}"
    return f"{int(seconds / 3600) // 24 // 365} years"


def exactly(nanoseconds: int) -> str:
    """Say how long, as Go does ("1m30s", "1.5s", "300ms"); of at least a millisecond."""
    if nanoseconds < 1_000_000_000:
        return f"{_decimal(nanoseconds, 6)}ms"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    whole = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{whole}{_decimal(rest, 9)}s"


def _decimal(number: int, places: int) -> str:
    """Give a number divided by 10 to the power of `places`, without noughts at its end."""
    whole, rest = divmod(number, 10**places)
    return f"{whole}.{rest:0{places}}".rstrip("0").rstrip(".")
