"""What a machine wrote goes from form to form bit for bit; a disk that lies harms nobody."""

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heft.errors import HostError
from heft.guest import disks
from heft.host import loops, mounts
from heft.images import marks
from heft.model.upper import Form, Upper
from heft.uppers.carrying import carry
from heft.uppers.entries import Damaged, Entry, Piece, is_name
from heft.uppers.ext4 import FileSystem
from heft.uppers.landing import Landing
from heft.uppers.reading import reading
from tests.harness import leaks, trees

pytestmark = pytest.mark.usefixtures("clean_host")

_marks = st.lists(st.sampled_from([b"gone", b"opaque", b"trusted"]), unique=True)


def forms(uppers: Path) -> dict[Form, Upper]:
    return {
        Form.TREE: Upper(Form.TREE, uppers, "diff"),
        Form.BOUNDED: Upper(Form.BOUNDED, uppers / "bounded.ext4", "upper", 24 << 20),
        Form.DISK: Upper(Form.DISK, uppers / "disk.ext4", "upper"),
    }


def mark(directory: bytes, wanted: list[bytes]) -> None:
    """Make what only overlayfs, or root, makes."""
    if b"gone" in wanted:
        marks.make_whiteout(os.fsdecode(directory + b"/.gone"))
    if b"opaque" in wanted:
        os.mkdir(directory + b"/.opaque")
        marks.make_opaque(os.fsdecode(directory + b"/.opaque"))
    if b"trusted" in wanted:
        os.mkdir(directory + b"/.trusted")
        os.setxattr(directory + b"/.trusted", "trusted.mine", b"\0x" * 1000)
        os.setxattr(directory + b"/.trusted", "trusted.overlay.overlay.opaque", b"y")
        acl = bytes.fromhex("0200000001000600ffffffff02000700e803000004000400ffffffff")
        acl += bytes.fromhex("10000600ffffffff20000400ffffffff")
        os.setxattr(directory + b"/.trusted", "system.posix_acl_access", acl)
        os.setxattr(directory + b"/.trusted", "system.posix_acl_default", acl)


def whole(directory: bytes) -> dict[bytes, tuple[object, ...]]:
    status = os.stat(directory)
    own = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)
    return {**trees.look(directory, sockets=True), b"/": own}


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(trees.trees, _marks)
def test_any_tree_goes_there_and_back(tree: list[trees.Node], wanted: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as place:
        uppers = Path(place)
        own = forms(uppers)
        diff = os.fsencode(uppers / "diff")
        for name in ("diff", "work"):
            (uppers / name).mkdir()
        trees.make(diff, tree)
        mark(diff, wanted)
        os.chmod(diff, 0o1751)
        os.chown(diff, 3, 70000)
        os.utime(diff, ns=(5, 1_600_000_000_123_456_789))
        before = whole(diff)
        for source, target in (
            (Form.TREE, Form.DISK),
            (Form.DISK, Form.BOUNDED),
            (Form.BOUNDED, Form.DISK),
            (Form.DISK, Form.TREE),
        ):
            asyncio.run(carry(own[source], own[target], uppers, "box"))
            for name in own[source].names:
                left = uppers / name
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            assert {each.name for each in uppers.iterdir()} == own[target].names
            if target is not Form.TREE:
                assert disks.check(own[target].path) == ""
        assert whole(diff) == before
        assert leaks.loops(uppers) == []


def filled(place: Path) -> Path:
    """Give a disk with something of everything, and with much of some."""
    disk, point = place / "disk.ext4", place / "point"
    asyncio.run(disks.make_upper(disk, 64 << 20))
    point.mkdir()
    loops.mount(disk, point, "ext4")
    upper = point / "upper"
    for number in range(400):
        (upper / f"many-{number}").write_text(str(number))
    with (upper / "pieces").open("wb") as file:
        for number in range(400):  # a tree of extents, more than there is room for in an inode
            file.seek(number * 8192)
            file.write(b"x")
    os.symlink("l" * 200, upper / "long")
    os.symlink("short", upper / "short")
    os.mknod(upper / "device", stat.S_IFBLK, os.makedev(300, 70000))
    mark(os.fsencode(upper), [b"gone", b"opaque", b"trusted"])
    mounts.unmount(point, lazy=False)
    return disk


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("disk"))


def test_a_disk_as_the_kernel_writes_it(disk: Path, tmp_path: Path) -> None:
    uppers = tmp_path
    shutil.copy(disk, uppers / "disk.ext4")
    own = forms(uppers)
    asyncio.run(carry(own[Form.DISK], own[Form.TREE], uppers, "box"))
    point = tmp_path / "point"
    point.mkdir()
    loops.mount(uppers / "disk.ext4", point, "ext4", ("ro",))
    try:
        assert whole(os.fsencode(uppers / "diff")) == whole(os.fsencode(point / "upper"))
    finally:
        mounts.unmount(point, lazy=False)
    assert (uppers / "diff/pieces").stat().st_blocks * 512 < 3 << 20, "its holes are holes"
    assert os.lstat(uppers / "diff/device").st_rdev == os.makedev(300, 70000)


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 2**20), st.binary(min_size=1, max_size=24)), max_size=6))
def test_a_disk_that_lies(disk: Path, lies: list[tuple[int, bytes]]) -> None:
    """Whatever is in it, it is read to an end, and only what is so can come of it."""
    with tempfile.TemporaryFile() as file:
        with disk.open("rb") as good:
            os.sendfile(file.fileno(), good.fileno(), 0, 64 << 20)
        for place, data in lies:
            os.pwrite(file.fileno(), data, place)
        with contextlib.suppress(Damaged):
            for count, entry in enumerate(FileSystem(file.fileno()).entries(b"upper")):
                assert count < 1_000_000
                assert entry is None or len(entry.name) <= 255


def test_a_damaged_disk_is_named_and_nothing_comes_of_it(disk: Path, tmp_path: Path) -> None:
    shutil.copy(disk, tmp_path / "disk.ext4")
    own = forms(tmp_path)
    with (tmp_path / "disk.ext4").open("r+b") as file:
        file.seek(1024)
        file.write(bytes(1024))
    with pytest.raises(HostError, match="the disk of container box is damaged"):
        asyncio.run(carry(own[Form.DISK], own[Form.TREE], tmp_path, "box"))
    assert [each.name for each in tmp_path.iterdir()] == ["disk.ext4"]


def test_what_does_not_fit(tmp_path: Path) -> None:
    for name in ("diff", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "diff/large").write_bytes(bytes(30 << 20))
    own = forms(tmp_path)
    with pytest.raises(HostError, match="what container box wrote cannot be carried over: large"):
        asyncio.run(carry(own[Form.TREE], own[Form.BOUNDED], tmp_path, "box"))


def test_a_journal_is_replayed_first(tmp_path: Path) -> None:
    """A guest that was killed has left the last that it wrote in there."""
    disk, point, copy = tmp_path / "written", tmp_path / "point", tmp_path / "disk.ext4"
    asyncio.run(disks.make_upper(disk, 64 << 20))
    point.mkdir()
    loops.mount(disk, point, "ext4")
    (point / "upper/file").write_text("kept")
    subprocess.run(["sync", "-f", point / "upper/file"], check=True)
    shutil.copy(disk, copy)  # as it is while it is mounted
    mounts.unmount(point, lazy=False)
    own = forms(tmp_path)
    asyncio.run(carry(own[Form.DISK], own[Form.TREE], tmp_path, "box"))
    assert (tmp_path / "diff/file").read_text() == "kept"


def test_another_guest_takes_the_very_file(tmp_path: Path) -> None:
    (tmp_path / "disk.ext4").write_bytes(b"a guest's")
    old, new = forms(tmp_path)[Form.DISK], Upper(Form.DISK, tmp_path / "other.ext4", "upper")
    asyncio.run(carry(old, new, tmp_path, "box"))
    assert new.path.samefile(old.path)


def test_what_reads_it_can_do_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = {
        "open": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "connect": socket.socket,
        "fork": os.fork,
        "signal": lambda: os.kill(os.getppid(), 0),
        "become root": lambda: os.setuid(0),
        "write to the disk": lambda: os.write(3, b"x"),
        "read the disk": lambda: os.pread(3, 1, 0),
    }

    class Fallen:
        """What a disk has talked into something."""

        def __init__(self, file: int) -> None:
            assert file == 3

        def entries(self, name: bytes) -> Iterator[Entry]:
            for what, attempt in tried.items():
                try:
                    attempt()
                except OSError as error:
                    yield entry(what, error.errno or 0)
                else:
                    yield entry(what, 0)

    def entry(what: str, number: int) -> Entry:
        return Entry(what.encode(), 0, 0, 0, 0, 0, device=number)

    monkeypatch.setattr("heft.uppers.reading.FileSystem", Fallen)
    disk = tmp_path / "disk"
    disk.write_bytes(b"x")
    with disk.open("rb") as file, reading(file.fileno(), b"upper") as entries:
        found = {each.name.decode(): each.device for each in entries if each is not None}
    refused = dict.fromkeys(tried, errno.EPERM)
    assert found == {**refused, "write to the disk": errno.EBADF, "read the disk": 0}


def test_names_that_lead_elsewhere() -> None:
    assert not any(map(is_name, (b"", b".", b"..", b"a/b", b"/", b"a\0", b"n" * 256)))
    assert all(map(is_name, (b"...", b".wh.x", b"\n", b"n" * 255)))


def test_less_than_nothing_makes_no_room_for_more(tmp_path: Path) -> None:
    root = Entry(b".", stat.S_IFDIR | 0o700, 0, 0, 0, 0)
    pieces = (Piece(0, 0, -(1 << 40)), Piece(0, 0, 1 << 40))
    lie = Entry(b"f", stat.S_IFREG | 0o600, 0, 0, 0, 0, pieces=pieces)
    (tmp_path / "tree").mkdir()
    leaves_its_directory = contextlib.chdir(tmp_path)
    with leaves_its_directory, pytest.raises(Damaged, match="f has less than nothing"):
        Landing(lambda: -1, 1 << 20).land(
            str(tmp_path / "tree"), str(tmp_path / "names"), iter((root, lie, None))
        )
    assert not list((tmp_path / "tree").iterdir())
