"""Images, as Docker's API has no words for them: their layers, their names, their soundness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from heft.api.decode import Body
from heft.api.docker.progress import Reporter
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
    name = call.text("name")
    if not name:
        raise InvalidArgument("the name of the image is needed")
    reporter = Reporter(call)
    return await reporter.run(
        call.engine.images.take(call.blocks(), name, progress=reporter),
        lambda lines: [{"stream": f"{line}\n"} for line in lines],
    )


async def check(call: Call) -> web.StreamResponse:
    """Check the store; the answer is lines of progress, then one for each thing that is damaged."""
    body = await call.body(_CHECK)
    known = credentials.read_all(call.request.headers.get("X-Registry-Config", ""))
    reporter = Reporter(call)
    return await reporter.run(
        call.engine.check_images(repair=body.repair, known=known, progress=reporter),
        lambda found: [{"finding": msgspec.to_builtins(each)} for each in found],
    )
