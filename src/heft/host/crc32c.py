"""CRC-32C, the checksum of superblocks (ext4, EROFS), as the kernel's `crc32c(~0, …)` gives it.

Begun with all ones, and not inverted at the end; the polynomial is Castagnoli's, reflected
(RFC 3720, appendix B.4). For a few kilobytes.
"""

from __future__ import annotations

import functools

_POLYNOMIAL = 0x82F63B78


def crc32c(data: bytes) -> int:
    """Give the checksum of some bytes."""
    table = _table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc


@functools.cache
def _table() -> tuple[int, ...]:
    return tuple(functools.reduce(_shift, range(8), value) for value in range(256))


def _shift(value: int, _: int) -> int:
    return value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
