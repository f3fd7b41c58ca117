"""Disk images: a file becomes one, and comes out of it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.api.docker.progress import Reporter

if TYPE_CHECKING:
    from aiohttp import web

    from heft.api.call import Call
    from heft.api.routes import Routes


def add_routes(routes: Routes) -> None:
    """Take the paths of disk images."""
    routes.add("POST", "/heft/v1/disks", import_disk)
    routes.add("GET", "/heft/v1/disks/{name}", export)


async def import_disk(call: Call) -> web.StreamResponse:
    """Make an image of the disk that is the body; the answer is as that of Docker's import."""
    reporter = Reporter(call)
    return await reporter.run(
        call.engine.images.import_disk(
            call.blocks(),
            reference=call.text("name"),
            form=call.text("format"),
            platform=call.text("platform"),
            progress=reporter,
        ),
        lambda image: [{"status": image.id}],
    )


async def export(call: Call) -> web.StreamResponse:
    """Give the disk's file."""
    _, blocks = call.engine.images.export_disk(call.name)
    return await call.give(blocks, "application/octet-stream")
