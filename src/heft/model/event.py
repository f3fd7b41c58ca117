"""Events: what happened to what."""

from __future__ import annotations

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened, as Docker names it (`container` `start`, `image` `tag`, …)."""

    type: str
    action: str
    actor: str
    """The id, or for images and volumes the name."""
    attributes: dict[str, str] = {}
    time: int
    """Nanoseconds since 1970."""
