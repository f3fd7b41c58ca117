"""A machine's log as a stream."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from heft.api import times
from heft.api.frames import MULTIPLEXED, RAW, frame
from heft.errors import InvalidArgument
from heft.model.request import LogLine, LogQuery

if TYPE_CHECKING:
    from aiohttp import web

    from heft.api.call import Call
    from heft.api.routes import Routes
    from heft.model.machine import Stream


def add_routes(routes: Routes) -> None:
    """Take the path of logs."""
    routes.add("GET", "/containers/{name}/logs", logs)


class LogWriter:
    """Brings lines into the form that a client asked for."""

    def __init__(
        self, *, framed: bool, timestamps: bool = False, details: str | None = None
    ) -> None:
        self._framed = framed
        self._timestamps = timestamps
        self._details = details
        self._begun: set[Stream] = set()

    def encode(self, line: LogLine) -> bytes:
        """Give the bytes of a line; one that goes on in a next piece gets its time only once."""
        data = line.data
        if line.stream not in self._begun:
            data = self._prefix(line) + data
        if data.endswith(b"\n"):
            self._begun.discard(line.stream)
        else:
            self._begun.add(line.stream)
        return frame(line.stream, data) if self._framed else data

    def _prefix(self, line: LogLine) -> bytes:
        prefix = ""
        if self._timestamps:
            prefix = times.fixed(line.time) + " "
        if self._details is not None:
            prefix += self._details + " "
        return prefix.encode()


def tail(given: str) -> int | None:
    """Read how many lines from the end; `all` and what is no number are all (moby does so)."""
    return int(given) if given.isdecimal() else None


async def logs(call: Call) -> web.StreamResponse:
    """Give what the machine wrote; with `follow`, what it writes until it ends."""
    machine = call.engine.machines.get(call.name)
    stdout, stderr = call.flag("stdout"), call.flag("stderr")
    if not (stdout or stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    now = time.time_ns()
    since, until = call.text("since"), call.text("until")
    query = LogQuery(
        stdout=stdout,
        stderr=stderr,
        since=times.parse(since, now=now) if since else 0,
        until=times.parse(until, now=now) if until else 0,
        tail=tail(call.text("tail")),
        follow=call.flag("follow"),
    )
    tty = machine.config.tty
    lines = call.engine.machines.logs(machine.id, query)
    writer = LogWriter(
        framed=not tty,
        timestamps=call.flag("timestamps"),
        details="" if call.flag("details") else None,
    )
    raw = tty or call.version < (1, 42)
    response = await call.stream(RAW if raw else MULTIPLEXED)
    async with contextlib.aclosing(lines):
        async for line in lines:
            await response.write(writer.encode(line))
    await response.write_eof()
    return response
