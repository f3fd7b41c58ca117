"""What ip(8) is told to do, as lines of its batch mode. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heft.model.network import Endpoint

INSIDE = "eth0"
"""The machine's end of its link."""


def mac_of(address: str) -> str:
    """Give a locally administered MAC address made of an IPv4 address, as Docker does."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in IPv4Address(address).packed)


def make_bridge(bridge: str, gateway: str, prefix: int) -> tuple[str, ...]:
    """Make a bridge with an address; its MAC is its own, so that it does not change with ports."""
    return (
        f"link add name {bridge} address {mac_of(gateway)} type bridge",
        f"addr add {gateway}/{prefix} broadcast + dev {bridge}",
        f"link set {bridge} up",
    )


def make_namespace(namespace: str) -> tuple[str, ...]:
    """Make a network namespace."""
    return (f"netns add {namespace}",)


def make_link(namespace: str, endpoint: Endpoint, bridge: str, mtu: int) -> tuple[str, ...]:
    """Make a link between a network namespace and the bridge.

    Hairpin: where the host has br_netfilter, a machine that asks for a port published by itself is
    answered through the port of the bridge that it came in by.
    """
    return (
        f"link add name {endpoint.interface} mtu {mtu} up master {bridge} type veth"
        f" peer name {INSIDE} mtu {mtu} address {endpoint.mac} netns {namespace}",
        f"link set {endpoint.interface} type bridge_slave hairpin on",
    )


def address_inside(endpoint: Endpoint) -> tuple[str, ...]:
    """Bring the link up inside the namespace, with its address and a way out."""
    return (
        "link set lo up",
        f"addr add {endpoint.address}/{endpoint.prefix} broadcast + dev {INSIDE}",
        f"link set {INSIDE} up",
        f"route add default via {endpoint.gateway}",
    )


def make_tap(endpoint: Endpoint, bridge: str, mtu: int) -> tuple[str, ...]:
    """Make a tap device on the bridge that outlives who opens it."""
    return (
        f"tuntap add dev {endpoint.interface} mode tap",
        f"link set {endpoint.interface} mtu {mtu} up master {bridge}",
        f"link set {endpoint.interface} type bridge_slave hairpin on",
    )
