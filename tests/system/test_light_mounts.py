"""Mounts and paths, as the kernel makes and resolves them."""

import errno
import gc
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from heft.errors import HostError
from heft.host import mounts, paths

pytestmark = pytest.mark.usefixtures("clean_host")


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "target"
    path.mkdir()
    yield path
    for mounted in mounts.mounted_under(tmp_path):
        mounts.unmount(mounted)


def layer(path: Path, **files: str) -> Path:
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).write_text(content)
    return path


def test_upper_layers_hide_lower_ones(tmp_path: Path, target: Path) -> None:
    low = layer(tmp_path / "1", a="low", b="low")
    high = layer(tmp_path / "2", b="high")
    upper, work = layer(tmp_path / "diff"), layer(tmp_path / "work")
    mounts.overlay(target, (low, high), upper=upper, work=work)
    (target / "c").write_text("new")
    assert (target / "a").read_text() == "low"
    assert (target / "b").read_text() == "high"
    assert (upper / "c").read_text() == "new"


@pytest.mark.parametrize("count", [1, 2])
def test_without_an_upper_nothing_can_be_written(tmp_path: Path, target: Path, count: int) -> None:
    mounts.overlay(target, [layer(tmp_path / str(n), **{f"f{n}": ""}) for n in range(count)])
    assert len(list(target.iterdir())) == count
    with pytest.raises(OSError, match="Read-only"):
        (target / "new").touch()


def test_many_layers_with_long_and_odd_names(tmp_path: Path, target: Path) -> None:
    gc.collect()  # what earlier tests left open
    before = len(os.listdir("/proc/self/fd"))
    name = "long, odd: and \\ " + "x" * 150
    lowers = [layer(tmp_path / f"{n}-{name}", **{f"f{n}": ""}) for n in range(127)]
    upper, work = layer(tmp_path / f"diff {name}"), layer(tmp_path / f"work {name}")
    mounts.overlay(target, lowers, upper=upper, work=work)
    assert len(list(target.iterdir())) == 127
    (target / "new").touch()
    assert (upper / "new").exists()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_mount_that_fails_says_which(tmp_path: Path, target: Path) -> None:
    with pytest.raises(HostError, match=f"cannot mount overlay on {target}"):
        mounts.overlay(target, (tmp_path / "gone", tmp_path / "gone too"))


def test_a_read_only_bind_is_so_in_its_submounts_too(tmp_path: Path, target: Path) -> None:
    source = layer(tmp_path / "source")
    (source / "sub").mkdir()
    mounts.mount("tmpfs", source / "sub", options=("size=1m",))
    mounts.bind(source, target, read_only=True)
    with pytest.raises(OSError, match="Read-only"):
        (target / "sub/file").touch()
    (source / "sub/file").touch()
    assert (target / "sub/file").exists()


def test_a_file_can_be_bound(tmp_path: Path) -> None:
    source = layer(tmp_path / "source", a="shown") / "a"
    target = layer(tmp_path / "target", b="hidden") / "b"
    mounts.bind(source, target)
    assert target.read_text() == "shown"
    mounts.unmount(target)
    assert target.read_text() == "hidden"


def test_unmounting_again_is_harmless(target: Path) -> None:
    mounts.mount("tmpfs", target)
    mounts.unmount(target)
    mounts.unmount(target)
    mounts.unmount(target / "gone")
    assert mounts.mounted_under(target) == ()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = layer(tmp_path / "root", inside="inside")
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("inside")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "up").symlink_to("../../../../../../../../etc/passwd")
    (root / "out").symlink_to("/..")
    (root / "loop").symlink_to("loop")
    (root / "magic").symlink_to("/proc/self/root")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / "socket"))
    return root


@pytest.mark.parametrize("name", ["/etc/passwd", "etc/passwd", "absolute", "up", "out/etc/passwd"])
def test_no_link_leads_out_of_the_tree(tree: Path, name: str) -> None:
    assert paths.read_in_root(tree, name, 100) == b"inside"


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("gone", errno.ENOENT),
        ("magic/etc/passwd", errno.ENOENT),
        ("loop", errno.ELOOP),
        ("fifo", errno.EINVAL),
        ("socket", errno.EINVAL),
        ("etc", errno.EINVAL),
    ],
)
def test_what_is_no_file_is_not_read(tree: Path, name: str, number: int) -> None:
    with pytest.raises(OSError, match=rf"\[Errno {number}\]"):
        paths.read_in_root(tree, name, 100)


def test_a_file_that_is_too_large_is_refused(tree: Path) -> None:
    assert paths.read_in_root(tree, "inside", 6) == b"inside"
    with pytest.raises(OSError, match="File too large"):
        paths.read_in_root(tree, "inside", 5)


def test_directories_are_made_inside_the_tree(tree: Path, tmp_path: Path) -> None:
    (tree / "link").symlink_to("/etc")
    paths.make_directories(tree, "/link/a/../b/c")
    assert (tree / "etc/b/c").is_dir()
    paths.make_directories(tree, "/out/outside")
    assert (tree / "outside").is_dir()
    assert not (tmp_path / "outside").exists()
    with pytest.raises(NotADirectoryError):
        paths.make_directories(tree, "/inside/x")
