"""Volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from heft.api import filters as f
from heft.api import times
from heft.api.decode import Body
from heft.model.config import Wire

if TYPE_CHECKING:
    from aiohttp import web

    from heft.api.call import Call
    from heft.api.filters import Filters
    from heft.api.routes import Routes
    from heft.model.volume import Volume

KNOWN = frozenset("dangling driver label label! name".split())
PRUNE_KNOWN = frozenset("all label label!".split())


class CreateBody(Wire, frozen=True, kw_only=True):
    """The volume to make."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)


_CREATE = Body(CreateBody)


def add_routes(routes: Routes) -> None:
    """Take the paths under `/volumes`."""
    routes.add("GET", "/volumes", list_all)
    routes.add("POST", "/volumes/create", create)
    routes.add("POST", "/volumes/prune", prune)
    routes.add("GET", "/volumes/{name}", inspect)
    routes.add("DELETE", "/volumes/{name}", remove)


def view(volume: Volume, path: str) -> dict[str, Any]:
    """Give a volume as the API shows it."""
    return {
        "CreatedAt": times.text(volume.created - volume.created % times.SECOND),
        "Driver": volume.driver,
        "Labels": volume.labels or None,
        "Mountpoint": path,
        "Name": volume.name,
        "Options": volume.options or None,
        "Scope": "local",
    }


def _shown(call: Call, volume: Volume) -> dict[str, Any]:
    return view(volume, str(call.engine.volumes.path(volume.name)))


async def list_all(call: Call) -> web.StreamResponse:
    """List volumes."""
    wanted = call.filters(KNOWN)
    in_use = call.engine.volumes_in_use()
    volumes = [each for each in call.engine.volumes.list() if fits(each, wanted, in_use)]
    return call.json({"Volumes": [_shown(call, each) for each in volumes], "Warnings": None})


def fits(volume: Volume, wanted: Filters, in_use: frozenset[str]) -> bool:
    """Say whether a list shows the volume."""
    dangling = f.flag(wanted, "dangling")
    return (
        f.matches(wanted, "name", volume.name)
        and f.labels_fit(volume.labels, wanted)
        and volume.driver in wanted.get("driver", [volume.driver])
        and (dangling is None or dangling != (volume.name in in_use))
    )


async def create(call: Call) -> web.StreamResponse:
    """Make a volume, or give the one that has the name."""
    body = await call.body(_CREATE) if call.request.body_exists else CreateBody()
    volume = await call.work.finish(
        call.engine.volumes.create(
            body.name,
            driver=body.driver or "local",
            labels=body.labels,
            options=body.driver_opts,
            anonymous=not body.name,
        )
    )
    return call.json(_shown(call, volume), 201)


async def inspect(call: Call) -> web.StreamResponse:
    """Show a volume."""
    return call.json(_shown(call, call.engine.volumes.get(call.name)))


async def remove(call: Call) -> web.StreamResponse:
    """Remove a volume that no machine mounts."""
    call.engine.remove_volume(call.name, force=call.flag("force"))
    return call.nothing()


async def prune(call: Call) -> web.StreamResponse:
    """Remove the volumes that no machine mounts: those without a name of their own, or all."""
    wanted = call.filters(PRUNE_KNOWN)
    # Before 1.42 a prune took named volumes too.
    every = call.version < (1, 42) or f.flag(wanted, "all") is True

    def keep(volume: Volume) -> bool:
        return not ((every or volume.anonymous) and f.labels_fit(volume.labels, wanted))

    removed, freed = await call.engine.prune_volumes(keep)
    return call.json({"VolumesDeleted": list(removed) or None, "SpaceReclaimed": freed})
