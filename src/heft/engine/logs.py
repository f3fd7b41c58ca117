"""Reading a machine's log: the CRI format that conmon writes, over rotated files.

A line is `TIME STREAM TAG TEXT`, where the tag is F for a full line and P for a part of one
(kubernetes, design proposal "CRI: log management"). `log` is the file being written, `log.1` the
one before it, and so on.
"""

from __future__ import annotations

import asyncio
import calendar
import contextlib
import math
import os
import time
from typing import TYPE_CHECKING

from heft.model.machine import Stream
from heft.model.request import LogLine, LogQuery

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

BLOCK = 64 * 1024
QUICKEST_LOOK, SLOWEST_LOOK = 0.01, 0.2
"""Seconds between two looks at a log that is followed: quick after output, slower in silence."""

_STREAMS = {b"stdout": Stream.STDOUT, b"stderr": Stream.STDERR}


def parse(line: bytes) -> LogLine | None:
    """Read one line of the file, without its newline; None where it is none."""
    parts = line.split(b" ", 3)
    if len(parts) != 4 or parts[1] not in _STREAMS:
        return None
    moment, stream, tag, text = parts
    try:
        return LogLine(
            parse_time(moment.decode()), _STREAMS[stream], text + b"\n" * (tag[:1] == b"F")
        )
    except (ValueError, UnicodeDecodeError):
        return None


def parse_time(text: str) -> int:
    """Give nanoseconds since 1970 for `2016-10-06T00:17:09.669794202+02:00` (RFC 3339)."""
    date, clock = text[:10], text[11:19]
    year, month, day = (int(part) for part in date.split("-"))
    hour, minute, second = (int(part) for part in clock.split(":"))
    seconds = calendar.timegm((year, month, day, hour, minute, second))
    rest, nanoseconds = text[19:], 0
    if rest.startswith("."):
        digits = rest[1:].rstrip("Z").partition("+")[0].partition("-")[0]
        nanoseconds = int(digits[:9].ljust(9, "0"))
        rest = rest[1 + len(digits) :]
    if rest and rest != "Z":
        sign = 1 if rest[0] == "+" else -1
        seconds -= sign * (int(rest[1:3]) * 3600 + int(rest[4:6]) * 60)
    return seconds * 10**9 + nanoseconds


def rotated(path: Path) -> list[Path]:
    """Give the files of a log, the oldest first, without the one being written."""
    found: list[Path] = []
    while (older := path.with_name(f"{path.name}.{len(found) + 1}")).exists():
        found.append(older)
    return found[::-1]


async def read(
    path: Path, query: LogQuery, is_up: Callable[[], bool]
) -> AsyncGenerator[LogLine, None]:
    """Give the lines that are asked for; with `follow`, until the machine's run is over."""
    with contextlib.ExitStack() as stack:
        past, current = _open(path, query.tail, stack)
        for file in past:
            async for line in _lines(file, query):
                yield line
        async with contextlib.aclosing(_follow(path, current, query, is_up)) as lines:
            async for line in lines:
                yield line


def _open(
    path: Path, tail: int | None, stack: contextlib.ExitStack
) -> tuple[list[BinaryIO], BinaryIO | None]:
    """Open the files, each at the place from which the wanted lines begin."""
    files: list[BinaryIO] = []
    left = tail
    for name in (path, *reversed(rotated(path))):
        if not name.exists():
            continue
        file = stack.enter_context(name.open("rb"))
        files.insert(0, file)
        if left is not None:
            left -= seek_tail(file, left)
            if left <= 0:
                break
    current = files.pop() if files else None
    return files, current


def seek_tail(file: BinaryIO, lines: int) -> int:
    """Go to where the last full lines of a file begin; give how many those are."""
    end = file.seek(0, os.SEEK_END)
    size = 0
    while size < end:
        size = min(max(2 * size, BLOCK), end)
        file.seek(end - size)
        block = file.read(size)
        # What stands before the first newline may be the end of a line that begins earlier.
        start = 0 if size == end else block.find(b"\n") + 1
        ends = _ends_of_full_lines(block, start)
        if len(ends) > lines:
            file.seek(end - size + ends[-lines - 1])
            return lines
    file.seek(0)
    return len(ends) if end else 0


def _ends_of_full_lines(block: bytes, start: int) -> list[int]:
    """Give the offsets after each line that is tagged as full."""
    ends = []
    while (newline := block.find(b"\n", start)) >= 0:
        if block[start:newline].split(b" ", 3)[2:3] == [b"F"]:
            ends.append(newline + 1)
        start = newline + 1
    return ends


async def _lines(file: BinaryIO, query: LogQuery) -> AsyncGenerator[LogLine, None]:
    rest = b""
    while block := file.read(BLOCK):
        *lines, rest = (rest + block).split(b"\n")
        for line in _wanted(lines, query):
            yield line
        await asyncio.sleep(0)


def _wanted(lines: list[bytes], query: LogQuery) -> Iterator[LogLine]:
    for raw in lines:
        line = parse(raw)
        if line is None or not (query.stdout if line.stream is Stream.STDOUT else query.stderr):
            continue
        if line.time < query.since or (query.until and line.time > query.until):
            continue
        yield line


async def _follow(
    path: Path, handle: BinaryIO | None, query: LogQuery, is_up: Callable[[], bool]
) -> AsyncGenerator[LogLine, None]:
    """Read on, from file to file, however often the log is rotated meanwhile."""
    rest, pause = b"", QUICKEST_LOOK
    # Reckoned once: a clock that is set back later must not hold the end up.
    end = time.monotonic() + (query.until - time.time_ns()) / 1e9 if query.until else math.inf
    try:
        while True:
            # Asked before reading: what was written before the run ended, or the log was rotated,
            # is still read after it.
            goes_on, over = query.follow and is_up(), is_over(path, handle)
            block = handle.read(BLOCK) if handle else b""
            if block:
                pause = QUICKEST_LOOK
                *lines, rest = (rest + block).split(b"\n")
                for line in _wanted(lines, query):
                    yield line
                await asyncio.sleep(0)
            elif query.follow and over:
                before, handle = handle, next_file(path, handle)
                if before is not None:
                    before.close()
            elif not goes_on or time.monotonic() > end:
                return
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, SLOWEST_LOOK)
    finally:
        if handle is not None:
            handle.close()


def is_over(path: Path, handle: BinaryIO | None) -> bool:
    """Say whether there is a file after this one: the monitor writes to this no more."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False  # it is just being rotated, or not there yet
    return handle is None or os.fstat(handle.fileno()).st_ino != status.st_ino


def next_file(path: Path, handle: BinaryIO | None) -> BinaryIO:
    """Open the file after this one; the oldest there is, if this one is not kept any more."""
    files = [*rotated(path), path]
    numbers = [file.stat().st_ino for file in files]
    own = os.fstat(handle.fileno()).st_ino if handle is not None else 0
    at = numbers.index(own) + 1 if own in numbers else 0
    return files[at].open("rb")
