"""Machines as Docker's containers: made, listed, looked at, renamed, removed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from heft.api.decode import Body
from heft.api.docker import inspect, listing, summary
from heft.errors import HeftError, NotSupported
from heft.model.config import Config, EndpointConfig, HostConfig, Wire
from heft.model.request import CreateRequest, Update

if TYPE_CHECKING:
    from aiohttp import web

    from heft.api.call import Call
    from heft.api.routes import Routes
    from heft.engine.engine import Engine
    from heft.model.image import Image
    from heft.model.machine import Machine


class NetworkingConfig(Wire, frozen=True, kw_only=True):
    """Places on networks, asked for by the networks' names."""

    endpoints_config: dict[str, EndpointConfig] = msgspec.field(default_factory=dict)


class CreateBody(Config, frozen=True, kw_only=True):
    """What a client sends to make a machine."""

    host_config: HostConfig = HostConfig()
    networking_config: NetworkingConfig = NetworkingConfig()
    mac_address: str = ""
    """Of old: now it is the endpoint's."""


_CREATE, _UPDATE = Body(CreateBody), Body(Update)
_CONFIG_FIELDS = Config.__struct_fields__


def add_routes(routes: Routes) -> None:
    """Take the paths under `/containers` that concern a machine as a record."""
    routes.add("POST", "/containers/create", create)
    routes.add("POST", "/containers/prune", prune)
    routes.add("GET", "/containers/json", list_all)
    routes.add("GET", "/containers/{name}/json", inspect_one)
    routes.add("GET", "/containers/{name}/top", top)
    routes.add("POST", "/containers/{name}/rename", rename)
    routes.add("POST", "/containers/{name}/update", update)
    routes.add("DELETE", "/containers/{name}", remove)


async def create(call: Call) -> web.StreamResponse:
    """Make a machine."""
    body = await call.body(_CREATE)
    endpoints = dict(body.networking_config.endpoints_config)
    if body.mac_address:
        name = body.host_config.network_mode or "default"
        asked = endpoints.get(name, EndpointConfig())
        endpoints[name] = msgspec.structs.replace(asked, mac_address=body.mac_address)
    host = body.host_config
    if call.version < (1, 25):
        host = msgspec.structs.replace(host, auto_remove=False)
    request = CreateRequest(
        name=call.text("name"),
        platform=call.text("platform"),
        config=Config(**{field: getattr(body, field) for field in _CONFIG_FIELDS}),
        host_config=host,
        endpoints=endpoints,
    )
    created = await call.work.finish(call.engine.machines.create(request))
    return call.json({"Id": created.machine.id, "Warnings": list(created.warnings)}, 201)


async def list_all(call: Call) -> web.StreamResponse:
    """List machines, the newest first."""
    engine = call.engine
    wanted = call.filters(listing.KNOWN)
    for name in ("before", "since"):
        if given := call.text(name):
            wanted = {**wanted, name: [given]}
    machines = listing.select(
        engine.machines.list(),
        wanted,
        EngineLookup(engine),
        every=call.flag("all"),
        limit=call.number("limit") or 0,
    )
    ids = network_ids(engine)
    images = ImageNames(engine)
    with_sizes = call.flag("size")
    now = time.time_ns()
    rows = []
    for machine in machines:
        sizes = await engine.machines.size(machine.id) if with_sizes else None
        image = images.of(machine)
        rows.append(summary.row(machine, now=now, image=image, network_ids=ids, sizes=sizes))
    return call.json(rows)


@dataclass(frozen=True, slots=True)
class EngineLookup:
    """Finds what filters name, in the engine."""

    engine: Engine

    def machine(self, reference: str) -> Machine:
        """Give a machine."""
        return self.engine.machines.get(reference)

    def image(self, reference: str) -> Image:
        """Give an image."""
        return self.engine.images.resolve(reference)

    def network_id(self, name: str) -> str:
        """Give a network's id."""
        return network_ids(self.engine).get(name, "")


def network_ids(engine: Engine) -> dict[str, str]:
    """Give the ids of all networks by name."""
    return {network.name: network.id for network in engine.networks.list()}


class ImageNames:
    """How machines' images are called now; each name is looked up once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, str] = {}

    def of(self, machine: Machine) -> str:
        """Say how its image is called: as it was asked for, if that still means the same image."""
        asked = machine.config.image
        if (known := self._known.get(asked)) is None:
            known = self._known[asked] = self._id(asked)
        return asked if known == machine.image else machine.image

    def _id(self, name: str) -> str:
        try:
            return self._engine.images.resolve(name).id
        except HeftError:
            return ""


async def inspect_one(call: Call) -> web.StreamResponse:
    """Show all there is to know of a machine."""
    engine = call.engine
    machine = engine.machines.get(call.name)
    sizes = await engine.machines.size(machine.id) if call.flag("size") else None
    try:
        layers = engine.images.layer_paths(machine.layers)
    except HeftError:
        layers = ()
    around = inspect.Surroundings(
        directory=engine.settings.layout.machine(machine.id),
        layers=layers,
        network_ids=network_ids(engine),
        execs=engine.execs.of(machine.id),
        sizes=sizes,
        guest=await engine.kits.described(machine),
    )
    return call.json(inspect.view(machine, around))


async def top(call: Call) -> web.StreamResponse:
    """Show its processes as ps(1) does."""
    titles, processes = await call.engine.machines.top(call.name, call.text("ps_args"))
    return call.json({"Titles": titles, "Processes": processes})


async def rename(call: Call) -> web.StreamResponse:
    """Give it another name."""
    await call.work.finish(call.engine.machines.rename(call.name, call.text("name")))
    return call.nothing()


async def update(call: Call) -> web.StreamResponse:
    """Change its limits and restart policy."""
    asked = await call.body(_UPDATE)
    warnings = await call.work.finish(call.engine.machines.update(call.name, asked))
    return call.json({"Warnings": list(warnings)})


async def remove(call: Call) -> web.StreamResponse:
    """Remove it."""
    if call.flag("link"):
        raise NotSupported("Heft has no links between containers to remove")
    force, volumes = call.flag("force"), call.flag("v")
    await call.work.finish(call.engine.machines.remove(call.name, force=force, volumes=volumes))
    return call.nothing()


async def prune(call: Call) -> web.StreamResponse:
    """Remove those that do not run."""
    wanted = call.filters(listing.PRUNE_KNOWN)
    now = time.time_ns()
    removed, freed = await call.work.finish(
        call.engine.machines.prune(lambda machine: listing.kept_from_prune(machine, wanted, now))
    )
    return call.json({"ContainersDeleted": removed or None, "SpaceReclaimed": freed})
