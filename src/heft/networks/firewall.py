"""The rules of Heft's own nftables table, as text for nft(8). Pure.

One table of family ip. Published ports are elements of maps, so that publishing one more neither
rewrites nor reorders a rule. Traffic to a published port is led to its machine where it comes in
from outside or from machines (prerouting), and where the host itself sends it (output).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.networks.ports import ALL_ADDRESSES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.model.network import PublishedPort


def table(name: str, bridge: str, subnet: str) -> str:
    """Give the whole table, empty of published ports, in place of what is there of it.

    Loopback clients reach published ports with 127.0.0.1 as their source, for which the bridge
    routes loopback addresses (`route_localnet`); the guard keeps machines from using that.
    """
    return f"""\
table ip {name}
delete table ip {name}
table ip {name} {{
    map tcp_any {{ type inet_service : ipv4_addr . inet_service; }}
    map udp_any {{ type inet_service : ipv4_addr . inet_service; }}
    map tcp_one {{ type ipv4_addr . inet_service : ipv4_addr . inet_service; }}
    map udp_one {{ type ipv4_addr . inet_service : ipv4_addr . inet_service; }}
    chain guard {{
        type filter hook prerouting priority raw; policy accept;
        iifname "{bridge}" ip daddr 127.0.0.0/8 drop
        iifname "{bridge}" ip saddr 127.0.0.0/8 drop
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        fib daddr type local jump published
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        fib daddr type local jump published
    }}
    chain published {{
        dnat ip to ip daddr . tcp dport map @tcp_one
        dnat ip to ip daddr . udp dport map @udp_one
        dnat ip to tcp dport map @tcp_any
        dnat ip to udp dport map @udp_any
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {subnet} oifname != "{bridge}" masquerade
        ip saddr {subnet} oifname "{bridge}" ct status dnat masquerade
        ip saddr 127.0.0.0/8 oifname "{bridge}" masquerade
    }}
}}
"""


def publish(name: str, address: str, ports: Iterable[PublishedPort]) -> str:
    """Give the commands that lead these ports to a machine's address."""
    return "".join(
        f"add element ip {name} {_map(port)} {{ {_key(port)} : {address} . {port.machine_port} }}\n"
        for port in ports
    )


def unpublish(name: str, address: str, ports: Iterable[PublishedPort]) -> str:
    """Give the commands that end it; what is not there is added first, as else they would fail."""
    ports = tuple(ports)
    return publish(name, address, ports) + "".join(
        f"delete element ip {name} {_map(port)} {{ {_key(port)} }}\n" for port in ports
    )


def _map(port: PublishedPort) -> str:
    return f"{port.protocol}_{'any' if port.host_address == ALL_ADDRESSES else 'one'}"


def _key(port: PublishedPort) -> str:
    if port.host_address == ALL_ADDRESSES:
        return str(port.host_port)
    return f"{port.host_address} . {port.host_port}"
