"""Networks and a machine's place on them."""

from __future__ import annotations

import enum

import msgspec


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """One network: a bridge of the host with an IPv4 subnet."""

    id: str
    name: str
    created: int
    """Nanoseconds since 1970."""
    driver: str = "bridge"
    bridge: str = ""
    """The bridge's interface name."""
    subnet: str = ""
    """CIDR."""
    gateway: str = ""
    internal: bool = False
    labels: dict[str, str] = {}
    options: dict[str, str] = {}


class Protocol(enum.StrEnum):
    """Transport protocols that can be published."""

    TCP = "tcp"
    UDP = "udp"


class Plug(enum.StrEnum):
    """What the machine's end of its link is."""

    NAMESPACE = "namespace"
    """`eth0` in a network namespace of its own (light)."""
    TAP = "tap"
    """A tap device of the host, for a guest's network card (medium and heavy)."""
    VIF = "vif"
    """The host's end of a domain's card, which Xen makes and puts into the bridge (medium:xen)."""


class PublishedPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port of the host that leads to one of the machine's; the host's port is settled."""

    protocol: Protocol
    host_address: str
    """`0.0.0.0` for all."""
    host_port: int
    machine_port: int


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's place on one network, settled when it starts."""

    id: str
    network: str
    """The network's name."""
    network_id: str
    plug: Plug = Plug.NAMESPACE
    namespace: str = ""
    """Path of the network namespace (plug: namespace)."""
    interface: str = ""
    """The host's end of the link: the veth or the tap device."""
    bridge: str = ""
    """What that end is a port of."""
    mac: str = ""
    address: str = ""
    prefix: int = 0
    """Length of the subnet's prefix in bits."""
    gateway: str = ""
    names: tuple[str, ...] = ()
    """What the name server calls it: name, short id, aliases."""
    ports: tuple[PublishedPort, ...] = ()
