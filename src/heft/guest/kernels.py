"""Kernels as QEMU starts them without a firmware: ELF files with an entry for PVH guests.

What distributions pack is a bzImage, which holds the ELF file compressed (the kernel's
Documentation/arch/x86/boot.rst; scripts/Makefile.lib says how each format is made). Under software
translation a kernel takes three seconds to unpack itself, and more memory: so it is unpacked here.
Those of arm64 are no ELF files, but an image with a header (Documentation/arch/arm64/booting.rst);
those of s390x are taken as they are packed.
"""

from __future__ import annotations

import asyncio
import lzma
import os
import re
import shutil
import stat
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import InvalidArgument, NotSupported
from heft.failures import translated
from heft.guest.architectures import NATIVE
from heft.host import elf
from heft.host.processes import run
from heft.images.compression import Compression, detect
from heft.images.decompression import Decompressor

if TYPE_CHECKING:
    from pathlib import Path

MOST = 512 << 20
"""Bytes that a kernel may have, packed or not."""
_LZMA_MEMORY = 1 << 28
_ELF = b"\x7fELF"
_LZ4 = b"\x02\x21\x4c\x18"
_LZMA = b"\x5d\x00\x00"
_ARM64, _ARM64_AT = b"ARM\x64", 0x38
"""The magic number of its header, and where it is."""
_RISCV64 = b"RSC\x05"
"""That of riscv64, in the same place (Documentation/arch/riscv/boot-image-header.rst)."""
_S390, _S390_AT = b"S390EP", 0x10008
"""arch/s390/boot/head.S: a parameter area, which boot loaders look for."""
_TRAILER = 4
"""Bytes: behind a payload stands its size when unpacked; gzip has that by itself."""
_PVH_ENTRY = (b"Xen", 18)
"""XEN_ELFNOTE_PHYS32_ENTRY (Xen's xen/include/public/elfnote.h); QEMU enters a kernel there."""
_BANNER = re.compile(rb"Linux version ([0-9][\w.+~-]*) ")
"""`linux_banner` (init/version-timestamp.c)."""
_NAME = re.compile(rb"([0-9][\w.+~-]*) \([^\0]*\) #[0-9]")
"""`kernel_version` (arch/s390/boot/version.c)."""
_HINT = "CONFIG_PVH=y makes the entry; a bzImage or a vmlinux is taken"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel: the file, and what `uname -r` says in it."""

    content: bytes
    release: str


async def read(path: Path, architecture: str = NATIVE, *, is_program: bool = False) -> Kernel:
    """Read a kernel from a bzImage or an ELF file; for arm64, from an Image, packed or not.

    `is_program`: it is started as a process.

    Raises `InvalidArgument` for what is none, or has no entry for PVH guests; `NotSupported` for
    one that is packed in a way that cannot be undone here; `HostError`.
    """
    image = await asyncio.to_thread(_content, path)
    try:
        if (check := _IMAGES.get(architecture)) is not None:
            return await asyncio.to_thread(check, image)
        content = await _unpacked(image)
        return await asyncio.to_thread(_checked, content, is_program=is_program)
    except ValueError as error:
        raise InvalidArgument(f"{path} is not a kernel for guests: {error}", hint=_HINT) from error


def _content(path: Path) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidArgument(f"{path}: {(error.strerror or str(error)).lower()}") from error
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidArgument(f"{path} is not a file")
        if found.st_size > MOST:
            raise InvalidArgument(
                f"{path} is larger than {MOST >> 20} MiB", hint="strip --strip-debug"
            )
        with translated(f"read {path}"), open(file, "rb", closefd=False) as opened:
            return opened.read(MOST)
    finally:
        os.close(file)


async def _unpacked(image: bytes) -> bytes:
    """Give the ELF file. Raises `ValueError`, `NotSupported`, `HostError`."""
    if image.startswith(_ELF):
        return image
    payload = _payload(image)
    if payload.startswith(_LZ4):
        return await _by_lz4(payload[:-_TRAILER])
    return await asyncio.to_thread(_decompressed, payload)


def _payload(image: bytes) -> bytes:
    """Give what a bzImage unpacks: `setup_sects`, `payload_offset` and `payload_length`."""
    if len(image) < 0x250 or image[0x202:0x206] != b"HdrS":
        raise ValueError("it is neither a bzImage nor an ELF file")
    version, sectors = struct.unpack_from("<H", image, 0x206)[0], image[0x1F1] or 4
    if version < 0x208:
        raise ValueError("its boot protocol is older than 2.08")
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = image[start : start + length]
    if not length or len(payload) != length:
        raise ValueError("it is cut")
    return payload


def _decompressed(payload: bytes) -> bytes:
    if payload.startswith(_ELF):
        return payload
    if payload.startswith(_LZMA):
        return _by_lzma(payload)
    kind = detect(payload)
    if kind is Compression.NONE:
        raise NotSupported(
            f"a kernel that is packed in an unknown way (it begins with {payload[:4].hex(' ')})",
            hint="gzip, bzip2, lzma, xz, lz4 and zstd are known; a vmlinux is taken as it is",
        )
    unpacked, decompressor = bytearray(), Decompressor(kind)
    for piece in decompressor.feed(payload if kind is Compression.GZIP else payload[:-_TRAILER]):
        if len(unpacked) + len(piece) > MOST:
            raise ValueError(f"it unpacks to more than {MOST >> 20} MiB")
        unpacked += piece
    decompressor.end()
    return bytes(unpacked)


def _by_lzma(payload: bytes) -> bytes:
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY)
        unpacked = unpacker.decompress(payload, MOST)
    except lzma.LZMAError as error:
        raise ValueError(f"damaged lzma data: {error}") from error
    if not unpacker.eof:
        raise ValueError(f"it is cut, or unpacks to more than {MOST >> 20} MiB")
    return unpacked


async def _by_lz4(payload: bytes) -> bytes:
    """Python has no lz4; the tool's output goes to a file in memory, which is bounded."""
    tool = shutil.which("lz4")
    if tool is None:
        raise NotSupported("a kernel that is packed with lz4", hint="apt install lz4")
    command = ("prlimit", f"--fsize={MOST}", tool, "-q", "-d", "-c")
    done = await run(*command, stdin=payload, check=False)
    if done.status:
        raise ValueError(f"it is damaged, or unpacks to more than {MOST >> 20} MiB")
    return done.stdout


def _arm64(image: bytes) -> Kernel:
    """Check an Image. Raises `ValueError`, `NotSupported`."""
    if detect(image) is not Compression.NONE:
        image = _decompressed(image)
    if image[_ARM64_AT : _ARM64_AT + len(_ARM64)] != _ARM64:
        raise ValueError("it has no header of an arm64 kernel")
    return Kernel(image, _release(image))


def _s390x(image: bytes) -> Kernel:
    """Take what unpacks itself; how it is called is said before. Raises `ValueError`."""
    name = _NAME.search(image)
    if image[_S390_AT : _S390_AT + len(_S390)] != _S390 or name is None:
        raise ValueError("it has no header of an s390x kernel")
    return Kernel(image, name[1].decode())


def _riscv64(image: bytes) -> Kernel:
    if image[_ARM64_AT : _ARM64_AT + len(_RISCV64)] != _RISCV64:
        raise ValueError("it has no header of a riscv64 kernel")
    return Kernel(image, _release(image))


def _ppc64le(image: bytes) -> Kernel:
    if elf.architecture(image[:20]) != "ppc64le":
        raise ValueError("it is no ELF file for ppc64le")
    return Kernel(image, _release(image))


_IMAGES = {"arm64": _arm64, "ppc64le": _ppc64le, "riscv64": _riscv64, "s390x": _s390x}


def _checked(content: bytes, *, is_program: bool) -> Kernel:
    found = elf.read(content)
    if found is None:
        raise ValueError("what is packed in it is no ELF file")
    if found.architecture != NATIVE:
        raise ValueError(f"it is for {found.architecture}, not {NATIVE}")
    if not is_program and not any((name, kind) == _PVH_ENTRY for name, kind in elf.notes(content)):
        raise ValueError("it has no entry for PVH guests (an ELF note of Xen's)")
    return Kernel(content, _release(content))


def _release(content: bytes) -> str:
    banner = _BANNER.search(content)
    if banner is None:
        raise ValueError("it does not say which version of Linux it is")
    return banner[1].decode()
