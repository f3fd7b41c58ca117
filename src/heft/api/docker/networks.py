"""Networks, as far as they are there to look at; users' own are still to come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heft.api import filters as f
from heft.api import times

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp import web

    from heft.api.call import Call
    from heft.api.filters import Filters
    from heft.api.routes import Routes
    from heft.model.machine import Machine
    from heft.model.network import Endpoint, Network

KNOWN = frozenset("dangling driver id label label! name scope type".split())
PRUNE_KNOWN = frozenset("label label! until".split())
PREDEFINED = ("bridge", "host", "none")


def add_routes(routes: Routes) -> None:
    """Take the paths under `/networks`."""
    routes.add("GET", "/networks", list_all)
    routes.add("GET", "/networks/{name}", inspect)
    routes.add("POST", "/networks/prune", prune)


def view(network: Network) -> dict[str, Any]:
    """Give a network as a list shows it."""
    configs = [{"Subnet": network.subnet, "Gateway": network.gateway}] if network.subnet else None
    options = dict(network.options)
    if network.bridge:
        options["com.docker.network.bridge.name"] = network.bridge
    if network.name == "bridge":
        options["com.docker.network.bridge.default_bridge"] = "true"
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": times.text(network.created),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": configs},
        "Internal": network.internal,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": options,
        "Labels": network.labels,
    }


def members(users: Sequence[tuple[Machine, Endpoint]]) -> Mapping[str, dict[str, str]]:
    """Give the machines on a network by their ids."""
    return {
        machine.id: {
            "Name": machine.name,
            "EndpointID": endpoint.id,
            "MacAddress": endpoint.mac,
            "IPv4Address": f"{endpoint.address}/{endpoint.prefix}" if endpoint.address else "",
            "IPv6Address": "",
        }
        for machine, endpoint in users
    }


async def list_all(call: Call) -> web.StreamResponse:
    """List networks."""
    wanted = call.filters(KNOWN)
    used = {m.endpoint.network_id for m in call.engine.machines.list() if m.endpoint}
    networks = [each for each in call.engine.networks.list() if fits(each, wanted, used)]
    return call.json([view(each) for each in networks])


def fits(network: Network, wanted: Filters, used: set[str]) -> bool:
    """Say whether a list shows the network."""
    kind = "builtin" if network.name in PREDEFINED else "custom"
    f.one_of(wanted, "type", ("builtin", "custom"))
    dangling = f.flag(wanted, "dangling")
    return (
        f.matches(wanted, "name", network.name)
        and f.matches(wanted, "id", network.id)
        and f.labels_fit(network.labels, wanted)
        and network.driver in wanted.get("driver", [network.driver])
        and "local" in wanted.get("scope", ["local"])
        and kind in wanted.get("type", [kind])
        and (dangling is None or dangling == (kind == "custom" and network.id not in used))
    )


async def inspect(call: Call) -> web.StreamResponse:
    """Show a network and who is on it."""
    network = call.engine.networks.get(call.name)
    users = [
        (machine, machine.endpoint)
        for machine in call.engine.machines.list()
        if machine.endpoint is not None and machine.endpoint.network_id == network.id
    ]
    return call.json({**view(network), "Containers": members(users)})


async def prune(call: Call) -> web.StreamResponse:
    """Remove networks that nothing is on: there are none but the predefined."""
    call.filters(PRUNE_KNOWN)
    return call.json({"NetworksDeleted": None})
