"""Attaching to a machine's streams."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from heft.api import detach
from heft.api.docker.logs import LogWriter
from heft.api.frames import MULTIPLEXED, RAW
from heft.api.hijack import hijack
from heft.api.streams import Ending, Wanted, join
from heft.api.websocket import upgrade
from heft.errors import Conflict
from heft.model.machine import State
from heft.model.request import LogQuery

if TYPE_CHECKING:
    from aiohttp import web

    from heft.api.call import Call
    from heft.api.routes import Routes
    from heft.api.streams import Client
    from heft.model.machine import Machine
    from heft.weights.base import Session


def add_routes(routes: Routes) -> None:
    """Take the paths of attaching."""
    routes.add("POST", "/containers/{name}/attach", attach)
    routes.add("GET", "/containers/{name}/attach/ws", attach_websocket)


def content_type(call: Call, *, tty: bool) -> str:
    """Say what the stream is; old clients expect one word for both kinds."""
    return RAW if tty or call.version < (1, 42) else MULTIPLEXED


async def attach(call: Call) -> web.StreamResponse:
    """Join the client and the machine; one that does not run yet, from its first byte on."""
    machine, wanted = _asked(call)
    session = await _session(call, machine)
    try:
        client = hijack(call.request, content_type(call, tty=machine.config.tty))
        await _attach(call, client, session, machine, wanted)
    finally:
        if session is not None:
            await session.close()
    return await client.end()


async def attach_websocket(call: Call) -> web.StreamResponse:
    """Do the same by WebSocket; its messages are raw output, of both streams alike."""
    machine, wanted = _asked(call)
    wanted = replace(wanted, framed=False)
    session = await _session(call, machine)
    try:
        answer, client = await upgrade(call.request)
        joined = asyncio.create_task(_attach(call, client, session, machine, wanted))
        left = asyncio.create_task(client.gone())
        try:
            await asyncio.wait({joined, left}, return_when=asyncio.FIRST_COMPLETED)
            if joined.done():
                joined.result()
        finally:
            for task in (joined, left):
                task.cancel()
            await asyncio.gather(joined, left, return_exceptions=True)
            await client.close()
    finally:
        if session is not None:
            await session.close()
    return answer


def _asked(call: Call) -> tuple[Machine, Wanted]:
    """Give the machine and what is wanted of it. Raises `Conflict` if it is paused."""
    machine = call.engine.machines.get(call.name)
    keys = detach.parse(call.text("detachKeys"))
    if machine.state is State.PAUSED:
        raise Conflict(f"container {call.name} is paused, unpause the container before attach")
    tty = machine.config.tty
    return machine, Wanted(
        stdin=call.flag("stdin") and machine.config.open_stdin,
        stdout=call.flag("stdout"),
        stderr=call.flag("stderr"),
        framed=not tty,
        keys=keys if tty else b"",
        closes_stdin=machine.config.stdin_once and not tty,
    )


async def _session(call: Call, machine: Machine) -> Session | None:
    return await call.engine.machines.attach(machine.id) if call.flag("stream") else None


async def _attach(
    call: Call, client: Client, session: Session | None, machine: Machine, wanted: Wanted
) -> None:
    if call.flag("logs"):
        await _replay(call, client, machine, wanted)
    if session is not None:
        await _follow(call, client, session, machine, wanted)


async def _follow(
    call: Call, client: Client, session: Session, machine: Machine, wanted: Wanted
) -> None:
    call.engine.machines.tell(machine.id, "attach")
    ending = await join(client, session, wanted)
    if ending is Ending.DETACHED:
        call.engine.machines.tell(machine.id, "detach")


async def _replay(call: Call, client: Client, machine: Machine, wanted: Wanted) -> None:
    query = LogQuery(stdout=wanted.stdout, stderr=wanted.stderr)
    writer = LogWriter(framed=wanted.framed)
    async with contextlib.aclosing(call.engine.machines.logs(machine.id, query)) as lines:
        async for line in lines:
            await client.write(writer.encode(line))
