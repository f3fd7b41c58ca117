"""The initial file system of guests."""

import gzip

from heft.guest import initramfs
from heft.guest.modules import Module

CPIO = b"070701"
"""With which its archive begins (the kernel's buffer-format.rst)."""


def test_a_large_one_is_packed_and_always_the_same() -> None:
    small = initramfs.build(b"agent")
    assert small.startswith(CPIO)
    large = Module("ext4", (), b"\0" * initramfs.LARGEST)
    packed = initramfs.build(b"agent", (large,))
    assert len(packed) < initramfs.LARGEST
    assert gzip.decompress(packed).startswith(CPIO)
    assert packed == initramfs.build(b"agent", (large,))
