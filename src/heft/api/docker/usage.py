"""What takes up space (`docker system df`)."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from heft.api.docker import image_views, summary, volumes
from heft.api.docker.containers import ImageNames, network_ids
from heft.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from heft.api.call import Call
    from heft.api.routes import Routes
    from heft.images.usage import Usage
    from heft.model.machine import Machine

KINDS = ("container", "image", "volume", "build-cache")


def add_routes(routes: Routes) -> None:
    """Take the path of disk usage."""
    routes.add("GET", "/system/df", disk_usage)


async def disk_usage(call: Call) -> web.StreamResponse:
    """Say what takes up space: everything, or the kinds that `type` names."""
    wanted = call.texts("type") or KINDS
    machines = call.engine.machines.list()
    answer: dict[str, Any] = {}
    for kind in wanted:
        if kind == "container":
            answer["Containers"] = await _containers(call, machines)
        elif kind == "image":
            usage = await call.engine.images.usage()
            answer["LayersSize"] = usage.size
            answer["Images"] = _images(call, machines, usage)
        elif kind == "volume":
            answer["Volumes"] = await _volumes(call, machines)
        elif kind == "build-cache":
            answer["BuildCache"] = []
            answer["BuilderSize"] = 0
        else:
            raise InvalidArgument(f"unknown object type: {kind}")
    return call.json(answer)


def _images(call: Call, machines: Sequence[Machine], usage: Usage) -> list[dict[str, Any]]:
    """Give a row an image; its base, which Docker has no word for, is part of its size."""
    images, rows = call.engine.images, []
    users = Counter(machine.image for machine in machines)
    for image in images.list():
        if image.id not in usage.images:
            continue  # it came while the disk was looked at
        tags, digests = images.tags(image.id), images.digests(image.id)
        row = image_views.row(image, tags, digests, users[image.id], call.version)
        taken = usage.images[image.id]
        sizes = {"Size": taken.size, "SharedSize": taken.shared, "BaseSize": taken.base}
        rows.append({**row, **sizes})
    return rows


async def _containers(call: Call, machines: Sequence[Machine]) -> list[dict[str, Any]]:
    engine, rows = call.engine, []
    ids, names, now = network_ids(engine), ImageNames(engine), time.time_ns()
    for machine in machines:
        sizes = await engine.machines.size(machine.id)
        image = names.of(machine)
        rows.append(summary.row(machine, now=now, image=image, network_ids=ids, sizes=sizes))
    return rows


async def _volumes(call: Call, machines: Sequence[Machine]) -> list[dict[str, Any]]:
    known = call.engine.volumes.list()
    sizes = await call.engine.volumes.sizes(volume.name for volume in known)
    users = Counter(
        name for machine in machines for name in {mount.volume for mount in machine.mounts}
    )
    return [
        {
            **volumes.view(volume, str(call.engine.volumes.path(volume.name))),
            "UsageData": {"RefCount": users[volume.name], "Size": sizes.get(volume.name, -1)},
        }
        for volume in known
    ]
