"""Which ports are to be published: Docker's way of saying it, read and checked. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from heft.errors import InvalidArgument, NotSupported
from heft.model.network import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from heft.model.config import PortBinding

ANY = range(0)
"""Any free port of the host."""
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - Docker publishes so
LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class PortRequest:
    """A port of a machine to be reached through one of the host's."""

    protocol: Protocol
    machine_port: int
    host_address: str = ALL_ADDRESSES
    host_ports: range = ANY
    """One of these, or any if it is empty."""


def requested_ports(
    exposed: Iterable[str],
    bindings: Mapping[str, Sequence[PortBinding] | None],
    publish_all: bool,
) -> tuple[PortRequest, ...]:
    """Give the ports to publish: all bindings, and with `publish_all` every exposed one.

    Raises `InvalidArgument` in Docker's words for what is no port.
    """
    requests: list[PortRequest] = []
    for text, wanted in bindings.items():
        ports = list(_machine_ports(text))
        for binding in wanted or ():
            requests += _bound(ports, binding)
    published = {(request.protocol, request.machine_port) for request in requests}
    for text in exposed:
        for protocol, port in _machine_ports(text):
            if publish_all and (protocol, port) not in published:
                requests.append(PortRequest(protocol, port))
    return tuple(requests)


def left_out(bindings: Mapping[str, Sequence[PortBinding] | None]) -> tuple[str, ...]:
    """Give a warning for each port that was to be published at an address of IPv6."""
    return tuple(
        f"port {port} is not published at [{binding.host_ip.strip('[]')}]: the networks here have"
        " no IPv6 addresses"
        for port, wanted in bindings.items()
        for binding in wanted or ()
        if _is_ipv6(binding.host_ip)
    )


def _machine_ports(text: str) -> Iterator[tuple[Protocol, int]]:
    """Read `80`, `80/udp` or `8000-8010/tcp`."""
    number, _, name = text.partition("/")
    name = name.lower() or "tcp"
    if name == "sctp":
        raise NotSupported(f"port {text}: SCTP ports cannot be published")
    if name not in ("tcp", "udp"):
        raise InvalidArgument(f'invalid port specification: "{text}": unknown protocol {name}')
    ports = port_range(number, text)
    if 0 in ports:
        raise InvalidArgument(f'invalid port specification: "{text}"')
    return ((Protocol(name), port) for port in ports)


def port_range(number: str, text: str) -> range:
    """Read `80` or `80-90`; `text` is what the user wrote around it."""
    first, dash, last = number.partition("-")
    last = last if dash else first
    valid = all(part.isascii() and part.isdecimal() and len(part) <= 5 for part in (first, last))
    if not valid or int(first) > int(last) or int(last) > LAST_PORT:
        raise InvalidArgument(f'invalid port specification: "{text}"')
    return range(int(first), int(last) + 1)


def _bound(ports: list[tuple[Protocol, int]], binding: PortBinding) -> Iterator[PortRequest]:
    address = _host_address(binding.host_ip)
    if address is None:
        return
    wanted = ANY
    if binding.host_port not in ("", "0"):
        wanted = port_range(binding.host_port, binding.host_port)
    one_to_one = len(ports) > 1 and len(wanted) == len(ports)
    if len(ports) > 1 and wanted and not one_to_one:
        raise InvalidArgument(
            f"invalid ranges specified for container and host Ports: {len(ports)} and {len(wanted)}"
        )
    for index, (protocol, port) in enumerate(ports):
        host_ports = wanted[index : index + 1] if one_to_one else wanted
        yield PortRequest(protocol, port, address, host_ports)


def _host_address(text: str) -> str | None:
    """Give the address to publish on; None for one of IPv6, where nothing is published."""
    if text in ("", "*"):
        return ALL_ADDRESSES
    if _is_ipv6(text):
        return None
    try:
        return str(IPv4Address(text))
    except ValueError as error:
        raise InvalidArgument(f"invalid IP address: {text}") from error


def _is_ipv6(text: str) -> bool:
    return text.strip("[]") in ("::", "::1")
