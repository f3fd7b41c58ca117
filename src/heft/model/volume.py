"""Named volumes."""

from __future__ import annotations

import msgspec


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A directory that outlives the machines that mount it."""

    name: str
    created: int
    """Nanoseconds since 1970."""
    driver: str = "local"
    labels: dict[str, str] = {}
    options: dict[str, str] = {}
    anonymous: bool = False
