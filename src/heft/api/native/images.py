"""Images, as Docker's API has no words for them: their layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

    from heft.api.call import Call
    from heft.api.routes import Routes


def add_routes(routes: Routes) -> None:
    """Take the paths of images."""
    routes.add("GET", "/heft/v1/images", list_all)


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
