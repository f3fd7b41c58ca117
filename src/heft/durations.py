"""How long something is, in the words of `docker ps` (go-units, `HumanDuration`)."""

from __future__ import annotations


def roughly(seconds: float) -> str:
    """Say how long, roughly."""
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
