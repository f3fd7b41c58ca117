"""The host's ports, held for machines by sockets that nobody connects to.

While a port is published no other program can bind it, and where one already has, publishing
fails. The traffic itself never reaches these sockets: the rules lead it to the machines, and go on
doing so while there is no daemon.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from heft.errors import HeftError, HostError, InvalidArgument
from heft.model.network import Protocol, PublishedPort

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.networks.ports import PortRequest

FIRST_FREE, LAST_FREE = 32768, 60999
"""Where a free port is looked for: Linux's own ephemeral range (ip-sysctl.rst)."""

_KINDS = {Protocol.TCP: socket.SOCK_STREAM, Protocol.UDP: socket.SOCK_DGRAM}


class HostPorts:
    """All published ports of this daemon."""

    def __init__(self) -> None:
        self._held: dict[PublishedPort, socket.socket] = {}
        self._next = FIRST_FREE

    def publish(self, requests: Iterable[PortRequest]) -> tuple[PublishedPort, ...]:
        """Hold a port for each request, or none. Raises `HostError` in Docker's words."""
        done: list[PublishedPort] = []
        try:
            done.extend(self._one(request) for request in requests)
        except HeftError:
            self.release(done)
            raise
        return tuple(done)

    def _one(self, request: PortRequest) -> PublishedPort:
        if not request.host_ports:
            return self._any_free(request)
        error: HostError | None = None
        for number in request.host_ports:
            try:
                return self._hold(request, number)
            except HostError as refused:
                error = refused
        assert error is not None
        raise error

    def _any_free(self, request: PortRequest) -> PublishedPort:
        for _ in range(FIRST_FREE, LAST_FREE + 1):
            number = self._next
            self._next = number + 1 if number < LAST_FREE else FIRST_FREE
            try:
                return self._hold(request, number)
            except HostError:
                continue
        raise HostError(f"all ports of {request.host_address} are allocated")

    def _hold(self, request: PortRequest, number: int) -> PublishedPort:
        port = PublishedPort(
            protocol=request.protocol,
            host_address=request.host_address,
            host_port=number,
            machine_port=request.machine_port,
        )
        self.hold(port)
        return port

    def hold(self, port: PublishedPort) -> None:
        """Hold this very port."""
        where = f"{port.host_address}:{port.host_port}"
        if any(_overlap(port, other) for other in self._held):
            raise HostError(f"Bind for {where} failed: port is already allocated")
        held = socket.socket(socket.AF_INET, _KINDS[port.protocol] | socket.SOCK_CLOEXEC)
        try:
            if port.protocol is Protocol.TCP:
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((port.host_address, port.host_port))
            if port.protocol is Protocol.TCP:
                held.listen(1)
        except OSError as error:
            held.close()
            if error.errno == errno.EADDRNOTAVAIL:
                raise InvalidArgument(
                    f"cannot publish {where}: this host has no address {port.host_address}"
                ) from error
            reason = (error.strerror or "").lower()
            raise HostError(
                f"failed to bind host port {where}/{port.protocol}: {reason}"
            ) from error
        self._held[port] = held

    def release(self, ports: Iterable[PublishedPort]) -> None:
        """Give ports back; no harm where they are not held."""
        for port in ports:
            if (held := self._held.pop(port, None)) is not None:
                held.close()

    def close(self) -> None:
        """Give all back."""
        self.release(tuple(self._held))


def _overlap(one: PublishedPort, other: PublishedPort) -> bool:
    same_port = (one.protocol, one.host_port) == (other.protocol, other.host_port)
    addresses = {one.host_address, other.host_address}
    return same_port and (len(addresses) == 1 or "0.0.0.0" in addresses)  # noqa: S104 - nothing is bound here
