"""Bases: whatever the layers of an image are, the file shows what overlayfs shows of them."""

import asyncio
import os
import stat
import struct
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from heft.host import mounts
from heft.images.catalog import Images
from heft.model.image import Image
from tests.harness.layers import Bench, Member, directory, entry, hard, link

pytestmark = pytest.mark.usefixtures("clean_host")

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
"""cap_net_bind_service+ep, as capabilities(7) stores it."""


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    bench.trash.start()
    await bench.images.start()
    yield bench
    await bench.stack.aclose()
    assert not list((tmp_path / "images/tmp").iterdir())
    await bench.trash.close()


async def make(images: Images, image: Image) -> Path:
    return await images.ensure_base(image.diff_ids, lambda *_: None)


async def shown(bench: Bench, base: Path) -> Path:
    """Mount a base; the file system goes with the test."""
    place = bench.place / f"shown-{len(list(bench.place.iterdir()))}"
    place.mkdir()
    process = await asyncio.create_subprocess_exec(
        *("mount", "-t", "erofs", "-o", "ro,loop", base, place)
    )
    assert await process.wait() == 0
    bench.stack.callback(mounts.unmount, place, lazy=False)
    return place


@dataclass(frozen=True)
class Entry:
    """Everything that is to be the same."""

    mode: int
    owner: tuple[int, int]
    modified: int
    device: int
    links: int
    content: bytes
    attributes: dict[str, bytes]
    same_as: str
    """The first path of the same file."""


def tree(root: Path) -> dict[str, Entry]:
    """Give what is in a tree, by path."""
    found: dict[str, Entry] = {}
    first: dict[int, str] = {}
    for path in sorted([root, *root.rglob("*")]):
        status = path.lstat()
        name = str(path.relative_to(root))
        is_directory = stat.S_ISDIR(status.st_mode)
        content = b""
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path).encode()
        same_as = name if is_directory else first.setdefault(status.st_ino, name)
        found[name] = Entry(
            mode=status.st_mode,
            owner=(status.st_uid, status.st_gid),
            modified=status.st_mtime_ns,
            device=status.st_rdev,
            links=0 if is_directory else status.st_nlink,
            content=content,
            attributes={
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
            },
            same_as=same_as,
        )
    return found


async def check(bench: Bench, *layers: list[Member]) -> dict[str, Entry]:
    """Make the base of an image, and hold it against what light machines see."""
    image = await bench.image(*layers)
    expected = tree(await bench.merged(*layers))
    found = tree(await shown(bench, await make(bench.images, image)))
    assert found == expected
    return found


async def test_every_kind_of_file(bench: Bench) -> None:
    headers = {
        "SCHILY.xattr.user.note": "hello",
        "SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape"),
        "mtime": "1700000000.123456789",
    }
    found = await check(
        bench,
        [
            directory(".", mode=0o751, uid=3, gid=4, mtime=5),
            directory("d", mode=0o1777, uid=1, gid=2, mtime=7),
            entry("d/file", b"content", mode=0o4755, uid=10, gid=20, pax_headers=headers),
            link("d/link", "/absolute/../target"),
            link("long", "x/" * 2000),
            hard("d/hard", "d/file"),
            entry("d/char", kind=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
            entry("d/block", kind=tarfile.BLKTYPE, devmajor=7, devminor=300, gid=6),
            entry("d/fifo", kind=tarfile.FIFOTYPE, mode=0o620),
            entry("n" * 254, b"x", uid=1 << 30, gid=(1 << 32) - 2),
            entry("empty"),
            entry("big", os.urandom(300_001)),
            entry("before-the-epoch", pax_headers={"mtime": "-1000000.5"}),
            entry("far-from-now", mtime=1 << 33),
            entry("\N{SNOWMAN} and\na line", b"y"),
        ],
    )
    assert found["d/file"].attributes["security.capability"] == CAPABILITY
    assert found["d/hard"].same_as == "d/file"
    assert found["d/hard"].links == 2


async def test_layers(bench: Bench) -> None:
    found = await check(
        bench,
        [
            directory("d", uid=1),
            entry("d/gone", b"1"),
            entry("d/stays", b"2"),
            entry("gone"),
            directory("opaque", mode=0o700, uid=5),
            entry("opaque/low"),
            entry("one", b"linked"),
            hard("two", "one"),
            directory("tree"),
            entry("tree/x"),
        ],
        [entry("d/.wh.gone"), entry(".wh.gone"), entry("d/new"), entry(".wh.tree")],
        [entry("opaque/high"), entry("opaque/.wh..wh..opq"), entry("tree", b"a file now")],
    )
    assert sorted(found) == [
        *(".", "d", "d/new", "d/stays", "one", "opaque", "opaque/high", "tree", "two"),
    ]
    assert not [each for each in found.values() if each.attributes]
