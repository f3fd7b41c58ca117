"""Events: kept, filtered, told in order, and never piling up without bound."""

import asyncio
import time
from typing import Any

import pytest

from heft.engine import events as module
from heft.engine.events import Events, matches
from heft.model.event import Event


def event(**fields: Any) -> Event:
    base: dict[str, Any] = {"type": "container", "action": "start", "actor": "abcdef", "time": 1}
    return Event(**{**base, **fields})


@pytest.mark.parametrize(
    ("filters", "fits"),
    [
        ({}, True),
        ({"type": ["container"]}, True),
        ({"type": ["image"]}, False),
        ({"event": ["stop", "start"]}, True),
        ({"event": ["exec_start"]}, False),
        ({"container": ["web"]}, True),
        ({"container": ["abc"]}, True),
        ({"container": ["other"]}, False),
        ({"image": ["debian"]}, True),
        ({"label": ["tier=front"]}, True),
        ({"label": ["tier"]}, True),
        ({"label": ["tier=back"]}, False),
        ({"type": ["container"], "event": ["die"]}, False),
        ({"nonsense": ["x"]}, False),
    ],
)
def test_filters(filters: dict[str, list[str]], fits: bool) -> None:
    attributes = {"name": "web", "image": "debian", "tier": "front"}
    assert matches(event(attributes=attributes), filters) is fits


def test_execs_are_matched_by_their_kind() -> None:
    assert matches(event(action="exec_start: sh -c true"), {"event": ["exec_start"]})


async def test_past_events_come_before_new_ones() -> None:
    events = Events()
    start = time.time_ns()
    events.publish("image", "tag", "a", {})
    subscription = events.subscribe(since=start)
    events.publish("image", "untag", "a", {})
    assert [(await anext(subscription)).action for _ in range(2)] == ["tag", "untag"]


async def test_nothing_is_missed_between_subscribing_and_reading() -> None:
    events = Events()
    subscription = events.subscribe()
    events.publish("image", "tag", "a", {})
    assert (await anext(subscription)).actor == "a"


async def test_it_ends_at_its_time() -> None:
    events = Events()
    soon = events.subscribe(until=time.time_ns() + 10_000_000)
    past = events.subscribe(until=time.time_ns() - 1)
    assert [each async for each in past] == []
    assert [each async for each in soon] == []


async def test_a_subscriber_too_far_behind_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEHIND", 10)
    events = Events()
    subscription = events.subscribe()
    for number in range(20):
        events.publish("image", "tag", str(number), {})
    async with asyncio.timeout(1):
        seen = [each.actor async for each in subscription]
    assert seen == [str(number) for number in range(10)]
