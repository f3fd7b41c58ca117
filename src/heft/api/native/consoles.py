"""Consoles: of machines that have a kernel of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.api import detach
from heft.api.frames import RAW
from heft.api.hijack import Taken, hijack
from heft.api.streams import Wanted, join

if TYPE_CHECKING:
    from aiohttp import web

    from heft.api.call import Call
    from heft.api.routes import Routes

LEAVE = "ctrl-]"
"""As telnet(1) and virsh(1) have it."""


def add_routes(routes: Routes) -> None:
    """Take the path of consoles."""
    routes.add("POST", "/heft/v1/machines/{name}/console", console)


async def console(call: Call) -> web.StreamResponse:
    """Join the client and a machine's console; the last that was said there comes first."""
    wanted = Wanted(
        stdin=True,
        stdout=True,
        stderr=False,
        framed=False,
        keys=detach.parse(call.text("detachKeys") or LEAVE),
        closes_stdin=False,
    )
    recent, session = await call.engine.machines.console(call.name, force=call.flag("force"))
    try:
        client = hijack(call.request, RAW)
        await client.write(recent)
        await join(client, session, wanted)
    except ConnectionError:
        return Taken()  # it went as it came
    finally:
        await session.close()
    return await client.end()
