"""Paths of the Docker Engine API that Heft knows and does not serve: it says so, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.errors import NotSupported, Unavailable

if TYPE_CHECKING:
    from aiohttp import web

    from heft.api.call import Call
    from heft.api.routes import Handler, Routes

NO_BUILD = "this Heft does not build images yet"
NO_NETWORKS = "networks of users' own are not there yet: use bridge, host, none or container:NAME"
NO_PLUGINS = "Heft has no plugins"
NO_SWARM = "Heft is not part of a swarm, and cannot be"
NOT_IN_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to'
    " connect this node to swarm and try again."
)

NOT_SUPPORTED = {
    "containers cannot be checkpointed yet": """
        GET /containers/{name}/checkpoints
        POST /containers/{name}/checkpoints
        DELETE /containers/{name}/checkpoints
    """,
    "Heft keeps no attestations of images": """
        GET /images/{name}/attestations
    """,
    NO_BUILD: """
        POST /build
        POST /build/cancel
        POST /session
        POST /grpc
    """,
    NO_NETWORKS: """
        POST /networks/create
        POST /networks/{name}/connect
        POST /networks/{name}/disconnect
        DELETE /networks/{name}
    """,
    NO_PLUGINS: """
        GET /plugins/privileges
        POST /plugins/pull
        POST /plugins/create
        DELETE /plugins/{name}
        POST /plugins/{name}/enable
        POST /plugins/{name}/disable
        POST /plugins/{name}/upgrade
        POST /plugins/{name}/push
        POST /plugins/{name}/set
    """,
    NO_SWARM: """
        POST /swarm/init
        POST /swarm/join
        PUT /volumes/{name}
    """,
}

SWARM = """
    GET /swarm
    POST /swarm/leave
    POST /swarm/update
    GET /swarm/unlockkey
    POST /swarm/unlock
    GET /nodes
    GET /nodes/{name}
    POST /nodes/{name}/update
    DELETE /nodes/{name}
    GET /services
    GET /services/{name}
    GET /services/{name}/logs
    POST /services/create
    POST /services/{name}/update
    DELETE /services/{name}
    GET /tasks
    GET /tasks/{name}
    GET /tasks/{name}/logs
    GET /secrets
    GET /secrets/{name}
    POST /secrets/create
    POST /secrets/{name}/update
    DELETE /secrets/{name}
    GET /configs
    GET /configs/{name}
    POST /configs/create
    POST /configs/{name}/update
    DELETE /configs/{name}
"""


def add_routes(routes: Routes) -> None:
    """Take the paths that are refused."""
    for why, paths in NOT_SUPPORTED.items():
        _add(routes, paths, not_supported(why))
    _add(routes, SWARM, not_in_swarm)


def _add(routes: Routes, paths: str, handler: Handler) -> None:
    for line in paths.split("\n"):
        method, _, path = line.strip().partition(" ")
        if path:
            routes.add(method, path, handler)


def not_supported(why: str) -> Handler:
    """Give a handler that answers 501 with the reason."""

    async def refuse(_: Call) -> web.StreamResponse:
        raise NotSupported(why)

    return refuse


async def not_in_swarm(_: Call) -> web.StreamResponse:
    """Answer as a dockerd does that is in no swarm."""
    raise Unavailable(NOT_IN_SWARM)
