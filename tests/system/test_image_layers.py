"""Layers on a real file system: whatever a tar says, what overlayfs then shows."""

import asyncio
import errno
import hashlib
import os
import stat
import struct
import tarfile
from pathlib import Path

import pytest

from heft.errors import HeftError, InvalidArgument
from heft.host import mounts
from heft.host.trash import Trash
from heft.images.catalog import Images
from heft.store.database import Database
from tests.harness.layers import (
    Bench,
    Member,
    archive,
    directory,
    entry,
    hard,
    link,
    once,
    pack,
)

pytestmark = pytest.mark.usefixtures("clean_host")

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
"""cap_net_bind_service+ep, as capabilities(7) stores it."""


def listed(path: Path) -> list[str]:
    return sorted(os.listdir(path))


# One layer


async def test_every_kind_of_file(bench: Bench) -> None:
    headers = {
        "SCHILY.xattr.user.note": "hello",
        "SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape"),
        "mtime": "1700000000.123456789",
    }
    (root,) = await bench.layers(
        [
            directory(".", mode=0o751, uid=3, gid=4, mtime=5),
            directory("d", mode=0o1777, uid=1, gid=2, mtime=7),
            entry("d/file", b"content", mode=0o4755, uid=10, gid=20, pax_headers=headers),
            link("d/link", "/absolute/../target"),
            hard("d/hard", "d/file"),
            entry("d/char", kind=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
            entry("d/block", kind=tarfile.BLKTYPE, devmajor=7, devminor=300, gid=6),
            entry("d/fifo", kind=tarfile.FIFOTYPE, mode=0o600),
            entry("d/" + "long" * 60, b"x"),
        ]
    )
    status = root.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o751, 3, 4)
    assert status.st_mtime == 5
    assert (root / "d").stat().st_mtime == 7
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o1777
    status = (root / "d/file").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o4755, 10, 20)
    assert status.st_mtime_ns == 1_700_000_000_123_456_789
    assert os.getxattr(root / "d/file", "user.note") == b"hello"
    assert os.getxattr(root / "d/file", "security.capability") == CAPABILITY
    assert os.readlink(root / "d/link") == "/absolute/../target"
    assert (root / "d/hard").stat().st_ino == status.st_ino
    assert (root / "d/char").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISBLK((root / "d/block").stat().st_mode)
    assert (root / "d/block").stat().st_rdev == os.makedev(7, 300)
    assert stat.S_ISFIFO((root / "d/fifo").stat().st_mode)
    assert (root / "d" / ("long" * 60)).read_bytes() == b"x"
    assert bench.images.resolve("t").size == 8


@pytest.mark.parametrize("form", ["gnu", "posix-0.0", "posix-0.1", "posix-1.0"])
async def test_sparse(bench: Bench, tmp_path: Path, form: str) -> None:
    source = tmp_path / "sparse"
    with source.open("wb") as file:
        file.truncate(20 << 20)
        for position in range(1 << 20, 20 << 20, 2 << 20):
            file.seek(position)
            file.write(b"data at %d" % position)
    kind, _, version = form.partition("-")
    options = [f"--sparse-version={version}"] if version else []
    tar = tmp_path / "tar"
    command = ["tar", "-C", tmp_path, "-c", "-S", f"--format={kind}", *options, "-f", tar, "sparse"]
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0
    image = await bench.images.import_tar(
        once(tar.read_bytes()), reference="s", progress=lambda *_: None
    )
    (root,) = bench.images.layer_paths([layer.diff_id for layer in image.layers])
    assert (root / "sparse").read_bytes() == source.read_bytes()
    assert (root / "sparse").stat().st_blocks * 512 < 1 << 20


async def test_the_last_entry_of_a_name_counts(bench: Bench) -> None:
    (root,) = await bench.layers(
        [
            entry("a", b"first"),
            entry("a", b"second"),
            directory("b"),
            entry("b/in", b"x"),
            entry("b", b"file"),
            link("c", "a"),
            directory("c"),
            entry("d", b"x"),
            directory("d"),
            entry("e", b"x" * 100),
            hard("e", "e"),
        ]
    )
    assert (root / "a").read_bytes() == b"second"
    assert (root / "b").read_bytes() == b"file"
    assert (root / "c").is_dir()
    assert not (root / "c").is_symlink()
    assert (root / "d").is_dir()
    assert (root / "e").read_bytes() == b"x" * 100
    assert bench.images.resolve("t").size == 6 + 4 + 100


async def test_directories_that_the_tar_left_out(bench: Bench) -> None:
    (root,) = await bench.layers([entry("a/b/c", b"x"), link("l", "a"), entry("l/d", b"y")])
    assert (root / "a/b/c").read_bytes() == b"x"
    assert (root / "a/d").read_bytes() == b"y"
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o755


# Several layers


async def test_whiteouts(bench: Bench) -> None:
    low = [directory("d"), entry("d/gone", b"1"), entry("d/stays", b"2"), entry("gone", b"3"),
           directory("tree"), entry("tree/x", b"4")]  # fmt: skip
    high = [entry("d/.wh.gone"), entry(".wh.gone"), entry(".wh.tree"), entry(".wh.never-was")]
    view = await bench.merged(low, high)
    assert listed(view) == ["d"]
    assert listed(view / "d") == ["stays"]


async def test_a_whiteout_hides_only_what_is_below(bench: Bench) -> None:
    low = [directory("a"), entry("a/low"), directory("b"), entry("b/low"), entry("f", b"low")]
    before = [entry(".wh.a"), directory("a"), entry("a/high"), entry(".wh.f"), entry("f", b"high")]
    after = [directory("b"), entry("b/high"), entry(".wh.b")]
    view = await bench.merged(low, [*before, *after])
    assert listed(view / "a") == ["high"]
    assert listed(view / "b") == ["high"]
    assert (view / "f").read_bytes() == b"high"


async def test_something_under_a_whiteout(bench: Bench) -> None:
    view = await bench.merged(
        [directory("a"), entry("a/low")], [entry(".wh.a"), entry("a/deep/high", b"x")]
    )
    assert listed(view / "a") == ["deep"]
    assert (view / "a/deep/high").read_bytes() == b"x"


async def test_opaque_directories(bench: Bench) -> None:
    low = [directory("d", mode=0o700, uid=5), entry("d/low"), directory("d/sub"), entry("d/sub/x")]
    high = [entry("d/high"), entry("d/sub/y"), entry("d/.wh..wh..opq")]
    view = await bench.merged(low, high)
    assert listed(view / "d") == ["high", "sub"]
    assert listed(view / "d/sub") == ["y"]
    assert (view / "d").stat().st_uid == 5


async def test_an_opaque_root(bench: Bench) -> None:
    low = [entry("low"), directory("d"), entry("d/low"), directory("gone")]
    high = [entry(".wh..wh..opq"), entry("high"), directory("d"), entry("d/high")]
    view = await bench.merged(low, high)
    assert listed(view) == ["d", "high"]
    assert listed(view / "d") == ["high"]


async def test_marks_in_the_lowest_layer_mean_nothing(bench: Bench) -> None:
    (root,) = await bench.layers([entry(".wh.a"), entry("d/.wh..wh..opq"), entry("b")])
    assert listed(root) == ["b"]


async def test_hard_link_to_a_file_below(bench: Bench) -> None:
    headers = {"SCHILY.xattr.user.a": "1"}
    low = [
        directory("d", mode=0o711, uid=7, gid=8, mtime=9),
        entry("d/file", b"content", mode=0o640, uid=1, gid=2, mtime=3, pax_headers=headers),
        link("d/link", "nowhere"),
    ]
    layers = await bench.layers(low, [hard("again", "d/file"), hard("other", "d/link")])
    high = layers[1]
    for name in ("again", "d/file"):
        status = (high / name).stat()
        assert (high / name).read_bytes() == b"content"
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 1, 2)
        assert (status.st_nlink, status.st_mtime) == (2, 3)
        assert os.getxattr(high / name, "user.a") == b"1"
    status = (high / "d").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o711, 7, 8)
    assert status.st_mtime == 9
    assert os.readlink(high / "other") == "nowhere"


async def test_parents_are_as_they_were_below(bench: Bench) -> None:
    low = [directory(".", mode=0o700, uid=9), directory("a", mode=0o1777, gid=4), directory("a/b")]
    layers = await bench.layers(low, [directory("x")], [entry("a/b/c/file", b"x")])
    top = layers[2]
    assert (stat.S_IMODE(top.stat().st_mode), top.stat().st_uid) == (0o700, 9)
    status = (top / "a").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o1777, 4)
    assert (top / "a/b/c/file").read_bytes() == b"x"
    assert listed(top) == ["a"]


async def test_links_below_are_followed(bench: Bench) -> None:
    low = [directory("usr/lib"), link("lib", "usr/lib"), link("abs", "/usr/../lib")]
    view = await bench.merged(low, [entry("lib/a", b"1"), entry("abs/b", b"2")])
    assert (view / "lib").is_symlink()
    assert listed(view / "usr/lib") == ["a", "b"]


async def test_the_same_tar_on_other_layers_is_another_layer(bench: Bench) -> None:
    top = [entry("d/file", b"x")]
    first = await bench.layers([directory("d", uid=1)], top)
    second = await bench.layers([directory("d", uid=2)], top)
    again = await bench.layers([directory("d", uid=2)], top)
    assert (first[1] / "d").stat().st_uid == 1
    assert (second[1] / "d").stat().st_uid == 2
    assert again == second


async def test_a_hundred_layers(bench: Bench) -> None:
    layers = [[entry(f"file{number}", b"x")] for number in range(100)]
    assert len(listed(await bench.merged(*layers))) == 100


# Hostile


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "secret").write_text("secret")
    return path


async def refused(bench: Bench, *members: Member, below: list[Member] | None = None) -> str:
    with pytest.raises(InvalidArgument) as raised:
        await bench.layers(*([below] if below else []), list(members))
    assert bench.images.list() == ()
    return raised.value.message


@pytest.mark.parametrize(
    "member",
    [
        entry("../x"),
        entry("a/../../x"),
        hard("x", "../../../etc/passwd"),
        hard("x", "missing"),
        entry("dir/.wh."),
        entry("dir/.wh..."),
        entry(".wh.."),
        entry("strange", kind=b"Z"),
        entry("."),
        entry("/".join(["d" * 250] * 20)),
        entry("n" * 256),
        entry("a\0b"),
    ],
    ids=lambda member: repr(member[0].name[:20]),
)
async def test_refused(bench: Bench, member: Member) -> None:
    if "\0" in member[0].name:
        member[0].pax_headers = {"path": member[0].name}
        member[0].name = "plain"
    await refused(bench, member)


async def test_no_link_leads_out(bench: Bench, outside: Path) -> None:
    far = "../" * 20 + str(outside).lstrip("/")
    (root,) = await bench.layers(
        [
            link("abs", str(outside)),
            link("rel", far),
            entry("abs/written", b"1"),
            entry("rel/too", b"2"),
            entry("abs/secret", b"3"),
        ]
    )
    assert (outside / "secret").read_text() == "secret"
    assert listed(outside) == ["secret"]
    inside = root / str(outside).lstrip("/")
    assert listed(inside) == ["secret", "too", "written"]


async def test_no_hard_link_leads_out(bench: Bench, outside: Path) -> None:
    await refused(bench, link("l", str(outside)), hard("x", "l/secret"))
    below = [link("l", str(outside))]
    await refused(bench, hard("x", "l/secret"), below=below)
    assert (outside / "secret").stat().st_nlink == 1


async def test_links_in_a_circle(bench: Bench) -> None:
    message = await refused(bench, link("a", "b"), link("b", "a"), entry("a/x"))
    assert os.strerror(errno.ELOOP).lower() in message
    await refused(bench, entry("a/x"), below=[link("a", "b"), link("b", "a")])


async def test_a_file_is_no_directory(bench: Bench) -> None:
    assert "not a directory" in await refused(bench, entry("a"), entry("a/b"))


async def test_overlayfs_own_attributes_are_not_taken(bench: Bench) -> None:
    headers = {
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.security.selinux": "label",
    }
    layers = await bench.layers([directory("d")], [directory("d", pax_headers=headers)])
    assert not [name for name in os.listxattr(layers[1] / "d") if name.startswith("trusted.")]


async def test_a_device_that_is_a_whiteout(bench: Bench) -> None:
    mark = entry("a", kind=tarfile.CHRTYPE, devmajor=0, devminor=0)
    assert listed((await bench.layers([mark, entry("b")]))[0]) == ["b"]
    assert listed(await bench.merged([entry("a"), entry("b")], [mark])) == ["b"]


async def test_devices_and_fifos_are_not_opened(bench: Bench) -> None:
    async with asyncio.timeout(20):
        (root,) = await bench.layers(
            [
                entry("fifo", kind=tarfile.FIFOTYPE),
                entry("fifo", b"a file now"),
                entry("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3),
                entry("null", b"a file too"),
            ]
        )
    assert (root / "fifo").read_bytes() == b"a file now"
    assert (root / "null").read_bytes() == b"a file too"


async def test_wrong_diff_id(bench: Bench) -> None:
    data = archive(pack(entry("a", b"1")))
    wrong = data.replace(hashlib.sha256(pack(entry("a", b"1"))).hexdigest().encode(), b"0" * 64)
    with pytest.raises(InvalidArgument, match="invalid diffID for layer 0"):
        await bench.images.load(once(wrong), progress=lambda *_: None)
    assert not list((bench.place / "images/layers").iterdir())
    assert not list((bench.place / "images/blobs/sha256").iterdir())


async def test_a_full_disk_is_said_to_be_one(bench: Bench, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounts.mount("tmpfs", small, options=("size=1m",))
    bench.stack.callback(mounts.unmount, small)
    trash = Trash(small / "trash")
    trash.start()
    images = Images(small / "images", Database(tmp_path / "other"), lambda *_: None, trash)
    await images.start()
    with pytest.raises(HeftError, match="no space left on device"):
        await images.import_tar(
            once(pack(entry("a", bytes(4 << 20)))), reference="x", progress=lambda *_: None
        )
    await trash.close()
