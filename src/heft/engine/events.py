"""Events: published once, kept for a while, and told to whoever subscribed."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from heft.model.event import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KEPT = 1024
"""Events that can be asked for afterwards (Docker keeps 256)."""
BEHIND = 8192
"""Events a subscriber may be behind before it is given up."""

Filters = dict[str, list[str]]


class Events:
    """The one place through which all of Heft says what happened."""

    def __init__(self) -> None:
        self._past: deque[Event] = deque(maxlen=KEPT)
        self._subscriptions: set[Subscription] = set()

    def publish(self, kind: str, action: str, actor: str, attributes: dict[str, str]) -> None:
        """Tell that something happened to something now."""
        now = time.time_ns()
        event = Event(type=kind, action=action, actor=actor, attributes=attributes, time=now)
        self._past.append(event)
        for subscription in tuple(self._subscriptions):
            subscription.offer(event)

    def publisher(self, kind: str) -> Callable[[str, str, dict[str, str]], None]:
        """Give a function that publishes events of one type."""
        return lambda action, actor, attributes: self.publish(kind, action, actor, attributes)

    def subscribe(
        self,
        *,
        since: int | None = None,
        until: int | None = None,
        filters: Mapping[str, list[str]] = {},
    ) -> Subscription:
        """Give the events from now on, with the kept ones from `since` before them.

        Times are nanoseconds since 1970; the subscription ends at `until`.
        """
        subscription = Subscription(self._subscriptions, until, filters)
        if since is not None:
            for event in self._past:
                if event.time >= since:
                    subscription.offer(event)
        return subscription


class Subscription:
    """An iterator over events; it listens from the moment it is made until it is closed."""

    def __init__(
        self, group: set[Subscription], until: int | None, filters: Mapping[str, list[str]]
    ) -> None:
        self._group = group
        self._until = until
        # Reckoned once: a clock that is set back later must not hold the end up.
        self._end = None if until is None else time.monotonic() + (until - time.time_ns()) / 1e9
        self._filters = filters
        self._waiting: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._lost = False
        group.add(self)

    def offer(self, event: Event) -> None:
        """Take the event if it is one of those wanted."""
        late = self._until is not None and event.time > self._until
        if late or not matches(event, self._filters):
            return
        if len(self._waiting) >= BEHIND:
            self._lost = True
            self._group.discard(self)
            return
        self._waiting.append(event)
        self._arrived.set()

    def close(self) -> None:
        """Stop listening."""
        self._group.discard(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._lost or not await self._wait():
                self.close()
                raise StopAsyncIteration
        return self._waiting.popleft()

    async def _wait(self) -> bool:
        """Wait for an event; False when the time is over and there is none."""
        self._arrived.clear()
        if self._end is None:
            await self._arrived.wait()
            return True
        try:
            async with asyncio.timeout(max(self._end - time.monotonic(), 0)):
                await self._arrived.wait()
        except TimeoutError:
            return bool(self._waiting)
        return True


def matches(event: Event, filters: Mapping[str, list[str]]) -> bool:
    """Say whether an event passes: one value of every filter must fit (Docker's `/events`)."""
    return all(_fits(event, name, values) for name, values in filters.items() if values)


def _fits(event: Event, name: str, values: list[str]) -> bool:
    if name == "type":
        return event.type in values
    if name in ("event", "action"):
        return any(
            event.action == value or event.action.startswith(f"{value}:") for value in values
        )
    if name == "label":
        return all(_has_label(event, value) for value in values)
    if name == "scope":
        return "local" in values
    if name == "image":
        return any(_is_of_image(event, value) for value in values)
    if name in ("container", "volume", "network", "daemon"):
        return event.type == name and any(_is_about(event, value) for value in values)
    return False


def _is_of_image(event: Event, value: str) -> bool:
    """Say whether an event is about an image or about a machine made of it; tags may be left out.

    As moby's daemon/events/filter.go, `matchImage`.
    """
    named = event.attributes.get("name" if event.type == "image" else "image", "")
    bare = named[: -len(tag)] if (tag := _tag_of(named)) else named
    return value in (event.actor, named, bare)


def _tag_of(reference: str) -> str:
    tag = reference[reference.rfind(":") :] if ":" in reference else ""
    return "" if "/" in tag else tag


def _has_label(event: Event, wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    found = event.attributes.get(key)
    return found is not None and (not equals or found == value)


def _is_about(event: Event, value: str) -> bool:
    named = event.attributes.get("name")
    return event.actor == value or named == value.removeprefix("/") or event.actor.startswith(value)
