"""Volumes on a real file system: filled from images, kept, removed, finished after a kill."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from heft.errors import Conflict, InvalidArgument, NotFound
from heft.host.mounts import mounted_under
from heft.host.trash import Trash
from heft.store.database import Database
from heft.volumes.catalog import FILLING, Volumes

pytestmark = pytest.mark.usefixtures("clean_host")


def make(place: Path) -> Volumes:
    trash = Trash(place / "trash")
    trash.start()
    return Volumes(place / "volumes", Database(place / "store"), lambda *_: None, trash)


@pytest.fixture
async def volumes(tmp_path: Path) -> AsyncIterator[Volumes]:
    volumes = make(tmp_path)
    await volumes.start()
    return volumes


@pytest.fixture
def layers(tmp_path: Path) -> tuple[Path, ...]:
    low, high = tmp_path / "low", tmp_path / "high"
    (low / "data/deep").mkdir(parents=True)
    (low / "data/deep/file").write_text("low\n")
    (low / "data/covered").write_text("low\n")
    (high / "data").mkdir(parents=True)
    (high / "data/covered").write_text("high\n")
    (high / "data").chmod(0o750)
    os.chown(high / "data", 5, 6)
    os.symlink("deep/file", high / "data/link")
    os.link(high / "data/covered", high / "data/again")
    os.symlink("/etc", high / "out")
    return low, high


async def test_filled_from_an_image(volumes: Volumes, layers: tuple[Path, ...]) -> None:
    volume = await volumes.create("data")
    await volumes.populate(volume.name, layers, "/data")
    data = volumes.path("data")
    assert (data / "deep/file").read_text() == "low\n"
    assert (data / "covered").read_text() == "high\n"
    assert os.readlink(data / "link") == "deep/file"
    assert (data / "again").stat().st_ino == (data / "covered").stat().st_ino
    status = data.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (5, 6, 0o750)
    assert sorted(entry.name for entry in data.parent.iterdir()) == ["_data"]


async def test_what_holds_anything_is_left_alone(
    volumes: Volumes, layers: tuple[Path, ...]
) -> None:
    await volumes.create("data")
    (volumes.path("data") / "mine").write_text("mine\n")
    await volumes.populate("data", layers, "/data")
    assert [entry.name for entry in volumes.path("data").iterdir()] == ["mine"]


@pytest.mark.parametrize("target", ["/nothing", "/data/covered", "/out"])
async def test_nothing_to_copy(volumes: Volumes, layers: tuple[Path, ...], target: str) -> None:
    await volumes.create("data")
    await volumes.populate("data", layers, target)
    assert list(volumes.path("data").iterdir()) == []


async def test_names_and_options(volumes: Volumes) -> None:
    for name in ("../etc", "/abs", ".hidden", "a b", "x" * 256):
        with pytest.raises(InvalidArgument, match="includes invalid characters"):
            await volumes.create(name)
    with pytest.raises(NotFound, match="plugin"):
        await volumes.create("data", driver="cloud")
    with pytest.raises(InvalidArgument, match="missing required option"):
        await volumes.create("data", options={"type": "nfs"})
    assert volumes.list() == ()
    assert len((await volumes.create()).name) == 64


async def test_in_use(volumes: Volumes) -> None:
    await volumes.create("data")
    with pytest.raises(Conflict, match=r"volume is in use - \[abc\]"):
        volumes.remove("data", users=["abc"])
    volumes.remove("data", users=[])
    with pytest.raises(NotFound):
        volumes.remove("data", users=[])
    volumes.remove("data", users=[], force=True)


async def test_pruning(volumes: Volumes) -> None:
    for name in ("used", "wanted", "idle"):
        await volumes.create(name)
        (volumes.path(name) / "file").write_text("12345")
    removed, freed = volumes.prune(
        keep=lambda volume: volume.name == "wanted",
        in_use=frozenset({"used"}),
        sizes=await volumes.sizes(["used", "wanted", "idle", "none"]),
    )
    assert (removed, freed) == (("idle",), 5)


async def test_a_new_daemon_finishes(tmp_path: Path, volumes: Volumes) -> None:
    await volumes.create("data")
    (volumes.path("data") / "file").write_text("kept\n")
    (volumes.path("data").parent / FILLING).mkdir()
    volumes.path("unknown").mkdir(parents=True)
    again = make(tmp_path)
    await again.start()
    assert (again.path("data") / "file").read_text() == "kept\n"
    assert sorted(path.name for path in (tmp_path / "volumes").iterdir()) == ["data"]
    assert sorted(path.name for path in (tmp_path / "volumes/data").iterdir()) == ["_data"]


async def test_in_use_while_its_files_are_copied(volumes: Volumes) -> None:
    await volumes.create("vol", options={"type": "tmpfs", "device": "tmpfs"})
    async with volumes.held(["vol"]):
        with pytest.raises(Conflict, match="volume is in use: its files are being copied"):
            volumes.remove("vol", users=())
        names, _ = volumes.prune(keep=lambda _: False, in_use=frozenset(), sizes={})
        assert names == ()
    volumes.remove("vol", users=())


async def test_mounted_once_for_all_who_hold_it(volumes: Volumes, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    options = {"type": "none", "o": "bind", "device": str(tmp_path / "place")}
    await volumes.create("vol", options=options)
    async with volumes.held(["vol"]), volumes.held(["vol"]):
        assert len(mounted_under(volumes.path("vol"))) == 1
    assert mounted_under(volumes.path("vol")) == ()
