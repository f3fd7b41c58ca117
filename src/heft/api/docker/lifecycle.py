"""Starting, stopping and all between; waiting for the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.api.call import encode
from heft.errors import InvalidArgument
from heft.model.request import WaitCondition

if TYPE_CHECKING:
    from aiohttp import web

    from heft.api.call import Call
    from heft.api.routes import Routes


def add_routes(routes: Routes) -> None:
    """Take the paths under `/containers` that concern a machine's life."""
    for path, handler in (
        ("start", start),
        ("stop", stop),
        ("restart", restart),
        ("kill", kill),
        ("pause", pause),
        ("unpause", unpause),
        ("resize", resize),
        ("wait", wait),
    ):
        routes.add("POST", f"/containers/{{name}}/{path}", handler)


async def start(call: Call) -> web.StreamResponse:
    """Start it; 304 if it runs."""
    await call.work.finish(call.engine.machines.start(call.name))
    return call.nothing()


async def stop(call: Call) -> web.StreamResponse:
    """Stop it; 304 if it does not run."""
    seconds, signal = call.number("t"), call.text("signal")
    await call.work.finish(call.engine.machines.stop(call.name, seconds=seconds, signal=signal))
    return call.nothing()


async def restart(call: Call) -> web.StreamResponse:
    """Stop it if it runs, and start it."""
    seconds, signal = call.number("t"), call.text("signal")
    await call.work.finish(call.engine.machines.restart(call.name, seconds=seconds, signal=signal))
    return call.nothing()


async def kill(call: Call) -> web.StreamResponse:
    """Send it a signal."""
    await call.work.finish(call.engine.machines.kill(call.name, call.text("signal")))
    return call.nothing()


async def pause(call: Call) -> web.StreamResponse:
    """Freeze it."""
    await call.work.finish(call.engine.machines.pause(call.name))
    return call.nothing()


async def unpause(call: Call) -> web.StreamResponse:
    """Let it go on."""
    await call.work.finish(call.engine.machines.unpause(call.name))
    return call.nothing()


def console_size(call: Call) -> tuple[int, int]:
    """Read rows and columns."""
    rows, columns = call.number("h"), call.number("w")
    if rows is None or columns is None or not (0 <= rows < 1 << 16 and 0 <= columns < 1 << 16):
        raise InvalidArgument("a terminal's size needs h and w, from 0 to 65535")
    return rows, columns


async def resize(call: Call) -> web.StreamResponse:
    """Tell its terminal the size."""
    rows, columns = console_size(call)
    await call.engine.machines.resize(call.name, rows, columns)
    return call.nothing(200)


async def wait(call: Call) -> web.StreamResponse:
    """Say how it ended, when it has.

    The watch is registered before the head of the answer goes out, and that goes out at once: a
    client that has it can start the machine and miss nothing.
    """
    asked = call.text("condition")
    try:
        condition = WaitCondition(asked or WaitCondition.NOT_RUNNING)
    except ValueError:
        raise InvalidArgument(f'invalid condition: "{asked}"') from None
    ended = call.engine.machines.watch(call.name, condition)
    try:
        response = await call.stream()
        end = await ended
    finally:
        ended.cancel()
    await response.write_eof(encode({"StatusCode": end.code}) + b"\n")
    return response
