"""Execs: further processes of a machine that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from heft.api import detach
from heft.api.decode import Body
from heft.api.docker.attach import content_type
from heft.api.docker.lifecycle import console_size
from heft.api.frames import frame
from heft.api.hijack import hijack
from heft.api.streams import Ending, Wanted, join
from heft.errors import HeftError
from heft.model.config import Wire
from heft.model.machine import Exec, Stream

if TYPE_CHECKING:
    from aiohttp import web

    from heft.api.call import Call
    from heft.api.hijack import Hijacked
    from heft.api.routes import Routes


class CreateBody(Wire, frozen=True, kw_only=True):
    """The process to run."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: list[int] = msgspec.field(default_factory=list)
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach_keys: str = ""
    env: list[str] = msgspec.field(default_factory=list)
    working_dir: str = ""
    cmd: list[str] = msgspec.field(default_factory=list)


class StartBody(Wire, frozen=True, kw_only=True):
    """How to run it."""

    detach: bool = False
    tty: bool = False
    console_size: list[int] = msgspec.field(default_factory=list)


_CREATE, _START = Body(CreateBody), Body(StartBody)


def add_routes(routes: Routes) -> None:
    """Take the paths of execs."""
    routes.add("POST", "/containers/{name}/exec", create)
    routes.add("POST", "/exec/{name}/start", start)
    routes.add("POST", "/exec/{name}/resize", resize)
    routes.add("GET", "/exec/{name}/json", inspect)


def _size(given: list[int]) -> tuple[int, int]:
    rows, columns = (*given, 0, 0)[:2]
    return rows, columns


async def create(call: Call) -> web.StreamResponse:
    """Note an exec, to be started later."""
    body = await call.body(_CREATE)
    detach.parse(body.detach_keys)
    created = call.engine.execs.create(
        call.name,
        Exec(
            id="",
            machine_id="",
            argv=tuple(body.cmd),
            env=tuple(body.env),
            user=body.user,
            workdir=body.working_dir,
            tty=body.tty,
            privileged=body.privileged,
            attach_stdin=body.attach_stdin,
            attach_stdout=body.attach_stdout,
            attach_stderr=body.attach_stderr,
            detach_keys=body.detach_keys,
            console_size=_size(body.console_size),
        ),
    )
    return call.json({"Id": created.id}, 201)


async def start(call: Call) -> web.StreamResponse:
    """Run it, joined to the client unless it is to be detached."""
    execs = call.engine.execs
    exec_id = execs.get(call.name).id
    body = await call.body(_START) if call.request.body_exists else StartBody()
    size = _size(body.console_size)
    if body.detach:
        await call.work.finish(execs.start(exec_id, detach=True, console_size=size))
        return call.nothing(200)
    return await _run(call, exec_id, size)


async def _run(call: Call, exec_id: str, size: tuple[int, int]) -> web.StreamResponse:
    """Answer first, then start: clients lose output that comes along with the answer's head."""
    execs = call.engine.execs
    request, _ = execs.startable(exec_id)
    client = hijack(call.request, content_type(call, tty=request.tty))
    try:
        session = await execs.start(exec_id, detach=False, console_size=size)
    except HeftError as error:
        return await _tell_failure(client, request, error)
    if session is None:
        return await client.end()
    try:
        wanted = Wanted(
            stdin=request.attach_stdin,
            stdout=request.attach_stdout or request.tty,
            stderr=request.attach_stderr,
            framed=not request.tty,
            keys=detach.parse(request.detach_keys) if request.tty else b"",
            closes_stdin=not request.tty,
        )
        ending = await join(client, session, wanted)
        if ending is Ending.PROCESS:
            # Clients ask for the exit code as soon as the stream ends.
            await execs.wait(exec_id)
    finally:
        await session.close()
    if ending is Ending.DETACHED:
        call.engine.machines.tell(request.machine_id, "exec_detach", execID=exec_id)
    return await client.end()


async def _tell_failure(client: Hijacked, request: Exec, error: HeftError) -> web.StreamResponse:
    """Say within the stream why the process could not be run, as dockerd does.

    Clients then look at the exec, and give its exit code (126, 127) as their own.
    """
    text = f"{error}\r\n".encode()
    await client.write(text if request.tty else frame(Stream.STDOUT, text))
    return await client.end()


async def resize(call: Call) -> web.StreamResponse:
    """Tell its terminal the size."""
    rows, columns = console_size(call)
    await call.engine.execs.resize(call.name, rows, columns)
    return call.nothing(200)


async def inspect(call: Call) -> web.StreamResponse:
    """Show an exec."""
    return call.json(view(call.engine.execs.get(call.name)))


def view(request: Exec) -> dict[str, Any]:
    """Give the answer of `GET /exec/{id}/json`."""
    entrypoint, *arguments = request.argv
    return {
        "ID": request.id,
        "Running": request.running,
        "ExitCode": request.exit_code,
        "ProcessConfig": {
            "tty": request.tty,
            "entrypoint": entrypoint,
            "arguments": arguments,
            "privileged": request.privileged,
            "user": request.user,
        },
        "OpenStdin": request.attach_stdin,
        "OpenStdout": request.attach_stdout,
        "OpenStderr": request.attach_stderr,
        "CanRemove": not request.running and request.started,
        "ContainerID": request.machine_id,
        "DetachKeys": request.detach_keys,
        "Pid": request.pid,
    }
