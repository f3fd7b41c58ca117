"""Handing out the addresses of a subnet."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address, IPv4Network

from heft.errors import Conflict, HostError, InvalidArgument


class AddressPool:
    """The host addresses of one subnet; the first is the gateway's and never handed out.

    An address that was given back is the last to be handed out again, so that whoever still talks
    to its old owner does not reach a new one.
    """

    def __init__(self, subnet: str) -> None:
        try:
            self._subnet = IPv4Network(subnet)
        except ValueError as error:
            raise InvalidArgument(f"invalid subnet {subnet}: {error}") from error
        if self._subnet.prefixlen > 29:
            raise InvalidArgument(f"subnet {subnet} is too small: at least a /29 is needed")
        self._first = int(self._subnet.network_address) + 2
        self._last = int(self._subnet.broadcast_address) - 1
        self._next = self._first
        self._taken: set[int] = set()

    @property
    def gateway(self) -> str:
        """Give the first host address."""
        return str(self._subnet.network_address + 1)

    @property
    def prefix(self) -> int:
        """Give the length of the subnet's prefix in bits."""
        return self._subnet.prefixlen

    def allocate(self, last: str = "") -> str:
        """Hand out an address that nobody has: that one, where it is free."""
        with contextlib.suppress(InvalidArgument, Conflict):
            if last:
                self.reserve(last)
                return last
        size = self._last - self._first + 1
        if len(self._taken) >= size:
            raise HostError(f"no available IPv4 addresses on the subnet {self._subnet}")
        while self._next in self._taken:
            self._advance()
        number = self._next
        self._taken.add(number)
        self._advance()
        return str(IPv4Address(number))

    def _advance(self) -> None:
        self._next = self._next + 1 if self._next < self._last else self._first

    def reserve(self, address: str) -> None:
        """Take this very address. Raises `InvalidArgument`, or `Conflict` if it is taken."""
        try:
            number = int(IPv4Address(address))
        except ValueError as error:
            raise InvalidArgument(f"invalid IPv4 address: {address}") from error
        if not self._first <= number <= self._last:
            raise InvalidArgument(f"invalid address {address}: it is not one of {self._subnet}")
        if number in self._taken:
            raise Conflict("Address already in use", hint=f"{address} is another machine's")
        self._taken.add(number)

    def release(self, address: str) -> None:
        """Take an address back; no harm if it is not handed out."""
        self._taken.discard(int(IPv4Address(address)))
