"""What of the host is shown in a machine, and where."""

from pathlib import Path

import pytest

from heft.errors import HeftError
from heft.model.machine import MountKind, MountPoint
from tests.conformance.conftest import WEIGHTS, Bench, logged

pytestmark = pytest.mark.parametrize("bench", WEIGHTS, indirect=True)


def bind(source: Path, target: str, **how: object) -> MountPoint:
    return MountPoint(kind=MountKind.BIND, source=str(source), target=target, **how)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give a directory to be shown."""
    (tmp_path / "place/sub").mkdir(parents=True)
    (tmp_path / "place/file").write_text("host\n")
    return tmp_path / "place"


async def test_a_directory_and_a_file_are_those_of_the_host(bench: Bench, place: Path) -> None:
    script = "cat /x/file /one; echo more >>/one; mkdir /x/new; echo new >/x/new/file"
    mounts = (bind(place / "file", "/one"), bind(place, "/x"))
    assert await bench.output("sh", "-c", script, mounts=mounts) == "host\nhost\n"
    assert (place / "file").read_text() == "host\nmore\n"
    assert (place / "new/file").read_text() == "new\n"


async def test_what_is_read_only_stays_as_it_is(bench: Bench, place: Path) -> None:
    script = "for at in /x/new /x/sub/new /one; do echo x >$at; done; mkdir /x/dir; rm /x/file"
    mounts = (
        bind(place / "file", "/one", read_only=True),
        bind(place, "/x", read_only=True),
    )
    launch = await bench.started("sh", "-c", script, mounts=mounts)
    assert (await bench.ended(launch)).code != 0
    said = "".join(text for _, text in logged(launch))
    assert said.count("Read-only file system") == 5
    assert sorted(path.name for path in place.iterdir()) == ["file", "sub"]


async def test_mounts_lie_in_each_other(bench: Bench, place: Path, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    script = "echo 1 >/x/a; echo 2 >/x/sub/b; echo 3 >/x/fast/c; ls /x /x/sub /x/fast"
    mounts = (
        bind(place, "/x"),
        MountPoint(kind=MountKind.TMPFS, source="", target="/x/fast"),
        bind(tmp_path / "inner", "/x/sub"),
    )
    seen = await bench.output("sh", "-c", script, mounts=mounts)
    assert seen.split() == ["/x:", *("a", "fast", "file", "sub"), "/x/fast:", "c", "/x/sub:", "b"]
    assert [path.name for path in (tmp_path / "inner").iterdir()] == ["b"]
    assert list((place / "sub").iterdir()) == list((place / "fast").iterdir()) == []


async def test_a_part_of_a_volume_stays_inside_it(bench: Bench, place: Path) -> None:
    (place / "sub/deep").write_text("deep\n")
    (place / "out").symlink_to("/sub")
    volume = bind(place, "/v", subpath="out")
    assert await bench.output("cat", "/v/deep", mounts=(volume,)) == "deep\n"
    (place / "out").unlink()
    (place / "out").symlink_to("../../..")
    launch = bench.launch("true", mounts=(bind(place, "/v", subpath="out/etc"),))
    await bench.weight.provision(launch)
    with pytest.raises(HeftError, match=r"cannot access path .*/out/etc: no such file"):
        await bench.weight.prepare(launch)


async def test_the_users_own_hosts_file_is_a_file_like_any(bench: Bench, place: Path) -> None:
    mounts = (bind(place / "file", "/etc/hosts"),)
    assert await bench.output("cat", "/etc/hosts", mounts=mounts) == "host\n"


async def test_they_are_there_without_a_template_too(bench: Bench, place: Path) -> None:
    parts = {"mounts": (bind(place, "/x"),), "cold_boot": True}
    assert await bench.output("cat", "/x/file", **parts) == "host\n"
