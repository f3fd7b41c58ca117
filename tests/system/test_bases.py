"""Bases: whatever the layers of an image are, the file shows what overlayfs shows of them."""

import asyncio
import os
import re
import stat
import struct
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heft.errors import HostError, NoSpace, NotFound
from heft.host import mounts
from heft.host.trash import Trash
from heft.images.catalog import Images, ImageUser
from heft.images.usage import Footprint
from heft.model.image import Image
from tests.harness.layers import Bench, Member, directory, entry, hard, link

pytestmark = pytest.mark.usefixtures("clean_host")

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
"""cap_net_bind_service+ep, as capabilities(7) stores it."""
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *each)
    for each in ((1, 7, 0xFFFFFFFF), (2, 5, 33), (4, 5, 0xFFFFFFFF), (16, 5, 0xFFFFFFFF),
                 (32, 0, 0xFFFFFFFF))
)  # fmt: skip
"""u::rwx,u:33:r-x,g::r-x,m::r-x,o::---, as the kernel takes it (acl(5))."""
MS_REMOUNT = 0x20
IDENTITY = "00000000-0000-4000-8000-000000000000"


def text(value: bytes) -> str:
    """Give a value as tarfile writes it into a header."""
    return value.decode("utf-8", "surrogateescape")


async def make(images: Images, image: Image) -> Path:
    return await images.ensure_base(image.diff_ids, lambda *_: None)


@contextmanager
def shown(base: Path, place: Path) -> Iterator[Path]:
    """Mount a base, after fsck.erofs(1) has looked at it."""
    look = ["prlimit", "--stack=unlimited", "fsck.erofs", "-d0", base]  # it is recursive
    subprocess.run(look, check=True, capture_output=True)
    place.mkdir()
    subprocess.run(["mount", "-t", "erofs", "-o", "ro,loop", base, place], check=True)
    try:
        yield place
    finally:
        mounts.unmount(place, lazy=False)
        place.rmdir()


@dataclass(frozen=True)
class Entry:
    """Everything that is to be the same."""

    mode: int
    owner: tuple[int, int]
    modified: int
    device: int
    links: int
    size: int
    content: bytes
    attributes: dict[str, bytes]
    same_as: str
    """The first path of the same file."""


def paths(root: Path) -> Iterator[Path]:
    """Give everything in a tree; no links are followed."""
    waiting = [root]
    while waiting:
        yield (path := waiting.pop())
        if stat.S_ISDIR(path.lstat().st_mode):
            waiting += [path / name for name in os.listdir(path)]


def tree(root: Path) -> dict[str, Entry]:
    """Give what is in a tree, by path."""
    found: dict[str, Entry] = {}
    first: dict[int, str] = {}
    for path in sorted(paths(root)):
        status = path.lstat()
        name = str(path.relative_to(root))
        is_directory = stat.S_ISDIR(status.st_mode)
        content = b""
        if stat.S_ISREG(status.st_mode) and status.st_size < 1 << 24:
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(os.fsencode(path))
        found[name] = Entry(
            mode=status.st_mode,
            owner=(status.st_uid, status.st_gid),
            modified=status.st_mtime_ns,
            device=status.st_rdev,
            links=status.st_nlink,
            size=0 if is_directory else status.st_size,
            content=content,
            attributes={
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
            },
            same_as=name if is_directory else first.setdefault(status.st_ino, name),
        )
    return found


def compare(found: dict[str, Entry], expected: dict[str, Entry]) -> None:
    """Hold what is in a base against what it was made of."""
    names = Counter(each.same_as for each in expected.values())
    parents = Counter(
        os.path.dirname(path) or "."
        for path, each in expected.items()
        if path != "." and stat.S_ISDIR(each.mode)
    )
    for path, each in expected.items():
        # Some of overlayfs's names may be hidden, and directories count differently everywhere.
        is_directory = stat.S_ISDIR(each.mode)
        links = 2 + parents[path] if is_directory else names[each.same_as]
        assert found[path] == replace(each, links=links), path
    assert found.keys() == expected.keys()


async def check(bench: Bench, *layers: list[Member]) -> dict[str, Entry]:
    """Make the base of an image, and hold it against what light machines see."""
    image = await bench.image(*layers)
    expected = tree(await bench.merged(*layers))
    with shown(await make(bench.images, image), bench.place / "shown") as place:
        found = tree(place)
    compare(found, expected)
    return found


# What is in it


async def test_every_kind_of_file(bench: Bench) -> None:
    headers = {
        "SCHILY.xattr.user.note": "hello",
        "SCHILY.xattr.security.capability": text(CAPABILITY),
        "mtime": "1700000000.123456789",
    }
    acl = {"SCHILY.xattr.system.posix_acl_access": text(ACL)}
    inherited = {**acl, "SCHILY.xattr.system.posix_acl_default": text(ACL)}
    found = await check(
        bench,
        [
            directory(".", mode=0o751, uid=3, gid=4, mtime=5),
            directory("d", mode=0o1777, uid=1, gid=2, mtime=7),
            directory("acl", mode=0o750, pax_headers=inherited),
            entry("acl/file", b"x", mode=0o750, pax_headers=acl),
            entry("d/file", b"content", mode=0o4755, uid=10, gid=20, pax_headers=headers),
            link("d/link", "/absolute/../target"),
            link("long", "x/" * 2000),
            link("longest", "y" * 4095),
            hard("d/hard", "d/file"),
            entry("d/char", kind=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
            entry("d/block", kind=tarfile.BLKTYPE, devmajor=7, devminor=300, gid=6),
            hard("device-too", "d/block"),
            entry("d/fifo", kind=tarfile.FIFOTYPE, mode=0o620),
            entry("n" * 255, b"x", uid=1 << 30, gid=(1 << 32) - 2),
            entry("empty"),
            entry("big", os.urandom(300_001)),
            entry("before-the-epoch", pax_headers={"mtime": "-1000000.5"}),
            entry("far-from-now", mtime=1 << 33),
            entry("\N{SNOWMAN} and\na line", b"y"),
            entry("!before-the-dot", b"z"),
        ],
    )
    assert found["d/file"].attributes["security.capability"] == CAPABILITY
    assert found["acl"].attributes["system.posix_acl_default"] == ACL
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
            hard("three", "one"),
            directory("tree"),
            entry("tree/x"),
        ],
        [entry("d/.wh.gone"), entry(".wh.gone"), entry("d/new"), entry(".wh.tree")],
        [entry("opaque/high"), entry("opaque/.wh..wh..opq"), entry("tree", b"a file now")],
        [entry(".wh.three")],
    )
    assert sorted(found) == [
        *(".", "d", "d/new", "d/stays", "one", "opaque", "opaque/high", "tree", "two"),
    ]
    assert found["two"].links == 2
    assert not [each for each in found.values() if each.attributes]


async def test_many_files_and_deep_directories(bench: Bench) -> None:
    found = await check(
        bench,
        [entry(f"many/{'n' * (number % 200)}{number}", b"%d" % number) for number in range(3000)],
        [entry("/".join(["d"] * 150) + "/file", b"deep")],
    )
    assert found["many/n1"].content == b"1"


def test_directories_as_deep_as_paths_go(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    command = "for i in $(seq 1900); do mkdir d && cd d || exit 1; done; echo deep > file"
    layer.mkdir()
    try:
        subprocess.run(["sh", "-c", command], cwd=layer, check=True)
        with shown(merged(layer, tmp_path), tmp_path / "shown") as place:
            found = subprocess.run(
                ["find", ".", "-name", "file"], cwd=place, capture_output=True, check=True
            )
            assert found.stdout.count(b"/d") == 1900
    finally:
        subprocess.run(["rm", "-rf", layer], check=True)  # Python's own way is recursive


async def test_a_hundred_layers(bench: Bench) -> None:
    await check(bench, *([entry(f"file{number}", b"x" * number)] for number in range(100)))


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(40 << 30)
        for position, data in ((1, b"first"), (3 << 30, b"middle"), ((40 << 30) - 2, b"ab")):
            file.seek(position)
            file.write(data)


def merged(layer: Path, place: Path) -> Path:
    """Make a base of one directory, without a store."""
    view, file = place / "view", place / "base"
    view.mkdir()
    command = [sys.executable, "-m", "heft.images.merge", file, IDENTITY, view, layer]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    view.rmdir()
    (place / "base.metadata").unlink()
    return file


def test_holes_stay_holes(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    sparse(layer / "sparse")
    with (layer / "hole").open("wb") as file:
        file.truncate(12345)
    file = merged(layer, tmp_path)
    assert file.stat().st_blocks * 512 < 1 << 20
    with shown(file, tmp_path / "shown") as place, (place / "sparse").open("rb") as shown_file:
        assert (place / "hole").read_bytes() == bytes(12345)
        assert (place / "sparse").stat().st_size == 40 << 30
        for position, data in ((0, b"\0first\0"), (3 << 30, b"middle"), ((40 << 30) - 3, b"\0ab")):
            shown_file.seek(position)
            assert shown_file.read(len(data)) == data


def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    for number in range(40):
        (layer / str(number)).mkdir(parents=True)
        for other in range(500):
            (layer / str(number) / str(other)).write_bytes(b"x" * 500)
    (tmp_path / "view").mkdir()
    program = (
        "import sys; from heft.images import merge; status = merge.main();"
        "sys.stderr.write(open('/proc/self/status').read()); sys.exit(status)"
    )
    command = [sys.executable, "-c", program, tmp_path / "base", IDENTITY, tmp_path / "view", layer]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", done.stderr)
    assert int(peak) < 40 << 10


NAMES = st.binary(min_size=1, max_size=255).filter(
    lambda name: name not in (b".", b"..") and not {0, ord("/")} & set(name)
)
SIZES = st.one_of(
    st.sampled_from([0, 1, 3900, 4032, 4033, 4095, 4096, 4097, 8191, 8192, 65536, 65537, 1 << 20]),
    st.integers(0, 20_000),
)
VALUES = st.dictionaries(
    st.text("abc.", min_size=1, max_size=20), st.binary(max_size=1000), max_size=3
)
FILES = st.tuples(SIZES, VALUES, st.integers(-(10**18), 4 * 10**18), st.integers(0, 0o7777))
TREES = st.recursive(
    st.dictionaries(NAMES, FILES, max_size=30),
    lambda inner: st.dictionaries(NAMES, st.one_of(FILES, inner), max_size=20),
    max_leaves=6,
)


def grow(place: bytes, content: object) -> None:
    """Make a file or a directory as a strategy gave it."""
    if isinstance(content, dict):
        os.mkdir(place)
        for name, inner in content.items():
            grow(place + b"/" + name, inner)
        return
    assert isinstance(content, tuple)
    size, values, moment, mode = content
    with open(place, "wb") as file:
        file.write(os.urandom(size))
    os.chmod(place, mode)
    for name, value in values.items():
        os.setxattr(place, f"user.{name}", value)
    os.utime(place, ns=(moment, moment))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=TREES, hard_links=st.integers(0, 3))
def test_any_tree(
    tmp_path_factory: pytest.TempPathFactory, content: dict[bytes, object], hard_links: int
) -> None:
    place = tmp_path_factory.mktemp("any")
    layer = place / "layer"
    grow(os.fsencode(layer), content)
    files = sorted(path for path in layer.rglob("*") if path.is_file())
    for number, path in enumerate(files[:hard_links]):
        os.link(path, layer / f"hard-{number}")
    expected = tree(layer)
    with shown(merged(layer, place), place / "shown") as found:
        compare(tree(found), expected)


# Damage


async def test_who_may_reach_it(bench: Bench) -> None:
    base = await make(bench.images, await bench.image([entry("a")]))
    assert (base.stat().st_mode & 0o7777, base.parent.stat().st_mode & 0o777) == (0o444, 0o700)


def gone(base: Path) -> None:
    base.unlink()


def cut(base: Path) -> None:
    os.truncate(base, base.stat().st_size - 4096)


def exchanged(base: Path) -> None:
    content = bytearray(base.read_bytes())
    content[1024] ^= 0xFF
    base.unlink()
    base.write_bytes(content)


def written_to(base: Path) -> None:
    with base.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"something")


def a_directory(base: Path) -> None:
    base.unlink()
    (base / "in it").mkdir(parents=True)


def a_pipe(base: Path) -> None:
    """Whoever opens it waits for good."""
    base.unlink()
    os.mkfifo(base)


def a_device(base: Path) -> None:
    base.unlink()
    base.symlink_to("/dev/zero")


@pytest.mark.parametrize("harm", [gone, cut, exchanged, written_to, a_directory, a_pipe, a_device])
async def test_a_damaged_one_is_named_and_made_again(
    bench: Bench, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The same layers give the same bytes: machines have an upper over them already."""
    image = await bench.image([entry("a", b"1" * 100_000), directory("d")], [entry("d/b", b"2")])
    base = await make(bench.images, image)
    before = base.read_bytes()
    await bench.images.verify_base(image.diff_ids)
    with base.open("rb") as held:
        harm(base)
        with pytest.raises(HostError, match=base.name):
            await bench.images.verify_base(image.diff_ids)
        assert await make(bench.images, image) == base
        assert str(base) in caplog.text
        assert base.stat().st_ino != os.fstat(held.fileno()).st_ino, "machines have the old one"
    assert base.read_bytes() == before
    await bench.images.verify_base(image.diff_ids)


async def test_one_that_was_only_copied_is_kept(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    image = await bench.image([entry("a", b"1" * 100_000)])
    base = await make(bench.images, image)
    os.utime(base, (1, 1))
    before = base.stat().st_ino
    assert (await make(bench.images, image)).stat().st_ino == before
    assert "damaged" not in caplog.text


async def test_silent_damage_is_found_by_reading_all_of_it(bench: Bench) -> None:
    image = await bench.image([entry("a", b"1" * 100_000)])
    with pytest.raises(NotFound):
        await bench.images.verify_base(image.diff_ids)
    base = await make(bench.images, image)
    before = base.stat()
    written_to(base)
    os.utime(base, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(HostError, match="its content has changed"):
        await bench.images.verify_base(image.diff_ids)


async def test_a_layer_that_is_missing(bench: Bench) -> None:
    with pytest.raises(NotFound, match="sha256:00"):
        await bench.images.ensure_base([f"sha256:{'0' * 64}"], lambda *_: None)
    image = await bench.image([entry("a")])
    (layer,) = bench.images.layer_paths(image.diff_ids)
    (layer / "a").unlink()
    layer.rmdir()
    with pytest.raises(HostError, match="no such file"):
        await make(bench.images, image)
    assert not list((bench.place / "images/bases").iterdir())


async def emptied(trash: Trash) -> None:
    async with asyncio.timeout(20):
        while True:
            if not list(trash.directory.iterdir()):
                return
            await asyncio.sleep(0.01)


async def test_a_full_disk(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounts.mount("tmpfs", place, options=("size=64m",))
    bench = Bench(place)
    bench.trash.start()
    try:
        await bench.images.start()
        image = await bench.image([entry("a", os.urandom(9 << 20)), directory("d")])
        await emptied(bench.trash)
        space = os.statvfs(place)
        size = (space.f_blocks - space.f_bfree) * space.f_bsize + (4 << 20)
        mounts.mount("tmpfs", place, flags=MS_REMOUNT, options=(f"size={size}",))
        with pytest.raises(NoSpace, match="no space left on device"):
            await make(bench.images, image)
        assert not list((place / "images/bases").iterdir())
        assert not list((place / "images/tmp").iterdir())
        mounts.mount("tmpfs", place, flags=MS_REMOUNT, options=("size=64m",))
        await make(bench.images, image)
    finally:
        await bench.trash.close()
        mounts.unmount(place)


# One for all


async def begun(bench: Bench) -> None:
    """Return when a base is being written."""
    async with asyncio.timeout(20):
        while True:
            if list((bench.place / "images/tmp").glob("*/base")):
                return
            await asyncio.sleep(0.001)


async def test_who_wants_one_that_is_being_made_waits(bench: Bench) -> None:
    image = await bench.image([entry("a", os.urandom(8 << 20))])
    told: list[list[int]] = [[] for _ in range(5)]
    tasks = [
        asyncio.create_task(
            bench.images.ensure_base(image.diff_ids, lambda *each, at=at: told[at].append(each[2]))
        )
        for at in range(5)
    ]
    await begun(bench)
    for task in tasks[:3]:
        task.cancel()
    given = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in given[:3]] == [asyncio.CancelledError] * 3
    assert given[3] == given[4]
    number = Path(str(given[3])).stat().st_ino
    assert (await make(bench.images, image)).stat().st_ino == number
    assert told[4] == sorted(told[4])
    assert told[4][-1] == 8 << 20


async def test_nothing_is_left_when_nobody_wants_it_any_more(bench: Bench) -> None:
    image = await bench.image([entry("a", os.urandom(64 << 20))])
    for _ in range(3):
        tasks = [asyncio.create_task(make(bench.images, image)) for _ in range(2)]
        await begun(bench)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not list((bench.place / "images/bases").iterdir())
        assert not list((bench.place / "images/tmp").iterdir())
        assert bench.images.base(image.diff_ids) is None
    assert await make(bench.images, image) == bench.images.base(image.diff_ids)


# The end


async def test_it_goes_with_the_last_image_of_its_layers(bench: Bench) -> None:
    low, high = [entry("low")], [entry("high")]
    one = await bench.image(low, name="one")
    two = await bench.image(low, high, name="two")
    bases = [await make(bench.images, image) for image in (one, two)]
    size = (await bench.images.usage()).images[one.id].base
    assert size == bases[0].stat().st_blocks * 512
    bench.images.tag("one", "other")
    bench.images.remove("one")
    assert bases[0].exists()
    bench.images.remove("other")
    assert not bases[0].exists(), "its layer is still another image's, but not as the topmost"
    assert bases[1].exists()
    _, freed = bench.images.prune(keep=lambda _: False, in_use=frozenset())
    assert freed >= size
    assert not list((bench.place / "images/bases").iterdir())


async def test_it_stays_while_machines_have_its_layers(bench: Bench) -> None:
    image = await bench.image([entry("a")])
    user = ImageUser("machine", image.id, running=False, layers=image.diff_ids)
    base = await make(bench.images, image)
    bench.images.remove("t", force=True, users=[user])
    assert bench.images.list() == ()
    assert await make(bench.images, image) == base
    bench.images.prune(keep=lambda _: False, in_use=frozenset({image.id}))
    assert base.exists()
    bench.images.prune(keep=lambda _: False, in_use=frozenset())
    assert not base.exists()


async def test_an_image_that_goes_while_its_base_is_made(bench: Bench) -> None:
    image = await bench.image([entry("a", os.urandom(32 << 20))])
    task = asyncio.create_task(make(bench.images, image))
    await begun(bench)
    bench.images.remove("t")
    assert bench.images.list() == ()
    await task
    assert not list((bench.place / "images/bases").iterdir())
    assert not list((bench.place / "images/layers").iterdir())


async def test_what_a_killed_daemon_left(bench: Bench) -> None:
    image = await bench.image([entry("a")], name="a")
    other = await bench.image([entry("b")], name="b")
    base, lost = await make(bench.images, image), await make(bench.images, other)
    lost.unlink()
    (base.parent / "half").write_text("made")
    again = Bench(bench.place)
    again.trash = bench.trash
    await again.images.start()
    assert list(base.parent.iterdir()) == [base]
    assert again.images.base(image.diff_ids) == base
    assert again.images.base(other.diff_ids) is None
    assert (await make(again.images, other)).exists()


async def test_what_it_takes_up(bench: Bench) -> None:
    one = await bench.image([entry("low", b"1" * 10_000)], name="one")
    two = await bench.image([entry("low", b"1" * 10_000)], [entry("high", b"2" * 500)], name="two")
    alone = await bench.images.usage()
    (low, high), blobs = bench.images.layer_paths(two.diff_ids), bench.images._store.blobs
    shared = _taken(low) + blobs.taken(one.layers[0].digest)
    of_one = Footprint(size=shared + blobs.taken(one.id), shared=shared, base=0)
    own = _taken(high) + blobs.taken(two.layers[1].digest) + blobs.taken(two.id)
    assert alone.images == {one.id: of_one, two.id: Footprint(shared + own, shared, 0)}
    assert alone.size == _taken(bench.place / "images")
    base = (await make(bench.images, two)).stat().st_blocks * 512
    usage = await bench.images.usage()
    assert usage.size == _taken(bench.place / "images")
    assert usage.images == {one.id: of_one, two.id: Footprint(shared + own + base, shared, base)}


def _taken(path: Path) -> int:
    command = ["du", "--summarize", "--block-size=1", path]
    return int(subprocess.run(command, capture_output=True, check=True).stdout.split()[0])
