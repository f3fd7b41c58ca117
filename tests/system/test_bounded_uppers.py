"""Uppers of a size: nothing is left of their disks, and nothing lost, whoever dies."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from heft.guest import disks
from heft.host import loops, mounts
from tests.harness import leaks
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar
from tests.harness.pace import eventually
from tests.system.test_daemon_crash import die_at, points, state

pytestmark = pytest.mark.usefixtures("clean_host")

SIZE = {"size": "24m"}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "daemon").start()
    daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
    yield daemon
    daemon.clean_up()
    assert leaks.loops(daemon.data) == []


def create(daemon: Daemon, command: str = "sleep 1000") -> str:
    body = {
        "Image": BUSYBOX,
        "Cmd": ["sh", "-c", command],
        "StopSignal": "SIGKILL",
        "HostConfig": {"StorageOpt": SIZE, "NetworkMode": "none"},
    }
    answer = daemon.request("POST", "/containers/create?name=box", body)
    assert answer.status == 201, answer.body
    return str(answer.json["Id"])


@pytest.mark.parametrize("net", [9 << 20, 10 << 20, 100 << 20, 3 << 30])
async def test_so_much_can_be_written(tmp_path: Path, net: int) -> None:
    disk, place = tmp_path / "disk", tmp_path / "place"
    await disks.make_upper(disk, net, net=True)
    assert disks.check(disk) == ""
    place.mkdir()
    loops.mount(disk, place, "ext4")
    try:
        status = os.statvfs(place)
        assert net * 0.98 <= status.f_bavail * status.f_frsize <= net
        assert status.f_ffree >= net >> 14
    finally:
        mounts.unmount(place)
    assert leaks.loops(tmp_path) == []


async def test_one_device_a_file(tmp_path: Path) -> None:
    """Two of them would each have their own idea of what is in it."""
    disk = tmp_path / "disk"
    await disks.make_upper(disk, 9 << 20, net=True)
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
        loops.mount(disk, place, "ext4")
    (places[0] / "file").write_text("seen")
    assert (places[1] / "file").read_text() == "seen"
    assert places[0].stat().st_dev == places[1].stat().st_dev
    mounts.unmount(places[0])
    assert (places[1] / "file").exists()
    mounts.unmount(places[1])
    assert leaks.loops(tmp_path) == []


@pytest.mark.parametrize("point", ["light.mounted", "light.recorded", *points("start")])
def test_a_start(daemon: Daemon, point: str) -> None:
    create(daemon)
    die_at(daemon, point, "POST", "/containers/box/start")
    runs = point in ("start.released", "start.recorded")
    assert state(daemon, "box") == ("running" if runs else "created")
    assert runs or leaks.loops(daemon.data) == []
    assert daemon.request("POST", "/containers/box/start").status in (204, 304)
    heft = Client("heft", daemon)
    heft("exec", "box", "touch", "/here")
    heft("kill", "box")
    assert "A /here" in heft("diff", "box").stdout
    assert leaks.loops(daemon.data) == []


@pytest.mark.parametrize("point", points("create", "remove"))
def test_beginning_and_end(daemon: Daemon, point: str) -> None:
    removes = point.startswith("remove")
    if removes:
        create(daemon)
    body = {"Image": BUSYBOX, "Cmd": ["true"], "HostConfig": {"StorageOpt": SIZE}}
    if removes:
        die_at(daemon, point, "DELETE", "/containers/box")
    else:
        die_at(daemon, point, "POST", "/containers/create?name=box", body)
    made = point == "create.acknowledged"
    assert (state(daemon, "box") is not None) == made
    assert len(list((daemon.data / "machines").iterdir())) == made


def test_a_machine_that_outlives_its_daemon(daemon: Daemon, tmp_path: Path) -> None:
    create(daemon, "while sleep 0.05; do date >> /log; done")
    assert daemon.request("POST", "/containers/box/start").status == 204
    heft = Client("heft", daemon)
    daemon.restart()
    new = tmp_path / "new"
    new.write_bytes(os.urandom(1 << 20))
    heft("cp", new, "box:/new")
    assert "A /log" in heft("diff", "box").stdout
    daemon.kill()
    pid = int(subprocess.check_output(["pgrep", "-f", f"conmon.*{daemon.run}"]).split()[0])
    os.kill(pid, signal.SIGKILL)
    daemon.start()
    eventually(lambda: state(daemon, "box") == "exited")
    assert leaks.loops(daemon.data) == []
    heft("cp", "box:/new", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == new.read_bytes()


def test_a_reader_and_the_machine_at_once(daemon: Daemon) -> None:
    """Who reads of a machine that does not run has its disk mounted when it is started."""
    create(daemon)
    heft = Client("heft", daemon)
    heft("start", "box")
    heft("exec", "box", "dd", "if=/dev/urandom", "of=/big", "bs=1M", "count=20")
    heft("kill", "box")
    command = [*heft.program, "export", "box"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=heft.environment) as reader:
        assert reader.stdout is not None
        reader.stdout.read(1000)
        heft("start", "box")
        heft("exec", "box", "sh", "-c", "rm /big; echo new > /new")
        reader.stdout.read()
    heft("kill", "box")
    assert "A /new" in heft("diff", "box").stdout
    machine = daemon.request("GET", "/containers/box/json").json["Id"]
    assert leaks.loops(daemon.data) == []
    disk = daemon.data / "machines" / machine / "upper" / "bounded.ext4"
    done = subprocess.run(["e2fsck", "-fn", disk], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
