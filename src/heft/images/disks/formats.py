"""Disk images: which format a file is in, told by its first bytes. Pure.

raw; qcow2 (QEMU, docs/interop/qcow2.rst); VMDK as one file that holds its description ("Virtual
Disk Format 5.0", monolithicSparse and streamOptimized). A file that refers to others is refused:
whoever opened it would read what it names on his host. So the bytes are read here, by few rules,
and not by a program that knows all formats and follows what they say.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

HEAD = 1 << 20
"""Bytes of a file that are looked at."""
SECTOR = 512
LARGEST = 1 << 53
"""Bytes that a disk can have."""

RAW, QCOW2, VMDK = "raw", "qcow2", "vmdk"
FORMATS = (RAW, QCOW2, VMDK)

_QCOW = b"QFI\xfb"
_SPARSE_EXTENT = b"KDMV"
_DESCRIPTION = b"# Disk DescriptorFile"
_OTHERS = {
    b"vhdxfile": "VHDX",
    b"conectix": "VHD",
    b"QED\0": "QED",
    b"COWD": "VMDK of ESX (COWD)",
    b"WithoutFreeSpace": "Parallels'",
    b"WithouFreSpacExt": "Parallels'",
    b"<<< ": "VirtualBox's (VDI)",
}
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_DIRTY, _CORRUPT, _EXTERNAL, _COMPRESSION, _EXTENDED = (1 << bit for bit in range(5))
_END, _DATA_FILE = 0, 0x44415441
"""Types of header extensions of qcow2."""
_DESCRIBED_AT = SECTOR
"""Where QEMU looks for a VMDK's parent, whatever its header says."""
_DESCRIBED_BYTES = 20 * SECTOR
_EXTENT = re.compile(rb"^\s*(?:RW|RDONLY|NOACCESS)\s+\d+\s+(\S+)", re.MULTILINE)
_TYPE = re.compile(rb'^\s*createType\s*=\s*"([^"\n]*)"', re.MULTILINE)
_ONE_FILE = (b"monolithicSparse", b"streamOptimized")


class Refused(ValueError):
    """The file is no disk, or one that is not taken."""


@dataclass(frozen=True, slots=True)
class Disk:
    """What a file is: one of `FORMATS`, and the bytes of the disk that a machine sees."""

    form: str
    virtual_size: int


def examine(head: bytes, size: int, form: str = "") -> Disk:
    """Tell what a file of `size` bytes is by its first `HEAD` bytes. Raises `Refused`.

    With `form` it must be of that format. That is how a raw disk is taken that begins as another
    format does, which whoever wrote to the disk can make it do.
    """
    if form and form not in FORMATS:
        raise Refused(f"unknown format {form!r}: it is one of {', '.join(FORMATS)}")
    found = form if form == RAW else _format(head)
    if form and found != form:
        raise Refused(f"it is {found}, not {form}")
    if found == QCOW2:
        virtual_size = _qcow2(head)
    elif found == VMDK:
        virtual_size = _vmdk(head)
    else:
        virtual_size = _raw(head, size, asked=bool(form))
    if not 0 < virtual_size <= LARGEST:
        raise Refused(f"a disk of {virtual_size} bytes")
    return Disk(found, virtual_size)


def _format(head: bytes) -> str:
    if head.startswith(_QCOW):
        return QCOW2
    if head.startswith((_SPARSE_EXTENT, _DESCRIPTION)):
        return VMDK
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise Refused(f"it is a disk in the format {name}: convert it (qemu-img convert)")
    return RAW


def _raw(head: bytes, size: int, *, asked: bool) -> int:
    if not asked:
        for magic, name in _PACKED.items():
            if head.startswith(magic):
                raise Refused(f"it is compressed ({name}): decompress it first")
        if head[257:262] == b"ustar":
            raise Refused("it is a tar: an OVA, whose disk is in it, or what `heft import` takes")
    if size == 0 or size % SECTOR:
        raise Refused(f"{size} bytes are no disk: those of a raw one are a multiple of {SECTOR}")
    return size


# qcow2


def _qcow2(head: bytes) -> int:
    version, backing, backing_size, bits, size = _unpack(">IQIIQ", head, 4)
    if version not in (2, 3):
        raise Refused(f"it is qcow of version {version}: convert it (qemu-img convert)")
    if backing or backing_size:
        raise Refused(
            "it has a backing file, without which it is nothing: make it one file"
            " (qemu-img convert, or qemu-img rebase -b '')"
        )
    if not 9 <= bits <= 21:
        raise Refused(f"invalid qcow2: clusters of 2^{bits} bytes")
    length = 72
    if version == 3:
        (features,) = _unpack(">Q", head, 72)
        (length,) = _unpack(">I", head, 100)
        _check_features(features)
        if not 104 <= length <= 1 << bits:
            raise Refused(f"invalid qcow2: a header of {length} bytes")
    _check_extensions(head, length, 1 << bits)
    return int(size)


def _check_features(features: int) -> None:
    if features & _EXTERNAL:
        raise Refused("its data are in another file: make it one (qemu-img convert)")
    if features & _CORRUPT:
        raise Refused("it is marked as corrupt: qemu-img check -r all")
    if unknown := features & ~(_DIRTY | _COMPRESSION | _EXTENDED):
        raise Refused(f"it needs what is not known of qcow2 (features {unknown:#x})")


def _check_extensions(head: bytes, at: int, end: int) -> None:
    """Look through the header's extensions, which end with the first cluster."""
    while at + 8 <= end:
        kind, length = _unpack(">II", head, at)
        if kind == _END:
            return
        if kind == _DATA_FILE:
            raise Refused("it names a file that its data are in: make it one (qemu-img convert)")
        at += 8 + length + -length % 8
    if at > end:
        raise Refused("invalid qcow2: a header extension that is too long")


# VMDK


def _vmdk(head: bytes) -> int:
    if head.startswith(_DESCRIPTION):
        raise Refused("it only describes a disk of other files: make it one (qemu-img convert)")
    version, _, capacity, _, offset, length = _unpack("<IIQQQQ", head, 4)
    if version not in (1, 2, 3):
        raise Refused(f"it is VMDK of version {version}: convert it (qemu-img convert)")
    if offset * SECTOR != _DESCRIBED_AT or not 0 < length * SECTOR <= HEAD - _DESCRIBED_AT:
        raise Refused("it does not describe itself: make it one file (qemu-img convert)")
    span = max(length * SECTOR, _DESCRIBED_BYTES)
    text = head[_DESCRIBED_AT : _DESCRIBED_AT + span]
    if b"parentFileNameHint" in text:
        raise Refused("it has a parent, without which it is nothing: make it one file")
    text = text.partition(b"\0")[0]
    kind = _TYPE.search(text)
    extents = _EXTENT.findall(text)
    if kind is None or kind[1] not in _ONE_FILE or extents != [b"SPARSE"]:
        raise Refused("it describes a disk of other files: make it one (qemu-img convert)")
    return int(capacity) * SECTOR


def _unpack(form: str, head: bytes, at: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(form, head, at)
    except struct.error:
        raise Refused("it ends within its header") from None
