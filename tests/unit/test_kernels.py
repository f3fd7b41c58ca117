"""Kernels of one's own: what is taken for one, and what is refused. Nothing is booted."""

import bz2
import gzip
import lzma
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from heft.errors import InvalidArgument, NotSupported
from heft.guest import kernels

BANNER = b"Linux version 6.1.0-x-amd64 (who@where) #1"
PVH = struct.pack("<III4sQ", 4, 8, 18, b"Xen\0", 0x1000000)


def kernel(note: bytes = PVH, banner: bytes = BANNER, machine: int = 62) -> bytes:
    """Give an ELF file with one segment of notes, and the banner."""
    body = note + banner + bytes(1000)
    header = struct.pack("<4sBBB9xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 2, machine, 1, 0, 64, 0, 0,
                         64, 56, 1, 0, 0, 0)  # fmt: skip
    segment = struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(note), len(note), 4)
    return header + segment + body


def bz_image(payload: bytes, length: int | None = None) -> bytes:
    """Give what the kernel's build makes of a packed kernel, with one sector of setup."""
    image = bytearray(1024)
    image[0x1F1] = 1
    image[0x202:0x208] = b"HdrS" + struct.pack("<H", 0x20F)
    struct.pack_into("<II", image, 0x248, 16, len(payload) if length is None else length)
    return bytes(image) + bytes(16) + payload + bytes(100)


def sized(packed: bytes, size: int) -> bytes:
    return packed + struct.pack("<I", size)


def lz4(content: bytes) -> bytes:
    done = subprocess.run(["lz4", "-l", "-c"], input=content, capture_output=True, check=True)
    return done.stdout


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": lambda content: sized(bz2.compress(content), len(content)),
    "xz": lambda content: sized(lzma.compress(content, check=lzma.CHECK_CRC32), len(content)),
    "lzma": lambda content: sized(lzma.compress(content, lzma.FORMAT_ALONE), len(content)),
    "zstd": lambda content: sized(zstandard.compress(content), len(content)),
    "lz4": lambda content: sized(lz4(content), len(content)),
    "nothing": lambda content: content,
}


async def read(tmp_path: Path, content: bytes) -> kernels.Kernel:
    path = tmp_path / "kernel"
    path.write_bytes(content)
    return await kernels.read(path)


@pytest.mark.parametrize("packer", [bytes, gzip.compress], ids=["plain", "gzip"])
async def test_an_image_of_arm64(tmp_path, packer):
    image = bytes(0x38) + b"ARM\x64" + b"Linux version 6.1.0-56-arm64 (debian-kernel"
    (tmp_path / "image").write_bytes(packer(image))
    found = await kernels.read(tmp_path / "image", "arm64")
    assert (found.content, found.release) == (image, "6.1.0-56-arm64")
    (tmp_path / "image").write_bytes(packer(image.replace(b"ARM", b"---")))
    with pytest.raises(InvalidArgument, match="no header of an arm64 kernel"):
        await kernels.read(tmp_path / "image", "arm64")


@pytest.mark.parametrize("packer", PACKERS.values(), ids=PACKERS)
async def test_however_it_is_packed(tmp_path, packer):
    found = await read(tmp_path, bz_image(packer(kernel())))
    assert found == kernels.Kernel(kernel(), "6.1.0-x-amd64")
    assert await read(tmp_path, kernel()) == found, "an ELF file is taken as it is"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"#!/bin/sh\n", "neither a bzImage nor an ELF file"),
        (b"", "neither a bzImage nor an ELF file"),
        (kernel(note=b""), "no entry for PVH guests"),
        (kernel(note=struct.pack("<III4sQ", 4, 8, 1, b"Xen\0", 0)), "no entry for PVH guests"),
        (kernel(machine=183), "it is for arm64"),
        (kernel(banner=b""), "which version of Linux"),
        (kernel()[:70], "damaged ELF file"),
        (bz_image(PACKERS["xz"](b"no kernel")), "no ELF file"),
        (bz_image(PACKERS["xz"](kernel())[:-9]), "unexpected end"),
        (bz_image(b"", 1 << 20), "it is cut"),
    ],
)
async def test_what_is_none_is_named(tmp_path, content, said):
    with pytest.raises(InvalidArgument, match=said):
        await read(tmp_path, content)


@pytest.mark.parametrize("packed", ["gzip", "xz", "zstd", "lzma", "lz4"])
async def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(kernels, "MOST", 1 << 20)
    with pytest.raises(InvalidArgument, match="unpacks to more than 1 MiB"):
        await read(tmp_path, bz_image(PACKERS[packed](kernel() + bytes(8 << 20))))


async def test_an_unknown_packing_is_named(tmp_path):
    with pytest.raises(NotSupported, match="it begins with 89 4c 5a 4f"):
        await read(tmp_path, bz_image(b"\x89LZO and so on"))


async def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InvalidArgument, match="no such file"):
        await kernels.read(tmp_path / "nothing")
    with pytest.raises(InvalidArgument, match="is not a file"):
        await kernels.read(tmp_path)


async def test_an_image_of_s390x(tmp_path):
    head = bytes(0x10008) + b"S390EP\0" + b"6.1.0-50-s390x (debian-kernel@x) #1 SMP Debian 6.1"
    (tmp_path / "image").write_bytes(head)
    found = await kernels.read(tmp_path / "image", "s390x")
    assert (found.content, found.release) == (head, "6.1.0-50-s390x")
    for content in (bytes(0x10008) + b"S390EP", head[8:]):
        (tmp_path / "image").write_bytes(content)
        with pytest.raises(InvalidArgument, match="no header of an s390x kernel"):
            await kernels.read(tmp_path / "image", "s390x")


async def test_kernels_of_other_architectures_are_taken_as_they_are(tmp_path):
    banner = b"Linux version 6.12.1-riscv64 (debian-kernel"
    elf = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x15\x00"
    images = {"riscv64": bytes(0x38) + b"RSC\x05" + banner, "ppc64le": elf + banner}
    for architecture, image in images.items():
        (tmp_path / "image").write_bytes(image)
        found = await kernels.read(tmp_path / "image", architecture)
        assert (found.content, found.release) == (image, "6.12.1-riscv64")
        (tmp_path / "image").write_bytes(banner)
        with pytest.raises(InvalidArgument, match=f"{architecture}"):
            await kernels.read(tmp_path / "image", architecture)
