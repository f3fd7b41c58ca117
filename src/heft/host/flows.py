"""Flows of UDP that the kernel keeps track of, forgotten where they were led by other rules.

Rules say once for each flow where it is led, with its first packet (nft(8), "nat"). Whoever goes on
sending from one port stays in one flow: what he began before a port was published never comes to
the machine, and what he began then goes on to its address, whoever has that meanwhile. Flows of TCP
end with their connections.

Source: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NETLINK_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102
_REQUEST, _ACKNOWLEDGE, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.pack("!BBH", socket.AF_INET, 0, 0)
_ATTRIBUTE = struct.Struct("=HH")
_NESTED = 0x8000
_ORIGINAL, _REPLY, _ID, _ZONE = 1, 2, 12, 18
_ADDRESSES, _PROTOCOL = 1, 2
_NAMING = (_ORIGINAL | _NESTED, _ID, _ZONE)
"""What a flow is named by that is to be forgotten."""
_SOURCE, _DESTINATION = 1, 2
_NUMBER, _DESTINATION_PORT = 1, 3
_SECONDS = 5.0
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class _Tuple:
    """One direction of a flow."""

    source: bytes
    destination: bytes
    protocol: int
    port: int
    """Of the destination."""


def forget(address: str, port: int) -> None:
    """Forget the flows to a UDP port of the host, at an address of it or (`0.0.0.0`) at all.

    Their next packets are led as the rules have it then. What others send out through the host, to
    that port somewhere else, goes on. Raises `OSError`.
    """
    wanted = IPv4Address(address)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as channel:
        channel.settimeout(_SECONDS)
        channel.bind((0, 0))
        channel.send(_message(_GET, _REQUEST | _DUMP, b""))
        found = [flow for flow in _flows(channel) if _is_of(flow, wanted, port)]
        for flow in found:
            named = b"".join(_attribute(kind, flow[kind]) for kind in _NAMING if kind in flow)
            channel.send(_message(_DELETE, _REQUEST | _ACKNOWLEDGE, named))
            for _ in _answers(channel):
                pass


def _is_of(flow: dict[int, bytes], address: IPv4Address, port: int) -> bool:
    sent, back = _tuple(flow.get(_ORIGINAL | _NESTED, b"")), _tuple(flow.get(_REPLY | _NESTED, b""))
    if sent is None or back is None or (sent.protocol, sent.port) != (socket.IPPROTO_UDP, port):
        return False
    is_led, is_hidden = back.source != sent.destination, back.destination != sent.source
    here = not int(address) or sent.destination == address.packed
    return here and (is_led or not is_hidden)


def _tuple(content: bytes) -> _Tuple | None:
    parts = _attributes(content)
    addresses = _attributes(parts.get(_ADDRESSES | _NESTED, b""))
    protocol = _attributes(parts.get(_PROTOCOL | _NESTED, b""))
    if _SOURCE not in addresses or _DESTINATION not in addresses or not protocol.get(_NUMBER):
        return None
    return _Tuple(
        addresses[_SOURCE],
        addresses[_DESTINATION],
        protocol[_NUMBER][0],
        int.from_bytes(protocol.get(_DESTINATION_PORT, b""), "big"),
    )


def _flows(channel: socket.socket) -> Iterator[dict[int, bytes]]:
    for body in _answers(channel):
        yield _attributes(body[len(_FAMILY) :])


def _answers(channel: socket.socket) -> Iterator[bytes]:
    """Give the bodies of all messages of an answer; a flow that is gone already is no error."""
    while True:
        content = channel.recv(_PIECE)
        while content:
            length, kind, *_ = _HEADER.unpack_from(content)
            body = content[_HEADER.size : length]
            content = content[(length + 3) & ~3 :]
            if kind == _DONE:
                return
            if kind == _ERROR:
                (number,) = struct.unpack_from("=i", body)
                if number and -number != errno.ENOENT:
                    raise OSError(-number, os.strerror(-number))
                return
            yield body


def _attributes(content: bytes) -> dict[int, bytes]:
    """Take attributes apart (netlink(7)), by their type and whether they are nested."""
    found = {}
    while len(content) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(content)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = content[_ATTRIBUTE.size : length]
        content = content[(length + 3) & ~3 :]
    return found


def _attribute(kind: int, content: bytes) -> bytes:
    padding = b"\0" * (-len(content) % 4)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(content), kind) + content + padding


def _message(kind: int, flags: int, attributes: bytes) -> bytes:
    body = _FAMILY + attributes
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body
