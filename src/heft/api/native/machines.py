"""What only Heft's machines can do, and what is said only of them: their weight, and their cost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from heft.api.call import COMMON_HEADERS
from heft.api.decode import Body
from heft.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from heft.api.call import Call
    from heft.api.routes import Routes


class WeightBody(msgspec.Struct, frozen=True, kw_only=True):
    """The weight to go to; with `restart`, of a machine that may run: it is stopped and started.

    `seconds` and `signal` are for the stop, as Docker has them.
    """

    weight: str = ""
    restart: bool = False
    seconds: int | None = None
    signal: str = ""


_WEIGHT = Body(WeightBody)


def add_routes(routes: Routes) -> None:
    """Take the paths of a machine's weight and memory, and of what measures in machines."""
    routes.add("GET", "/heft/v1/probe", probe)
    routes.add("GET", "/heft/v1/machines/{name}/memory", memory)
    routes.add("POST", "/heft/v1/machines/{name}/weight", change_weight)


async def change_weight(call: Call) -> web.StreamResponse:
    """Take a machine to another weight; 204 also where it has that already."""
    asked = await call.body(_WEIGHT)
    if not asked.weight:
        raise InvalidArgument("a weight is needed")
    machines = call.engine.machines
    if asked.restart:
        doing = machines.restart(
            call.name, seconds=asked.seconds, signal=asked.signal, weight=asked.weight
        )
    else:
        doing = machines.change_weight(call.name, asked.weight)
    await call.work.finish(doing)
    return call.nothing()


async def memory(call: Call) -> web.StreamResponse:
    """Say what a machine that runs takes of the host's memory."""
    return call.json({"pss": await call.engine.machines.memory(call.name)})


async def probe(call: Call) -> web.StreamResponse:
    """Give the program that measures in machines of a platform (agent/weigh.c)."""
    program = call.engine.probe(call.text("platform"))
    if not await asyncio.to_thread(program.is_file):
        raise NotFound(f"no program is there that measures on {call.text('platform')}")
    data = await asyncio.to_thread(program.read_bytes)
    return web.Response(body=data, headers=COMMON_HEADERS, content_type="application/octet-stream")
