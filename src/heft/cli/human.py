"""Sizes, times and counts as people read them, in Docker's words (github.com/docker/go-units)."""

from __future__ import annotations

import time

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size(amount: float, digits: int = 3) -> str:
    """Give bytes in powers of 1000: `1.24GB`."""
    return _scaled(amount, 1000.0, _DECIMAL, digits)


def binary_size(amount: float, digits: int = 4) -> str:
    """Give bytes in powers of 1024: `1.5MiB`."""
    return _scaled(amount, 1024.0, _BINARY, digits)


def _scaled(amount: float, base: float, units: tuple[str, ...], digits: int) -> str:
    at = 0
    while amount >= base and at < len(units) - 1:
        amount /= base
        at += 1
    return f"{amount:.{digits}g}{units[at]}"


def ago(moment: float) -> str:
    """Say how long ago a moment was, seconds since 1970."""
    from heft import durations

    return f"{durations.roughly(time.time() - moment)} ago"


def moment(text: str) -> float:
    """Give the seconds since 1970 that RFC 3339 means; 0 where it says nothing."""
    import datetime

    try:
        return max(0.0, datetime.datetime.fromisoformat(text).timestamp())
    except ValueError:
        return 0.0


def local(seconds: float) -> str:
    """Give a moment as Go prints it here: `2024-01-02 15:04:05 +0100 CET`."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))


def short_id(identity: str) -> str:
    """Give an id's first twelve digits, without its algorithm."""
    return identity.rpartition(":")[2][:12]


def shortened(text: str, most: int) -> str:
    """Give at most so many characters; an ellipsis stands for the rest."""
    return text if len(text) <= most else text[: most - 1] + "…"


def moment_text(seconds: float) -> str:
    """Give a moment as RFC 3339 with this host's offset."""
    offset = time.strftime("%z", time.localtime(seconds))
    zone = "Z" if offset in ("+0000", "") else f"{offset[:3]}:{offset[3:]}"
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds)) + zone
