"""Uppers on a disk: what is made, what is seen of damage. They are mounted here: they are ours."""

import asyncio
import contextlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heft.errors import HostError, InvalidArgument
from heft.guest import disks, fsck
from heft.guest.disks import Owner
from heft.host import mounts

pytestmark = pytest.mark.usefixtures("clean_host")


async def make(directory: Path, size: int = 1 << 30, owner: Owner = disks.ROOT) -> Path:
    path = directory / "disk.ext4"
    await disks.make_upper(path, size, owner)
    return path


PATCHES = st.tuples(st.integers(0, 200_000), st.binary(min_size=1, max_size=64))
"""Where a guest writes what."""


def tool(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 0xFF]))


async def test_what_is_in_it(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    os.chown(layer, 3, 70000)
    layer.chmod(0o1751)
    path = await make(tmp_path, disks.DEFAULT_SIZE, Owner.of(layer))
    layer.rmdir()
    assert disks.check(path) == ""
    assert path.stat().st_size == disks.DEFAULT_SIZE
    assert disks.usage(path) < 1 << 20
    assert os.listdir(tmp_path) == ["disk.ext4"]
    place = tmp_path / "place"
    place.mkdir()
    tool("mount", "-o", "loop", path, place)
    try:
        upper, work = (place / "upper").stat(), (place / "work").stat()
        assert (upper.st_uid, upper.st_gid, stat.S_IMODE(upper.st_mode)) == (3, 70000, 0o1751)
        assert (work.st_uid, stat.S_IMODE(work.st_mode)) == (0, 0o700)
        (place / "upper" / "file").write_bytes(b"x" * 5_000_000)
        os.setxattr(place / "upper", "trusted.overlay.opaque", b"y")
    finally:
        mounts.unmount(place, lazy=False)
    assert disks.check(path) == ""
    assert disks.usage(path) > 5_000_000


async def test_one_that_is_there_stays(tmp_path: Path) -> None:
    path = await make(tmp_path)
    before = path.stat()
    await make(tmp_path, 2 << 30)
    assert path.stat() == before


async def test_what_a_killed_daemon_left_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "disk.ext4.new").write_text("half made")
    (tmp_path / "disk.ext4.tree").mkdir()
    (tmp_path / "disk.ext4.tree" / "upper").mkdir()
    assert disks.check(await make(tmp_path)) == ""
    assert os.listdir(tmp_path) == ["disk.ext4"]


@pytest.mark.parametrize("size", [0, disks.LEAST_SIZE - 1, disks.MOST_SIZE + 1])
async def test_sizes_that_cannot_be(tmp_path: Path, size: int) -> None:
    with pytest.raises(InvalidArgument, match=str(size)):
        await make(tmp_path, size)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", [disks.LEAST_SIZE, 100 << 30, 2 << 40])
async def test_sizes_that_can_be(tmp_path: Path, size: int) -> None:
    path = await make(tmp_path, size)
    assert disks.check(path) == ""
    tool("e2fsck", "-fn", path)


async def test_damage_is_seen(tmp_path: Path) -> None:
    path = await make(tmp_path)
    assert "no such file" in disks.check(tmp_path / "other")
    os.mkfifo(tmp_path / "pipe")
    assert disks.check(tmp_path / "pipe") == "not a regular file", "and it is not waited for"
    assert disks.check(tmp_path) == "is a directory"
    flip(path, 1024 + 0x38)
    assert "none of ext4" in disks.check(path)
    flip(path, 1024 + 0x38)
    flip(path, 1024 + 0x100)
    assert "damaged" in disks.check(path)
    flip(path, 1024 + 0x100)
    assert disks.check(path) == ""
    os.truncate(path, 1 << 29)
    assert "its file system 1073741824" in disks.check(path)
    os.truncate(path, 100)
    assert "too few" in disks.check(path)


async def test_all_of_it_is_looked_through(tmp_path: Path) -> None:
    path = await make(tmp_path)
    assert await disks.look_through(path) == ""
    tool("debugfs", "-w", "-R", "clri <12>", path)  # the directory `upper` has no inode now
    before = path.read_bytes()[: 1 << 22]
    assert disks.check(path) == ""
    assert await disks.look_through(path) == "its file system has errors"
    assert path.read_bytes()[: 1 << 22] == before


async def test_repair(tmp_path: Path) -> None:
    path = await make(tmp_path)
    assert not await disks.repair(path)
    tool("debugfs", "-w", "-R", "set_inode_field <12> links_count 7", path)
    assert await disks.look_through(path)
    assert await disks.repair(path)
    assert await disks.look_through(path) == ""


async def test_a_disk_of_another_user(tmp_path: Path) -> None:
    path = await make(tmp_path)
    os.chown(path, 12345, 54321)
    tool("debugfs", "-w", "-R", "set_inode_field <12> links_count 7", path)
    assert await disks.repair(path)
    assert await disks.look_through(path) == ""


async def test_repair_without_a_superblock(tmp_path: Path) -> None:
    path = await make(tmp_path)
    with path.open("r+b") as file:
        file.seek(1024)
        file.write(os.urandom(1024))
    with pytest.raises(HostError, match="without loss"):
        await disks.repair(path)
    assert await disks.repair(path, thoroughly=True)
    assert await disks.look_through(path) == ""
    tool("debugfs", "-R", "stat /upper", path)


async def test_a_disk_that_is_nothing_but_noise(tmp_path: Path) -> None:
    path = tmp_path / "disk.ext4"
    path.write_bytes(os.urandom(8 << 20))
    with pytest.raises(HostError, match=str(path)):
        await disks.repair(path, thoroughly=True)
    assert path.stat().st_size == 8 << 20


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    harm=st.lists(
        st.tuples(st.integers(0, 200_000), st.binary(min_size=1, max_size=64)), max_size=9
    )
)
def test_any_harm(tmp_path_factory: pytest.TempPathFactory, harm: list[tuple[int, bytes]]) -> None:
    """Whatever a guest writes, the host says so or mends it, within bounds."""
    directory = tmp_path_factory.mktemp("harm")

    async def suffer() -> None:
        path = await make(directory)
        with path.open("r+b") as file:
            for position, data in harm:
                file.seek(position)
                file.write(data)
        disks.check(path)
        with contextlib.suppress(HostError):
            await disks.look_through(path)
            await disks.repair(path, thoroughly=True)
        assert path.stat().st_size == 1 << 30
        assert os.listdir(directory) == ["disk.ext4"]

    asyncio.run(suffer())


def test_what_looks_at_it_reaches_nothing_else(tmp_path: Path) -> None:
    """A shell where e2fsck would be, as if a guest's disk had taken it over."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "disk").write_text("content")
    script = (
        "ls /; cat /disk; echo changed >/disk; touch /new /usr/new; mount -t tmpfs none /usr;"
        "cat /etc/passwd /root/.bashrc /proc/1/environ; chown 1 /disk; mknod /null c 1 3;"
        "kill -0 -1; setpriv --dump --dump; echo $$; chroot /usr/bin true"
    )
    program = (
        "import sys\nfrom heft.guest import fsck\n"
        f"own = fsck.command\nfsck.command = lambda *a: (*own(*a)[:-2], 'sh', '-c', {script!r})\n"
        "fsck.os.dup2 = lambda *_: None\nsys.exit(fsck.main())"
    )
    command = [sys.executable, "-c", program, tmp_path / "disk"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split("content", 1)[0].split() == sorted(
        ["disk", *(name for name in fsck._SHOWN if os.path.lexists(f"/{name}"))]
    ), done.stderr
    assert (tmp_path / "disk").read_text() == "changed", "and not a byte longer than it was"
    assert (tmp_path / "disk").stat().st_uid == 0
    assert not os.path.lexists("/usr/new")
    assert "Effective capabilities: [none]" in done.stdout
    assert "Permitted capabilities: [none]" in done.stdout
    assert "no_new_privs: 1" in done.stdout
    assert "secret" not in done.stdout
    assert "root:" not in done.stdout
    for refused in ("touch: cannot touch '/usr/new'", "mount: ", "chown: ", "mknod: ", "chroot: "):
        assert refused in done.stderr, refused
