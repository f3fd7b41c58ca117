"""What sets the networks of one daemon apart from those of another on the same host."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Names and addresses on the host."""

    bridge: str = "heft0"
    """The default network's bridge: an interface name, at most 15 bytes."""
    subnet: str = "172.29.0.0/16"
    """The default network's addresses (CIDR); the first one is the bridge's own."""
    table: str = "heft"
    """The nftables table (family ip)."""
    namespace_prefix: str = "heft-"
    """Of the network namespaces' names in /run/netns."""
