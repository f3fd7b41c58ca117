"""Files of disks, made by hand: what is no disk of QEMU's making can be had of no tool."""

import struct
from collections.abc import Sequence

CLUSTER = 1 << 16


def qcow2(
    size: int,
    *,
    version: int = 3,
    backing: int = 0,
    features: int = 0,
    bits: int = 16,
    extensions: Sequence[tuple[int, bytes]] = (),
    claims: int = 0,
) -> bytes:
    """Give an empty qcow2 (QEMU, docs/interop/qcow2.rst): header, refcounts, and an L1 table.

    `claims`: what the extensions say to be longer by.
    """
    entries = max(1, -(-size // (CLUSTER * (CLUSTER // 8))))
    entries = min(entries, CLUSTER // 8)
    head = struct.pack(
        ">4sIQIIQIIQQIIQ",
        *(b"QFI\xfb", version, backing, 4 if backing else 0, bits, size, 0, entries),
        *(3 * CLUSTER, CLUSTER, 1, 0, 0),
    )
    if version == 3:
        head += struct.pack(">QQQII", features, 0, 0, 4, 104)
    for kind, data in extensions:
        head += struct.pack(">II", kind, len(data) + claims) + data + bytes(-len(data) % 8)
    table = struct.pack(">Q", 2 * CLUSTER)
    counts = struct.pack(">4H", 1, 1, 1, 1)
    parts = (head, table, counts, b"")
    return b"".join(part.ljust(CLUSTER, b"\0") for part in parts)


def vmdk(
    size: int,
    *,
    kind: str = "monolithicSparse",
    more: str = "",
    behind: bytes = b"",
    at: int = 1,
) -> bytes:
    """Give the beginning of a VMDK with its description in it ("Virtual Disk Format 5.0")."""
    sectors = size // 512
    head = struct.pack("<4sIIQQQQIQQQ", b"KDMV", 1, 3, sectors, 128, at, 20, 512, 0, 0, 128)
    text = (
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
        f'createType="{kind}"\n\nRW {sectors} SPARSE "disk.vmdk"\n{more}\n'
        'ddb.adapterType = "ide"\n'
    )
    return (head.ljust(512, b"\0") + text.encode() + behind).ljust(CLUSTER, b"\0")
