"""EROFS as it is on a disk: what is packed can be read again by the kernel's rules."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.host.crc32c import crc32c
from heft.images import erofs
from heft.images.erofs import BLOCK, Node, Unfit
from heft.images.erofs_file import PAGE, ErofsFile

NAMES = st.sets(
    st.binary(min_size=1, max_size=255).filter(lambda name: not {0, ord("/")} & set(name)),
    max_size=120,
)


def entries(block: bytes) -> list[erofs.Child]:
    """Read one block of a directory as fs/erofs/dir.c does."""
    count = struct.unpack_from("<QHB", block)[1] // 12
    heads = [struct.unpack_from("<QHB", block, 12 * at) for at in range(count)]
    ends = [head[1] for head in heads[1:]] + [len(block)]
    return [
        (block[begin:end].rstrip(b"\0"), nid, kind)
        for (nid, begin, kind), end in zip(heads, ends, strict=True)
    ]


@given(names=NAMES)
def test_directories(names: set[bytes]) -> None:
    children = sorted((name, number, 1) for number, name in enumerate({*names, b".", b".."}))
    packed = erofs.pack_directory(children)
    assert len(packed) == erofs.directory_size(name for name, _, _ in children)
    blocks = [packed[at : at + BLOCK] for at in range(0, len(packed), BLOCK)]
    assert [each for block in blocks for each in entries(block)] == children


def test_checksums() -> None:
    """RFC 3720, appendix B.4, has these values inverted."""
    assert crc32c(bytes(32)) ^ 0xFFFFFFFF == 0x8A9136AA
    assert crc32c(b"\xff" * 32) ^ 0xFFFFFFFF == 0x62A8AB43
    assert crc32c(bytes(range(32))) ^ 0xFFFFFFFF == 0x46DD794E


def test_the_superblock_has_its_checksum() -> None:
    block = erofs.superblock(0, 5, 77, 70, bytes(range(16)))
    assert len(block) == BLOCK
    assert not any(block[:1024])
    (checksum,) = struct.unpack_from("<I", block, 1028)
    assert checksum == crc32c(block[1024:1028] + bytes(4) + block[1032:])


@pytest.mark.parametrize("contents", [0, 1, PAGE // BLOCK - 3, PAGE // BLOCK - 2])
def test_its_file_ends_where_a_page_of_any_guest_does(tmp_path: Path, contents: int) -> None:
    """A guest of ppc64le that was restored read beyond the end of its disk, and had no root."""
    with (tmp_path / "base").open("w+b") as file, (tmp_path / "metadata").open("w+b") as metadata:
        made = ErofsFile(file.fileno(), metadata.fileno())
        made.content.add(bytes(contents * BLOCK))
        made.finish(made.add(Node(0o040755, 0, 0, 0, 0, 2, 0, inline=True), b""), bytes(16))
    found = (tmp_path / "base").read_bytes()
    (blocks,) = struct.unpack_from("<I", found, 1024 + 36)
    assert blocks == contents + 2
    assert len(found) == blocks * BLOCK + -blocks * BLOCK % PAGE


def test_times_before_1970() -> None:
    node = Node(0o100644, 1, 2, 3, -1, 1, 0, inline=True)
    packed = erofs.inode(node, 9, 0)
    assert len(packed) == erofs.INODE_SIZE
    assert struct.unpack_from("<qI", packed, 32) == (-1, 999_999_999)
    at, links = erofs.links(7)
    assert struct.unpack_from("<I", packed, at) == (1,)
    assert struct.unpack("<I", links) == (7,)


@pytest.mark.parametrize(
    ("major", "minor", "number"),
    [(0, 0, 0), (1, 3, 0x103), (7, 300, 0x10072C), (4095, (1 << 20) - 1, 0xFFFFFFFF)],
)
def test_devices(major: int, minor: int, number: int) -> None:
    assert erofs.device(major, minor) == number


def test_attributes() -> None:
    assert erofs.pack_attributes({}) == b""
    packed = erofs.pack_attributes({"user.a": b"12345", "security.capability": b"x"})
    assert packed[12:] == b"\x0a\x06\x01\x00capabilityx\0" + b"\x01\x01\x05\x00a12345\0\0"
    with pytest.raises(Unfit, match=r"btrfs\.compression"):
        erofs.pack_attributes({"btrfs.compression": b""})
    with pytest.raises(Unfit, match="bytes"):
        erofs.pack_attributes({f"user.{number}": bytes(60_000) for number in range(5)})
