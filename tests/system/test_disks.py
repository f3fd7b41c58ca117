"""Uppers on a disk: what is made, what is seen of damage. They are mounted here: they are ours."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from heft.errors import InvalidArgument
from heft.guest import disks
from heft.guest.disks import Owner
from heft.host import mounts

pytestmark = pytest.mark.usefixtures("clean_host")


async def make(directory: Path, size: int = 1 << 30, owner: Owner = disks.ROOT) -> Path:
    path = directory / "disk.ext4"
    await disks.make_upper(path, size, owner)
    return path


def tool(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 0xFF]))


async def test_what_is_in_it(tmp_path: Path) -> None:
    path = await make(tmp_path, disks.DEFAULT_SIZE, Owner(3, 70000, 0o1751))
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
