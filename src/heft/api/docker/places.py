"""A machine's mounts and its places on networks, as the API shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heft.model.machine import MountKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.model.machine import Machine, MountPoint
    from heft.model.network import PublishedPort

DEFAULT_NETWORK = "bridge"


def mount_points(machine: Machine) -> list[dict[str, Any]]:
    """Give the mounts that are binds or volumes (Docker does not count tmpfs by `--tmpfs`)."""
    return [_mount_point(mount) for mount in machine.mounts]


def _mount_point(mount: MountPoint) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Type": str(mount.kind),
        "Source": mount.source,
        "Destination": mount.target,
        "Mode": mount.mode,
        "RW": not mount.read_only,
        "Propagation": mount.propagation if mount.kind is MountKind.BIND else "",
    }
    if mount.kind is MountKind.VOLUME:
        shown = {**shown, "Name": mount.volume, "Driver": "local"}
    return shown


def network_name(machine: Machine) -> str:
    """Give the network it is on, or is to be on; empty where it shares another machine's."""
    mode = machine.host_config.network_mode
    if mode in ("", "default"):
        return DEFAULT_NETWORK
    return "" if mode.startswith("container:") else mode


def networks(machine: Machine, ids: dict[str, str]) -> dict[str, Any]:
    """Give its places on networks; `ids` has the networks' ids by name."""
    name = network_name(machine)
    if not name:
        return {}
    endpoint = machine.endpoint
    asked = machine.endpoints_asked.get(name) or machine.endpoints_asked.get("default")
    has_place = name not in ("host", "none")
    return {
        name: {
            "IPAMConfig": asked.ipam_config if asked else None,
            "Links": (asked.links if asked else None) or None,
            "Aliases": (asked.aliases if asked else None) or None,
            "MacAddress": endpoint.mac if endpoint else "",
            "DriverOpts": (asked.driver_opts if asked else None) or None,
            "NetworkID": endpoint.network_id if endpoint else ids.get(name, ""),
            "EndpointID": endpoint.id if endpoint else "",
            "Gateway": endpoint.gateway if endpoint else "",
            "IPAddress": endpoint.address if endpoint else "",
            "IPPrefixLen": endpoint.prefix if endpoint else 0,
            "IPv6Gateway": "",
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
            "DNSNames": (list(endpoint.names) if endpoint else None) if has_place else None,
        }
    }


def network_settings(machine: Machine, ids: dict[str, str]) -> dict[str, Any]:
    """Give all of `NetworkSettings`, with the first network's addresses at the top as of old."""
    endpoint = machine.endpoint
    on_default = endpoint is not None and network_name(machine) == DEFAULT_NETWORK
    legacy = endpoint if on_default else None
    return {
        "Bridge": "",
        "SandboxID": machine.id if machine.is_up else "",
        "SandboxKey": endpoint.namespace if endpoint else "",
        "Ports": _ports(machine),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": legacy.id if legacy else "",
        "Gateway": legacy.gateway if legacy else "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": legacy.address if legacy else "",
        "IPPrefixLen": legacy.prefix if legacy else 0,
        "IPv6Gateway": "",
        "MacAddress": legacy.mac if legacy else "",
        "Networks": networks(machine, ids),
    }


def _ports(machine: Machine) -> dict[str, list[dict[str, str]] | None]:
    """Give every exposed port with the host's ports that lead to it (null: none)."""
    if not machine.is_up or machine.endpoint is None:
        return {}
    shown: dict[str, list[dict[str, str]] | None] = dict.fromkeys(machine.config.exposed_ports)
    for key, bindings in _by_port(machine.endpoint.ports):
        shown[key] = [*(shown.get(key) or ()), bindings]
    return shown


def _by_port(published: Iterable[PublishedPort]) -> Iterable[tuple[str, dict[str, str]]]:
    for port in published:
        yield (
            f"{port.machine_port}/{port.protocol}",
            {"HostIp": port.host_address, "HostPort": str(port.host_port)},
        )
