"""Tap devices (linux/if_tun.h; kernel documentation, networking/tuntap): what QEMU's cards are on.

A descriptor of one stays what it is when its interface is deleted, and can be given another: so a
card that leads nowhere is plugged in later, without whoever has the descriptor knowing.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

from heft.failures import translated
from heft.host import links

NOWHERE = "hnowhere"
"""How interfaces begin that lead nowhere; each ends with the last descriptor of it."""
_SET_INTERFACE, _GET_INTERFACE = 0x400454CA, 0x800454D2
_SET_OFFLOADS, _GET_HEADER, _SET_HEADER = 0x400454D0, 0x800454D7, 0x400454D8
_TAP, _NO_PI, _VNET_HDR = 0x2, 0x1000, 0x4000
"""QEMU needs the header to leave checksums to others."""
_CHECKSUMS, _SEGMENTS = 0x01, 0x1E
"""TUN_F_CSUM; TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN, TUN_F_UFO."""
_ETHTOOL, _GET_CHECKSUMS, _GET_SEGMENTS = 0x8946, 0x16, 0x1E
"""linux/sockios.h, linux/ethtool.h."""
_REQUEST = "16sH22x"


def plugged(interface: str, *, header: bool = True) -> int:
    """Open an interface, which is made if it is not there; its packets with QEMU's `header`.

    Raises `HostError`.
    """
    with translated(f"open {interface}"):
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        try:
            _attach(tap, interface, header=header)
        except BaseException:
            os.close(tap)
            raise
    return tap


def unplugged() -> int:
    """Open an interface that leads nowhere. Raises `HostError`."""
    return plugged(f"{NOWHERE}%d")


async def plug(tap: int, interface: str) -> None:
    """Let what leads nowhere lead to an interface, with what its owner has set of it.

    Raises `HostError`.
    """
    with translated(f"plug a card into {interface}"):
        before = interface_of(tap)
        header = fcntl.ioctl(tap, _GET_HEADER, bytes(4))
        offloads = _offloads(before)
    await links.batch([f"link del {before}"])
    with translated(f"plug a card into {interface}"):
        _attach(tap, interface)
        fcntl.ioctl(tap, _SET_HEADER, header)
        fcntl.ioctl(tap, _SET_OFFLOADS, offloads)


def interface_of(tap: int) -> str:
    """Give the name of the interface that a descriptor leads to."""
    answer: bytes = fcntl.ioctl(tap, _GET_INTERFACE, bytes(40))
    return answer[:16].rstrip(b"\0").decode()


def _attach(tap: int, interface: str, *, header: bool = True) -> None:
    flags = _TAP | _NO_PI | (_VNET_HDR if header else 0)
    fcntl.ioctl(tap, _SET_INTERFACE, struct.pack(_REQUEST, interface.encode(), flags))


def _offloads(interface: str) -> int:
    """Give what the receiver does by itself: it cannot be asked for, but shows as features."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:

        def has(command: int) -> bool:
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(value))
            fcntl.ioctl(any_socket, _ETHTOOL, request)
            return bool(struct.unpack("II", value.raw[:8])[1])

        if not has(_GET_CHECKSUMS):
            return 0
        return _CHECKSUMS | (_SEGMENTS if has(_GET_SEGMENTS) else 0)
