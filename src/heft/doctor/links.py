"""Making network links through rtnetlink(7), without any tool.

Only what a probe needs: one message out, one acknowledgement back, in the network namespace that
the process is in. Layouts are those of linux/netlink.h, linux/rtnetlink.h and linux/if_link.h.
"""

from __future__ import annotations

import os
import socket
import struct

_RTM_NEWLINK, _NLMSG_ERROR = 16, 2
_REQUEST_ACK_CREATE_EXCLUSIVE = 0x1 | 0x4 | 0x400 | 0x200
_IFLA_IFNAME, _IFLA_LINK, _IFLA_LINKINFO = 3, 5, 18
_INFO_KIND, _INFO_DATA = 1, 2
_HEADER = struct.Struct("=IHHII")
_ERROR = struct.Struct("=i")


def attribute(kind: int, value: bytes) -> bytes:
    """Give a `struct rtattr` with its value, padded to four bytes."""
    header = struct.pack("=HH", 4 + len(value), kind)
    return header + value + b"\0" * (-len(value) % 4)


def new_link(kind: str, name: str, *, on: str = "", data: bytes = b"") -> bytes:
    """Give the message that makes a link of this kind; `on` is the link it stands on."""
    info = attribute(_INFO_KIND, kind.encode()) + (attribute(_INFO_DATA, data) if data else b"")
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)
    body += attribute(_IFLA_IFNAME, name.encode() + b"\0")
    if on:
        body += attribute(_IFLA_LINK, struct.pack("=I", socket.if_nametoindex(on)))
    body += attribute(_IFLA_LINKINFO, info)
    length = _HEADER.size + len(body)
    return _HEADER.pack(length, _RTM_NEWLINK, _REQUEST_ACK_CREATE_EXCLUSIVE, 1, 0) + body


def make(message: bytes) -> None:
    """Send it; raise the `OSError` that the kernel answers with."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as channel:
        channel.bind((0, 0))
        channel.send(message)
        answer = channel.recv(65536)
    kind = _HEADER.unpack_from(answer)[1]
    (number,) = _ERROR.unpack_from(answer, _HEADER.size)
    if kind != _NLMSG_ERROR or number:
        raise OSError(-number, os.strerror(-number))
