"""What only Heft's machines can do: go to another weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from heft.api.decode import Body
from heft.errors import InvalidArgument

if TYPE_CHECKING:
    from aiohttp import web

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
    """Take the path of a machine's weight."""
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
