"""Images: made from tars, listed, looked at, named, saved, removed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from heft.api import filters as f
from heft.api import times
from heft.api.docker import image_views, registries
from heft.api.docker.progress import Reporter
from heft.errors import InvalidArgument, NotSupported

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web

    from heft.api.call import Call
    from heft.api.routes import Routes
    from heft.images.catalog import Removed
    from heft.model.image import Image


def add_routes(routes: Routes) -> None:
    """Take the paths under `/images`."""
    routes.add("GET", "/images/json", list_all)
    routes.add("POST", "/images/create", create)
    routes.add("POST", "/images/load", load)
    routes.add("POST", "/images/prune", prune)
    routes.add("GET", "/images/get", save_many)
    routes.add("GET", "/images/{name}/get", save_one)
    routes.add("GET", "/images/{name}/json", inspect)
    routes.add("GET", "/images/{name}/history", history)
    routes.add("POST", "/images/{name}/tag", tag)
    routes.add("DELETE", "/images/{name}", remove)


async def list_all(call: Call) -> web.StreamResponse:
    """List images, the newest first."""
    images = call.engine.images
    shown = image_views.select(
        images.list(),
        call.filters(image_views.KNOWN),
        tags=images.tags,
        resolve=images.resolve,
        now=time.time_ns(),
    )
    users: dict[str, list[str]] = {}
    for machine in call.engine.machines.list():
        users.setdefault(machine.image, []).append(machine.id)
    wanted = call.version >= (1, 47) and call.flag("manifests")
    rows = []
    for image in shown:
        own = users.get(image.id, [])
        tags, digests = images.tags(image.id), images.digests(image.id)
        row = image_views.row(image, tags, digests, len(own), call.version)
        if wanted:
            row["Manifests"] = [image_views.manifest(image, *images.manifest(image), own)]
        rows.append(row)
    return call.json(rows)


async def inspect(call: Call) -> web.StreamResponse:
    """Show all there is to know of an image."""
    images = call.engine.images
    image = images.resolve(call.name)
    tags, digests = images.tags(image.id), images.digests(image.id)
    return call.json(image_views.view(image, tags, digests, call.version))


async def history(call: Call) -> web.StreamResponse:
    """Show how its layers came to be."""
    images = call.engine.images
    return call.json(images.history(images.resolve(call.name)))


async def create(call: Call) -> web.StreamResponse:
    """Make an image of a tar, or pull one."""
    if call.text("fromImage"):
        return await registries.pull(call)
    if (source := call.text("fromSrc")) != "-":
        if not source:
            raise InvalidArgument("one of fromSrc and fromImage is needed")
        raise NotSupported(f"cannot fetch {source}", hint="download it, and import the file")
    repository, label = call.text("repo"), call.text("tag")
    reporter = Reporter(call)
    return await reporter.run(
        call.engine.images.import_tar(
            call.blocks(),
            reference=f"{repository}:{label}" if repository and label else repository,
            changes=call.texts("changes"),
            message=call.text("message"),
            platform=call.text("platform"),
            progress=reporter,
        ),
        lambda image: [{"status": image.id}],
    )


async def load(call: Call) -> web.StreamResponse:
    """Take in what `save` wrote."""
    reporter = Reporter(call, quiet=call.flag("quiet"))
    return await reporter.run(
        call.engine.images.load(call.blocks(), progress=reporter),
        lambda lines: [{"stream": f"{line}\n"} for line in lines],
    )


async def save_one(call: Call) -> web.StreamResponse:
    """Give one image as a tar."""
    return await _save(call, [call.name])


async def save_many(call: Call) -> web.StreamResponse:
    """Give several images as one tar."""
    names = [name for given in call.texts("names") for name in given.split(",") if name]
    if not names:
        raise InvalidArgument("no image was named")
    return await _save(call, names)


async def _save(call: Call, names: list[str]) -> web.StreamResponse:
    blocks = call.engine.images.save(names)
    return await call.give(blocks, "application/x-tar")


async def tag(call: Call) -> web.StreamResponse:
    """Give an image one more name."""
    repository, label = call.text("repo"), call.text("tag")
    if not repository:
        raise InvalidArgument("repository name must have at least one component")
    call.engine.images.tag(call.name, f"{repository}:{label}" if label else repository)
    return call.nothing(201)


async def remove(call: Call) -> web.StreamResponse:
    """Remove a name, or the image with its last one."""
    removed = call.engine.remove_image(
        call.name, force=call.flag("force"), noprune=call.flag("noprune")
    )
    return call.json(_removed(removed))


def _removed(removed: Iterable[Removed]) -> list[dict[str, str]]:
    return [
        {"Untagged": each.untagged} if each.untagged else {"Deleted": each.deleted}
        for each in removed
    ]


async def prune(call: Call) -> web.StreamResponse:
    """Remove images that no machine uses: those without a name, or all."""
    wanted = call.filters(image_views.PRUNE_KNOWN)
    only_dangling = f.flag(wanted, "dangling") is not False
    images, now = call.engine.images, time.time_ns()
    until = [times.parse(each, now=now) // times.SECOND for each in wanted.get("until", [])]

    def keep(image: Image) -> bool:
        return (
            (only_dangling and bool(images.tags(image.id)))
            or any(image_views.created_seconds(image) > moment for moment in until)
            or not f.labels_fit(image.config.labels, wanted)
        )

    removed, freed = call.engine.prune_images(keep)
    return call.json({"ImagesDeleted": _removed(removed) or None, "SpaceReclaimed": freed})
