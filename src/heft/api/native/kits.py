"""Guest kits: what machines with a kernel of their own start with (`heft.guest.kits`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from heft.api.decode import Body
from heft.api.docker.progress import Reporter
from heft.errors import InvalidArgument
from heft.model.config import HostConfig

if TYPE_CHECKING:
    from aiohttp import web

    from heft.api.call import Call
    from heft.api.routes import Routes
    from heft.engine.guest_kits import KitInUse


class KitBody(msgspec.Struct, frozen=True, kw_only=True):
    """The kit to make; of a package, or of a kernel at an absolute path of the daemon's host."""

    name: str = ""
    kernel: str = ""
    modules: str = ""


class WarmBody(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of the machines to come: bytes, and units of 1e-9 processors."""

    memory: int = 0
    nano_cpus: int = msgspec.field(default=0, name="nanoCpus")


_KIT, _WARM = Body(KitBody), Body(WarmBody)


def add_routes(routes: Routes) -> None:
    """Take the paths of kits."""
    routes.add("GET", "/heft/v1/kits", list_all)
    routes.add("POST", "/heft/v1/kits", pull)
    routes.add("GET", "/heft/v1/kits/{name}", inspect)
    routes.add("POST", "/heft/v1/kits/{name}/warm", warm)
    routes.add("DELETE", "/heft/v1/kits/{name}", remove)


async def list_all(call: Call) -> web.StreamResponse:
    """List the kits that are there."""
    return call.json([_view(each) for each in await call.engine.kits.list()])


async def inspect(call: Call) -> web.StreamResponse:
    """Tell of one."""
    return call.json(_view(await call.engine.kits.get(call.name)))


async def pull(call: Call) -> web.StreamResponse:
    """Make a kit; the answer is lines of progress."""
    body = await call.body(_KIT)
    if not body.name:
        raise InvalidArgument("the name of a kit is needed")
    if body.modules and not body.kernel:
        raise InvalidArgument("modules without the kernel that they are of", hint="--kernel PATH")
    kernel, modules = _path(body.kernel), _path(body.modules)
    reporter = Reporter(call)

    def report(what: str) -> None:
        reporter(body.name, what, 0, 0)

    kits = call.engine.kits
    making = (
        kits.pull(body.name, report)
        if kernel is None
        else kits.make_own(body.name, kernel, modules, report)
    )
    return await reporter.run(making, lambda kit: [{"status": f"{kit.name} {kit.record.version}"}])


async def warm(call: Call) -> web.StreamResponse:
    """Make a kit and the template of machines with it; the answer is lines of progress."""
    body = await call.body(_WARM)
    if body.memory < 0 or body.nano_cpus < 0:
        raise InvalidArgument("memory and processors cannot be negative")
    name, host = call.name, HostConfig(memory=body.memory, nano_cpus=body.nano_cpus)
    reporter = Reporter(call)
    making = call.engine.ahead.kit(name, host, lambda what: reporter(name, what, 0, 0))
    return await reporter.run(making, lambda why: [{"status": f"cold: {why}" if why else "warm"}])


def _path(text: str) -> Path | None:
    """Read a path of this host; None for none. Raises `InvalidArgument`."""
    if not text:
        return None
    if not text.startswith("/") or "\0" in text:
        raise InvalidArgument(f"{text!r} is not an absolute path")
    return Path(text)


async def remove(call: Call) -> web.StreamResponse:
    """Remove one that no machine runs with."""
    await call.work.finish(call.engine.kits.remove(call.name))
    return call.nothing()


def _view(found: KitInUse) -> dict[str, Any]:
    record = found.kit.record
    shown = {
        "name": found.kit.name,
        "package": record.package if record else "",
        "version": record.version if record else "",
        "kernel": record.release if record else "",
        "source": record.source if record else "",
        "size": 0,
        "damaged": found.problem,
        "machines": list(found.machines),
        "files": {name: str(path) for name, path in found.files.items()},
    }
    if record is not None:
        shown["size"] = record.kernel.size + record.initramfs.size + record.modules.size
    return shown
