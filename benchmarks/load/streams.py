"""Streams under load: followers, a log that is rotated, clients that do not read or that go."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from benchmarks.load.api import Api
from benchmarks.load.figures import Figure
from benchmarks.load.footprint import MIB, processor_seconds, resident
from tests.harness.daemon import Daemon

WRITERS = 5
COUNTER = "i=0; while true; do i=$((i+1)); echo $i; usleep 10000; done"


async def followers(api: Api, daemon: Daemon, count: int, seconds: float) -> tuple[Figure, ...]:
    """Follow the logs of machines that count, and what they use; every line must come, once."""
    names = [f"writer-{number}" for number in range(WRITERS)]
    for name in names:
        await api.create(name, "sh", "-c", COUNTER)
        await api.start(name)
    used, memory = processor_seconds(daemon.pid), resident(daemon.pid)
    end = time.monotonic() + seconds
    half = count // 2
    logs = [_follow_log(api, names[n % WRITERS], end) for n in range(count - half)]
    stats = [_follow_stats(api, names[n % WRITERS], end) for n in range(half)]
    found = await asyncio.gather(*logs, *stats)
    share = (processor_seconds(daemon.pid) - used) / seconds * 100
    grown = resident(daemon.pid) - memory
    for name in names:
        await api.remove(name)
    lines, samples = found[: len(logs)], found[len(logs) :]
    return (
        Figure("followers", count, "streams"),
        Figure("lines to each, at least", min(lines), "lines", -seconds * 10),
        Figure("statistics to each, at least", min(samples), "samples", -(seconds - 3)),
        Figure("the daemon, of one processor", share, "%"),
        Figure("more memory meanwhile", grown, "MiB", 32),
    )


async def _follow_log(api: Api, name: str, end: float) -> int:
    """Count the lines, which must be all numbers from 1 on."""
    expected = 1
    async with api.stream("GET", f"/containers/{name}/logs?stdout=1&follow=1") as answer:
        async for block in _frames(answer.content):
            for line in block.split():
                if int(line) != expected:
                    raise AssertionError(f"{name}: {expected} was to come, not {line!r}")
                expected += 1
            if time.monotonic() > end:
                break
    return expected - 1


async def _frames(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Take the frames of a multiplexed stream apart: a stream's number, 4 bytes of length, data."""
    while True:
        head = await content.readexactly(8)
        yield await content.readexactly(int.from_bytes(head[4:], "big"))


async def _follow_stats(api: Api, name: str, end: float) -> int:
    samples = 0
    async with api.stream("GET", f"/containers/{name}/stats") as answer:
        async for line in answer.content:
            samples += json.loads(line)["pids_stats"]["current"] >= 1
            if time.monotonic() > end:
                break
    return samples


async def big_log(api: Api, daemon: Daemon, size: int) -> tuple[Figure, ...]:
    """Let a machine write so many bytes to a log that may have three files of 10 MB."""
    size -= size % 100
    options = {"max-size": "10m", "max-file": "3"}
    limits = {"Type": "json-file", "Config": options}
    line = "x" * 99
    script = f"yes {line} | head -c {size}"
    memory = resident(daemon.pid)
    machine = await api.create("big", "sh", "-c", script, LogConfig=limits)
    began = time.monotonic()
    await api.start("big")
    ending = asyncio.create_task(api.wait("big"))
    largest, slowest = 0, 0.0
    while not ending.done():
        asked = time.monotonic()
        await api.ask("GET", "/version")
        slowest = max(slowest, time.monotonic() - asked)
        largest = max(largest, _log_bytes(daemon.data / "machines" / machine))
        await asyncio.sleep(0.05)
    took = time.monotonic() - began
    async with api.stream("GET", "/containers/big/logs?stdout=1&tail=1") as answer:
        last = await answer.read()
    await api.remove("big")
    return (
        Figure("written", size / MIB, "MiB"),
        Figure("a second", size / MIB / took, "MiB"),
        Figure("exit code", await ending, "", 0),
        Figure("the log's files, at most", largest / MIB, "MiB", 150),
        Figure("the last line, whole", float(last[8:].strip() == line.encode()), "", -1),
        Figure("another request meanwhile, longest", slowest * 1000, "ms", 500),
        Figure("more memory", resident(daemon.pid) - memory, "MiB", 16),
    )


def _log_bytes(directory: Path) -> int:
    total = 0
    for path in directory.glob("log*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


async def deaf_client(api: Api, daemon: Daemon, size: int) -> tuple[Figure, ...]:
    """Attach to a machine that writes a lot, and read nothing; then go."""
    await api.create("loud", "sh", "-c", f"yes {'x' * 99} | head -c {size}")
    reader, writer = await asyncio.open_unix_connection(str(api.socket), limit=1024)
    head = "POST /containers/loud/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: heft\r\n"
    writer.write(f"{head}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    memory = resident(daemon.pid)
    began = time.monotonic()
    await api.start("loud")
    ending = asyncio.create_task(api.wait("loud"))
    slowest, done = 0.0, False
    while time.monotonic() - began < 3 and not done:
        asked = time.monotonic()
        await api.ask("GET", "/containers/json?all=1")
        slowest = max(slowest, time.monotonic() - asked)
        done = ending.done()
        await asyncio.sleep(0.05)
    grown = resident(daemon.pid) - memory
    writer.transport.abort()
    async with asyncio.timeout(60):
        code = await ending
    took = time.monotonic() - began
    await api.remove("loud")
    return (
        Figure("written to a client that does not read", size / MIB, "MiB"),
        Figure("more memory meanwhile", grown, "MiB", 16),
        Figure("another request meanwhile, longest", slowest * 1000, "ms", 500),
        Figure("exit code, once it had gone", code, "", 0),
        Figure("from start to end", took, "s", 30),
    )


async def leavers(api: Api, count: int) -> tuple[Figure, ...]:
    """Ask for all kinds of streams, and go in the middle of them."""
    await api.create("talker", "sh", "-c", "while true; do echo $RANDOM; usleep 1000; done")
    await api.start("talker")
    paths = (
        ("GET", "/containers/talker/logs?stdout=1&follow=1"),
        ("POST", "/containers/talker/attach?stream=1&stdout=1&logs=1"),
        ("GET", "/containers/talker/stats"),
        ("GET", "/events"),
        ("POST", "/containers/talker/wait"),
        ("GET", "/images/busybox/get"),
        ("POST", "/images/create?fromSrc=-&repo=never"),
    )
    chance = random.Random(7)

    async def leave(number: int) -> None:
        method, path = paths[number % len(paths)]
        reader, writer = await asyncio.open_unix_connection(str(api.socket))
        more = "Connection: Upgrade\r\nUpgrade: tcp\r\n" if "attach" in path else ""
        more += "Transfer-Encoding: chunked\r\n" if "images/create" in path else ""
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: heft\r\n{more}\r\n".encode())
        if "images/create" in path:
            writer.write(b"400\r\n" + bytes(0x400) + b"\r\n")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(chance.uniform(0, 0.2)):
                await reader.read(1 << 16)
        writer.transport.abort()

    for begin in range(0, count, 50):
        await asyncio.gather(*(leave(n) for n in range(begin, min(begin + 50, count))))
    execs = await api.ask("GET", "/containers/talker/json")
    await api.remove("talker")
    images = await api.ask("GET", "/images/json")
    return (
        Figure("went in the middle of a stream", count, "clients"),
        Figure("the machine ran on", float(execs["State"]["Running"]), "", -1),
        Figure("images there", len(images), "", 1),
    )
