"""What happens, as it happens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from heft.api import times
from heft.api.call import encode

if TYPE_CHECKING:
    from aiohttp import web

    from heft.api.call import Call
    from heft.api.routes import Routes
    from heft.model.event import Event

KNOWN = frozenset(
    (
        "builder config container daemon event image label network node plugin scope secret"
        " service type volume"
    ).split()
)


def add_routes(routes: Routes) -> None:
    """Take the path of events."""
    routes.add("GET", "/events", events)


async def events(call: Call) -> web.StreamResponse:
    """Give events from `since` on, or from now, until `until`, or for ever."""
    now = time.time_ns()
    since, until = call.text("since"), call.text("until")
    subscription = call.engine.events.subscribe(
        since=times.parse(since, now=now) if since else None,
        until=times.parse(until, now=now) if until else None,
        filters=call.filters(KNOWN),
    )
    try:
        response = await call.stream()
        async for event in subscription:
            await response.write(encode(view(event)) + b"\n")
        await response.write_eof()
    finally:
        subscription.close()
    return response


def view(event: Event) -> dict[str, Any]:
    """Give an event as `GET /events` does, with the words of old for machines and images."""
    shown: dict[str, Any] = {}
    if event.type in ("container", "image"):
        shown = {"status": event.action, "id": event.actor}
        if event.type == "container":
            shown["from"] = event.attributes.get("image", "")
    return {
        **shown,
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.actor, "Attributes": event.attributes},
        "scope": "local",
        "time": event.time // times.SECOND,
        "timeNano": event.time,
    }
