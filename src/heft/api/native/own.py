"""Heft's own paths, for what Docker's API has no words: templates of images, and weights.

They are described in `openapi.json` beside this module, which is served too.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from heft.api.call import JSON_HEADERS
from heft.api.decode import Body
from heft.api.docker.progress import Reporter
from heft.engine.warming import Coming
from heft.errors import InvalidArgument
from heft.images.templates import registry
from heft.model.config import HostConfig

if TYPE_CHECKING:
    from heft.api.call import Call
    from heft.api.routes import Routes


class BootstrapBody(msgspec.Struct, frozen=True, kw_only=True):
    """The image to make; options are the template's own, each one text or several."""

    template: str = ""
    reference: str = ""
    options: dict[str, Any] = msgspec.field(default_factory=dict)


class BaseBody(msgspec.Struct, frozen=True, kw_only=True):
    """An image, and what matters of the machine that is to be made of it."""

    image: str = ""
    weight: str = ""
    guest: bool = False
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    host: HostConfig = msgspec.field(default_factory=HostConfig, name="hostConfig")


_BOOTSTRAP = Body(BootstrapBody)
_BASE = Body(BaseBody)


def add_routes(routes: Routes) -> None:
    """Take the paths under `/heft/v1`."""
    routes.add("GET", "/heft/v1/openapi.json", description)
    routes.add("GET", "/heft/v1/weights", weights)
    routes.add("GET", "/heft/v1/templates", templates)
    routes.add("POST", "/heft/v1/bootstrap", bootstrap)
    routes.add("POST", "/heft/v1/bases", make_base)


@cache
def document() -> bytes:
    """Give the description of these paths: OpenAPI 3.1, as JSON."""
    return Path(__file__).with_name("openapi.json").read_bytes()


async def description(_: Call) -> web.StreamResponse:
    """Describe these paths."""
    return web.Response(body=document(), headers=JSON_HEADERS)


async def weights(call: Call) -> web.StreamResponse:
    """Say which weights are there, and of those that are not, why."""
    found = await call.engine.probe_weights()
    return call.json({"default": call.engine.settings.default_weight, "weights": found})


async def templates(call: Call) -> web.StreamResponse:
    """List what images can be bootstrapped from."""
    return call.json(registry.listing())


async def bootstrap(call: Call) -> web.StreamResponse:
    """Make an image from a template; the answer is lines of progress as of an import."""
    body = await call.body(_BOOTSTRAP)
    if not body.template:
        raise InvalidArgument("a template is needed")
    for name, value in body.options.items():
        if not isinstance(value, str) and not _is_list_of_text(value):
            raise InvalidArgument(f"option {name}: text, or a list of it, is needed")
    reporter = Reporter(call)
    return await reporter.run(
        call.engine.images.bootstrap(
            body.template,
            options=body.options,
            reference=body.reference,
            progress=reporter,
        ),
        lambda image: [{"status": image.id}],
    )


async def make_base(call: Call) -> web.StreamResponse:
    """Make what machines of an image share at a weight; the answer is lines of progress.

    To make and start a machine makes it too, without telling how far it is.
    """
    body = await call.body(_BASE)
    if not body.image:
        raise InvalidArgument("an image is needed")
    reporter, ahead = Reporter(call), call.engine.ahead
    coming = Coming(body.image, body.weight, body.labels, body.host)

    async def making() -> bool:
        made = await ahead.base(coming, reporter)
        if body.guest:
            await ahead.guest(coming, reporter)
        return made

    return await reporter.run(making(), lambda made: [{"status": "made" if made else "not needed"}])


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
