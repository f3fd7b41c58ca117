"""Archives that are more than they seem: refused at once, on a disk that stays usable."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import zstandard

from heft.errors import HeftError, InvalidArgument, NoSpace
from heft.host import mounts
from heft.host.trash import Trash
from heft.images.catalog import Images
from heft.store.database import Database

pytestmark = pytest.mark.usefixtures("clean_host")

TERA = 1 << 40
SIZE = 64 << 20
MIB = 1 << 20
GROWN = 8 * MIB
"""What may be missing of the disk afterwards: the store and its log."""


class Bench:
    """A store of images on a small disk of its own."""

    def __init__(self, place: Path, store: Path) -> None:
        self.place = place
        self.trash = Trash(place / "trash")
        self.images = Images(place / "images", Database(store), lambda *_: None, self.trash)

    async def bring(self, blocks: AsyncIterator[bytes]) -> None:
        await self.images.import_tar(blocks, reference="bomb", progress=lambda *_: None)

    async def load(self, blocks: AsyncIterator[bytes]) -> None:
        await self.images.load(blocks, progress=lambda *_: None)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    place = tmp_path / "disk"
    place.mkdir()
    mounts.mount("tmpfs", place, options=(f"size={SIZE}",))
    bench = Bench(place, tmp_path / "store")
    bench.trash.start()
    await bench.images.start()
    before = os.statvfs(place).f_bavail
    yield bench
    assert bench.images.list() == ()
    for name in ("blobs/sha256", "layers", "tmp"):
        assert list((place / "images" / name).iterdir()) == []
    bench.trash.start()
    while list((place / "trash").iterdir()):
        await bench.trash._empty()
    assert os.statvfs(place).f_bavail == before
    await bench.trash.close()
    mounts.unmount(place)


async def once(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 100_000):
        yield data[at : at + 100_000]


def header(name: str, size: int, **fields: object) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT if not info.pax_headers else tarfile.PAX_FORMAT)


def repeated(start: bytes, block: bytes, count: int) -> bytes:
    """Give gzip of `start` and then `count` times a block."""
    compressor = zlib.compressobj(9, wbits=31)
    parts = [compressor.compress(start)]
    parts += [compressor.compress(block) for _ in range(count)]
    return b"".join(parts) + compressor.flush()


async def test_one_file_larger_than_the_disk(bench: Bench) -> None:
    """Refused by its header: nothing is written first."""
    lowest = SIZE

    async def watched() -> AsyncIterator[bytes]:
        nonlocal lowest
        async for block in once(repeated(header("zeros", TERA), bytes(MIB), 80)):
            space = os.statvfs(bench.place)
            lowest = min(lowest, space.f_bavail * space.f_frsize)
            yield block

    with pytest.raises(NoSpace, match="no space left on device"):
        await bench.bring(watched())
    assert lowest > SIZE - GROWN


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress],
    ids=["gzip", "bzip2", "xz", "zstd"],
)
async def test_many_files_larger_than_the_disk(
    bench: Bench, compress: Callable[[bytes], bytes]
) -> None:
    tar = b"".join(
        header(f"{number:03}", 2 * MIB) + bytes(2 * MIB) for number in range(2 * SIZE // (2 * MIB))
    )
    with pytest.raises(NoSpace, match="no space left on device"):
        await bench.bring(once(compress(tar)))


async def test_a_sparse_file_of_ten_terabytes(bench: Bench) -> None:
    headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "hollow",
        "GNU.sparse.realsize": str(10 * TERA),
    }
    numbers = f"1\n{10 * TERA - 1}\n1\n".encode()
    content = numbers + bytes(-len(numbers) % tarfile.BLOCKSIZE) + b"x"
    tar = header("hollow", len(content), pax_headers=headers) + content + bytes(2048)
    with pytest.raises(NoSpace, match="no space left on device"):
        await bench.bring(once(tar))


async def test_a_size_that_is_a_lie(bench: Bench) -> None:
    with pytest.raises(NoSpace):
        await bench.bring(once(header("lie", 8 * TERA) + b"that is all"))
    with pytest.raises(InvalidArgument, match="unexpected end"):
        await bench.bring(once(header("lie", MIB) + b"that is all"))


async def test_an_end_without_end(bench: Bench) -> None:
    tar = header("a", 0) + bytes(1024)
    with pytest.raises(InvalidArgument, match="behind the end of the tar"):
        await bench.bring(once(repeated(tar, bytes(MIB), 80)))


@pytest.mark.parametrize(
    ("name", "kind"), [("label", b"V"), (".wh.gone", tarfile.REGTYPE), ("d", tarfile.DIRTYPE)]
)
async def test_bytes_of_what_has_none(bench: Bench, name: str, kind: bytes) -> None:
    """What makes no file is kept all the same, with the tar: a hundredth of the disk stays."""
    lowest = SIZE

    async def watched() -> AsyncIterator[bytes]:
        nonlocal lowest
        for block in (header(name, 4 * SIZE, type=kind), *[bytes(MIB)] * (4 * SIZE // MIB)):
            space = os.statvfs(bench.place)
            lowest = min(lowest, space.f_bavail * space.f_frsize)
            yield block

    with pytest.raises(HeftError):
        await bench.bring(watched())
    assert lowest >= SIZE // 100 - (1 << 20)


async def test_directories_without_end(bench: Bench) -> None:
    """The disk can have so many entries, and each has none of its bytes in the tar."""
    many = os.statvfs(bench.place).f_files
    lowest = many

    async def watched() -> AsyncIterator[bytes]:
        nonlocal lowest
        for number in range(many + 100):
            if not number % 100:
                lowest = min(lowest, os.statvfs(bench.place).f_favail)
            yield header(f"{number}", 0, type=tarfile.DIRTYPE)

    with pytest.raises(NoSpace, match="no space left on device"):
        await bench.bring(watched())
    assert lowest >= many // 100 - 200


async def test_an_error_is_about_the_entry_and_bounded(bench: Bench) -> None:
    with pytest.raises(InvalidArgument, match="x/huge: invalid argument"):
        await bench.bring(once(header("x/huge", 0, type=tarfile.CHRTYPE, devmajor=2**21 - 1)))
    with pytest.raises(HeftError) as raised:
        await bench.bring(once(header("\x1b[31m" + "n" * 100_000, 0, pax_headers={"a": "b"})))
    assert len(raised.value.message) < 1100
    assert raised.value.message.isprintable()


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
async def test_a_header_of_a_gigabyte(bench: Bench, kind: bytes) -> None:
    tar = header("long", 1 << 30, type=kind)
    with pytest.raises(InvalidArgument):
        await bench.bring(once(repeated(tar, bytes(MIB), 64)))


async def test_names_that_multiply(bench: Bench) -> None:
    """A name of a megabyte at each of many entries costs a few bytes of the archive."""
    name = "/".join(["d" * 200] * 200)
    info = tarfile.TarInfo(name)
    tar = b"".join(info.tobuf(tarfile.PAX_FORMAT) for _ in range(200))
    with pytest.raises(HeftError):
        await bench.bring(once(gzip.compress(tar)))


def archive(layer: bytes, diff_id: str = "") -> bytes:
    config = {
        "os": "linux",
        "rootfs": {
            "type": "layers",
            "diff_ids": [diff_id or f"sha256:{hashlib.sha256(layer).hexdigest()}"],
        },
    }
    manifest = [{"Config": "c.json", "RepoTags": ["bomb"], "Layers": ["l.tar"]}]
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, data in (
            ("l.tar", layer),
            ("c.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return target.getvalue()


async def test_load_of_a_layer_larger_than_the_disk(bench: Bench) -> None:
    layer = repeated(header("zeros", TERA), bytes(MIB), 16)
    with pytest.raises(NoSpace, match="no space left on device"):
        await bench.load(once(archive(layer)))


async def test_load_of_an_archive_larger_than_the_disk(bench: Bench) -> None:
    with pytest.raises(NoSpace, match="no space left on device"):
        await bench.load(once(repeated(header("l.tar", TERA), bytes(MIB), 16)))


@pytest.mark.parametrize("cut", [100, 600, 1700, 2560])
async def test_load_of_a_truncated_archive(bench: Bench, cut: int) -> None:
    layer = header("a", 3) + b"one".ljust(512, b"\0") + bytes(1024)
    with pytest.raises(InvalidArgument):
        await bench.load(once(archive(layer)[:cut]))


async def test_load_of_a_layer_with_the_wrong_digest(bench: Bench) -> None:
    layer = header("a", 3) + b"one".ljust(512, b"\0") + bytes(1024)
    with pytest.raises(InvalidArgument, match="invalid diffID for layer 0"):
        await bench.load(once(archive(layer, "sha256:" + "0" * 64)))
    damaged = gzip.compress(layer)
    broken = damaged[:-8] + bytes(8)
    digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    with pytest.raises(InvalidArgument, match="damaged gzip data"):
        await bench.load(once(archive(broken, digest)))
