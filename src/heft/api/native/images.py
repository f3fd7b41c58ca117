"""Images, as Docker's API has no words for them: their layers, their names, their soundness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from heft.api.decode import Body
from heft.api.docker.progress import Reporter
from heft.api.docker.registries import credentials_of
from heft.errors import InvalidArgument
from heft.images.registry import credentials

if TYPE_CHECKING:
    from aiohttp import web

    from heft.api.call import Call
    from heft.api.routes import Routes


class CheckBody(msgspec.Struct, frozen=True, kw_only=True):
    """Whether to repair what can be repaired."""

    repair: bool = False


_CHECK = Body(CheckBody)


def add_routes(routes: Routes) -> None:
    """Take the paths of images."""
    routes.add("GET", "/heft/v1/images", list_all)
    routes.add("POST", "/heft/v1/images", take)
    routes.add("GET", "/heft/v1/registries/image", fetch)
    routes.add("POST", "/heft/v1/registries/image", send)
    routes.add("POST", "/heft/v1/fsck", check)


async def list_all(call: Call) -> web.StreamResponse:
    """List the images with their layers, from the lowest up."""
    images = call.engine.images
    return call.json(
        [
            {
                "id": image.id,
                "names": list(images.tags(image.id)),
                "layers": [
                    {"chain": chain, "size": size} for chain, size in images.layers(image.diff_ids)
                ],
            }
            for image in images.list()
        ]
    )


async def take(call: Call) -> web.StreamResponse:
    """Take in the one image of an archive under a name; the answer is as that of Docker's load."""
    name = _name(call)
    reporter = Reporter(call)
    return await reporter.run(
        call.engine.images.take(call.blocks(), name, progress=reporter),
        lambda lines: [{"stream": f"{line}\n"} for line in lines],
    )


def _name(call: Call) -> str:
    if not (name := call.text("name")):
        raise InvalidArgument("the name of the image is needed")
    return name


async def fetch(call: Call) -> web.StreamResponse:
    """Give an image of a registry as an archive; nothing of it stays."""
    blocks = await call.engine.images.remote.fetch(_name(call), credentials_of(call))
    return await call.give(blocks, "application/x-tar")


async def send(call: Call) -> web.StreamResponse:
    """Bring the image of an archive to a registry; the answer is as that of Docker's push."""
    name, reporter = _name(call), Reporter(call)
    sending = call.engine.images.remote.send(call.blocks(), name, credentials_of(call), reporter)
    return await reporter.run(sending, lambda digest: [{"status": f"digest: {digest}"}])


async def check(call: Call) -> web.StreamResponse:
    """Check the store and machines' disks.

    The answer is lines of progress, then one for each thing that is damaged, and one of the
    machines that run, whose disks were skipped.
    """
    body = await call.body(_CHECK)
    known = credentials.read_all(call.request.headers.get("X-Registry-Config", ""))
    reporter = Reporter(call)
    return await reporter.run(
        call.engine.check(repair=body.repair, known=known, progress=reporter),
        lambda checked: [
            *({"finding": msgspec.to_builtins(each)} for each in checked.found),
            *([{"skipped": checked.skipped}] if checked.skipped else ()),
        ],
    )
