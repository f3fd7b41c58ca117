"""`heft fsck`: what is damaged in the image store is found, named, and mended where it can be."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heft.images.checking import Finding
from heft.images.layers import chain_ids
from heft.images.reference import Reference
from heft.images.removal import ImageUser
from heft.model.image import Image
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar
from tests.harness.layers import Bench, archive, directory, entry, hard, link, once, pack

pytestmark = pytest.mark.usefixtures("clean_host")

LOWER = [
    directory("etc"),
    entry("etc/passwd", b"root"),
    link("etc/link", "passwd"),
    hard("etc/hard", "etc/passwd"),
    entry("gone"),
]
UPPER = [entry("etc/new", b"1" * 100), entry(".wh.gone"), entry("deep/down/file")]


async def check(bench: Bench, *users: ImageUser, repair: bool = False) -> dict[str, Finding]:
    found = await bench.images.check(
        lambda: users, repair=repair, known={}, progress=lambda *_: None
    )
    return {each.kind: each for each in found}


def rewritten(layer: Path) -> None:
    status = (layer / "etc/new").stat()
    (layer / "etc/new").write_bytes(b"2" * 100)
    os.utime(layer / "etc/new", ns=(status.st_atime_ns, status.st_mtime_ns))


def opened(layer: Path) -> None:
    (layer / "etc/new").chmod(0o666)


def taken(layer: Path) -> None:
    (layer / "etc/new").unlink()


def given(layer: Path) -> None:
    (layer / "deep/down/evil").touch()


def unhidden(layer: Path) -> None:
    (layer / "gone").unlink()


def exchanged(layer: Path) -> None:
    (layer / "etc/new").unlink()
    (layer / "etc/new").symlink_to("/etc/shadow")


def removed(layer: Path) -> None:
    shutil.rmtree(layer)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (rewritten, "etc/new has another content"),
        (opened, "etc/new has other attributes"),
        (taken, "etc/new is missing"),
        (given, "deep/down/evil should not be there"),
        (unhidden, "gone is missing"),
        (exchanged, "etc/new is another kind of file"),
        (removed, "its directory is missing"),
    ],
)
async def test_a_damaged_layer(bench: Bench, damage: Callable[[Path], None], says: str) -> None:
    image = await bench.image(LOWER, UPPER, name="two:1")
    await bench.image(LOWER, name="one:1")
    base = await bench.images.ensure_base(image.diff_ids, lambda *_: None)
    assert await check(bench) == {}
    damage(bench.images.layer_paths(image.diff_ids)[1])
    running = ImageUser("a" * 64, image.id, True, image.diff_ids)
    found = await check(bench, running, repair=True)
    assert found["layer"].problem == says
    assert found["layer"].images == ("two:1",)
    assert found["layer"].machines == (running.machine_id,)
    assert "stop aaaaaaaaaaaa" in found["layer"].todo
    found = await check(bench)
    assert (found["layer"].done, found["layer"].todo) == ("", "fsck --repair makes it of its blob")
    before = base.stat().st_ino
    found = await check(bench, repair=True)
    assert found.keys() == {"layer", "base"}
    assert found["layer"].done == "it was made again of its blob"
    assert base.stat().st_ino != before
    assert await check(bench) == {}
    assert len(list((bench.place / "images/layers").iterdir())) == 2


async def test_a_damaged_lower_layer_is_mended_first(bench: Bench) -> None:
    image = await bench.image(LOWER, UPPER)
    low, high = bench.images.layer_paths(image.diff_ids)
    (low / "etc/passwd").write_bytes(b"evil")
    (high / "etc/new").unlink()
    found = await bench.images.check(tuple, repair=True, known={}, progress=lambda *_: None)
    assert [each.name for each in found] == list(chain_ids(image.diff_ids))
    assert all(each.done for each in found)
    assert await check(bench) == {}


def of_config(image: Image) -> str:
    return image.id


def of_layer(image: Image) -> str:
    return image.layers[1].digest


@pytest.mark.parametrize("which", [of_config, of_layer])
@pytest.mark.parametrize("lost", [False, True])
async def test_a_damaged_blob(bench: Bench, which: Callable[[Image], str], lost: bool) -> None:
    saved = archive(pack(*LOWER), pack(*UPPER), name="two:1")
    await bench.images.load(once(saved), progress=lambda *_: None)
    image = bench.images.resolve("two:1")
    digest = which(image)
    blob = bench.place / "images/blobs/sha256" / digest.removeprefix("sha256:")
    if lost:
        blob.unlink()
    else:
        blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    found = (await check(bench, repair=True))["blob"]
    assert (found.name, found.images) == (digest, ("two:1",))
    assert ("missing" if lost else "digest") in found.problem
    assert "load" in found.todo
    assert not blob.exists()
    await bench.images.load(once(saved), progress=lambda *_: None)
    assert await check(bench) == {}


async def test_a_damaged_base_and_a_name_of_nothing(bench: Bench) -> None:
    image = await bench.image(LOWER, name="one:1")
    base = await bench.images.ensure_base(image.diff_ids, lambda *_: None)
    content = base.read_bytes()
    base.chmod(0o600)
    base.write_bytes(content[:-1] + b"?")
    name = Reference.parse("nothing:1")
    bench.images._store.names[str(name)] = "sha256:" + "0" * 64
    lost = ImageUser("b" * 64, "", False, ("sha256:" + "1" * 64,))
    found = await check(bench, lost, repair=True)
    assert found["base"].done == "it was made again of its layers"
    assert base.read_bytes() == content
    assert found["name"].name == "nothing:1"
    assert "1" * 64 in found["machine"].problem
    assert await check(bench) == {}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "d").start()
    daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
    yield daemon
    daemon.clean_up()


def test_the_command_beside_machines(daemon: Daemon) -> None:
    heft = Client("heft", daemon)
    assert heft("fsck", "--quiet").stdout == "nothing is damaged\n"
    heft("run", "-d", "--name", "busy", "--network", "none", BUSYBOX, "sleep", "1000")
    (layer,) = (daemon.data / "images/layers").iterdir()
    (layer / "etc/passwd").write_text("evil")
    found = heft("fsck", "--repair", check=False)
    assert found.returncode == 4
    assert "etc/passwd has another content" in found.stdout
    assert f"images: {BUSYBOX}:latest" in found.stdout
    assert "which run on it" in found.stdout
    heft("rm", "-f", "busy")
    heft("create", "--name", "idle", "--network", "none", BUSYBOX, "cat", "/etc/passwd")
    mended = heft("fsck", "--repair", check=False)
    assert mended.returncode == 1
    assert "1 damaged, 1 of them repaired" in mended.stdout
    assert heft("start", "-a", "idle").stdout.startswith("root:")


CHANGES = """
rm /etc/group
rm -r /etc/new 2>/dev/null; mkdir -p /deep/down
rm -r /usr && mkdir /usr && echo 1 >/usr/only
echo mine >/etc/mark; ln /etc/mark /etc/hard; ln -s mark /etc/link
chown 5:6 /etc/mark; chmod 4750 /etc/mark; mkfifo /deep/pipe
dd if=/dev/zero of=/deep/sparse bs=1 count=1 seek=1000000 2>/dev/null
"""


def test_a_commit_is_mended_of_its_layer(daemon: Daemon) -> None:
    heft = Client("heft", daemon)
    heft("run", "--name", "maker", "--network", "none", BUSYBOX, "sh", "-c", CHANGES)
    heft("commit", "-m", "more", "-a", "ann", "-c", "ENV A=b", "maker", "made:1")
    heft("rm", "maker")
    shown = json.loads(heft("inspect", "made:1").stdout)[0]
    layer = shown["RootFS"]["Layers"][-1]
    blobs = [daemon.data / "images/blobs/sha256" / each[7:] for each in (shown["Id"], layer)]
    contents = [blob.read_bytes() for blob in blobs]
    blobs[0].unlink()
    blobs[1].write_bytes(contents[1][:-1] + b"?")
    mended = heft("fsck", "--repair", check=False)
    assert "2 damaged, 2 of them repaired" in mended.stdout
    assert "made again of its layer" in mended.stdout
    assert [blob.read_bytes() for blob in blobs] == contents
    assert heft("fsck").stdout == "nothing is damaged\n"

    blobs[1].unlink()
    (pipe,) = (daemon.data / "images/layers").glob("*/deep/pipe")
    (pipe.parent.parent / "etc/mark").write_text("evil")
    left = heft("fsck", "--repair", check=False)
    assert left.returncode == 4
    assert "load, import or pull the image again" in left.stdout
    assert not blobs[1].exists()


@pytest.mark.parametrize("point", ["fsck.placed", "fsck.recorded"])
def test_a_daemon_killed_while_it_repairs(daemon: Daemon, point: str) -> None:
    (layer,) = (daemon.data / "images/layers").iterdir()
    (layer / "etc/passwd").write_text("evil")
    daemon.restart(HEFT_FAULT=point)
    heft = Client("heft", daemon)
    assert heft("fsck", "--repair", check=False).returncode == 1
    daemon.wait_dead()
    daemon.start()
    assert heft("fsck", "--repair", check=False).returncode == (point == "fsck.placed")
    assert heft("fsck").returncode == 0
    assert len(list((daemon.data / "images/layers").iterdir())) == 1
    assert list((daemon.data / "images/tmp").iterdir()) == []
