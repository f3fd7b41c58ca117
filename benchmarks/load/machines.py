"""Machines in numbers: many idle ones, many clients, many short runs."""

import asyncio
import random
import time
from statistics import median, quantiles

from benchmarks.load.api import Api, Refused, spread
from benchmarks.load.figures import Figure
from benchmarks.load.footprint import processor_seconds, resident
from tests.harness.daemon import Daemon

AT_ONCE = 8
REST_SECONDS = 5.0


async def idle(api: Api, daemon: Daemon, count: int) -> tuple[Figure, ...]:
    """Start idle machines, every fifth on a network; look at them all; remove them."""

    async def one(number: int) -> None:
        network = "bridge" if number % 5 == 0 else "none"
        await api.create(f"idle-{number}", NetworkMode=network)
        await api.start(f"idle-{number}")

    memory = resident(daemon.pid)
    started = await _timed(spread(one, range(count), AT_ONCE))
    grown = resident(daemon.pid) - memory
    listing = [await _timed(api.ask("GET", "/containers/json?all=1")) for _ in range(9)]
    rows = await api.ask("GET", "/containers/json")
    used = processor_seconds(daemon.pid)
    await asyncio.sleep(REST_SECONDS)
    share = (processor_seconds(daemon.pid) - used) / REST_SECONDS * 100
    removed = await _timed(spread(api.remove, await api.names(), AT_ONCE))
    return (
        Figure("run at once", len(rows), "machines", -count),
        Figure("all started", started, "s"),
        Figure("one more machine, of the daemon's memory", grown * 1024 / count, "KiB"),
        Figure("list of all", median(listing) * 1000, "ms", 30),
        Figure("the daemon at rest, of one processor", share, "%", 2),
        Figure("all removed", removed, "s"),
    )


async def many(api: Api, count: int) -> tuple[Figure, ...]:
    """Create and start machines without network as fast as it goes, from one process."""

    async def one(number: int) -> None:
        await api.create(f"many-{number}")
        await api.start(f"many-{number}")

    took = await _timed(spread(one, range(count), AT_ONCE))
    listing = [await _timed(api.ask("GET", "/containers/json?all=1")) for _ in range(5)]
    removed = await _timed(spread(api.remove, await api.names(), AT_ONCE))
    return (
        Figure(f"{count} machines run", took, "s", 20 * count / 1000),
        Figure("each", took * 1000 / count, "ms"),
        Figure("list of all", median(listing) * 1000, "ms"),
        Figure("all removed", removed, "s"),
    )


async def crowd(api: Api, clients: int, seconds: float) -> tuple[Figure, ...]:
    """Let clients create, start and remove machines at the same time, for a while."""
    end = time.monotonic() + seconds
    times: list[float] = []
    listing: list[float] = []
    refused: list[str] = []

    async def client(number: int) -> None:
        chance = random.Random(number)
        rounds = 0
        while time.monotonic() < end:
            rounds += 1
            name = f"crowd-{number}-{rounds}"
            began = time.monotonic()
            try:
                network = chance.choice(("none", "none", "bridge"))
                await api.create(name, NetworkMode=network)
                await api.start(name)
                await api.remove(name)
            except Refused as error:
                refused.append(str(error))
            times.append(time.monotonic() - began)

    async def onlooker() -> None:
        while time.monotonic() < end:
            listing.append(await _timed(api.ask("GET", "/containers/json?all=1")))
            await asyncio.sleep(0.2)

    async with asyncio.TaskGroup() as group:
        group.create_task(onlooker())
        for number in range(clients):
            group.create_task(client(number))
    left = await api.names()
    for text in refused[:5]:
        print(text)
    return (
        Figure("created, started and removed", len(times), "machines"),
        Figure("a second", len(times) / seconds, "machines"),
        Figure("one round, median", median(times), "s"),
        Figure("one round, of a hundred 99 within", quantiles(times, n=100)[98], "s"),
        Figure("list meanwhile, median", median(listing) * 1000, "ms"),
        Figure("list meanwhile, longest", max(listing) * 1000, "ms", 1000),
        Figure("refused", len(refused), "requests", 0),
        Figure("left", len(left), "machines", 0),
    )


async def short_runs(api: Api, first: int, count: int) -> tuple[Figure, ...]:
    """Run one machine after another, each to its end, every tenth on a network."""
    times = []
    for number in range(first, first + count):
        network = "bridge" if number % 10 == 0 else "none"
        began = time.monotonic()
        name = f"short-{number}"
        await api.create(name, "true", NetworkMode=network)
        await api.start(name)
        code = await api.wait(name)
        await api.remove(name)
        times.append(time.monotonic() - began)
        if code:
            raise Refused(f"{name} ended with {code}")
    tenth = max(len(times) // 10, 1)
    return (
        Figure("run", count, "machines"),
        Figure("one of the first tenth, median", median(times[:tenth]) * 1000, "ms"),
        Figure("one of the last tenth, median", median(times[-tenth:]) * 1000, "ms"),
    )


async def _timed(work: object) -> float:
    began = time.perf_counter()
    await work  # type: ignore[misc]
    return time.perf_counter() - began
