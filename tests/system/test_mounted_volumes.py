"""Volumes that are mounted for machines: taken over or let go of, whenever a daemon dies."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar
from tests.system.test_daemon_crash import create, die_at, points, state

pytestmark = pytest.mark.usefixtures("clean_host")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path).start()
    daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
    options = {"type": "tmpfs", "device": "tmpfs"}
    answer = daemon.request("POST", "/volumes/create", {"Name": "vol", "DriverOpts": options})
    assert answer.status == 201, answer.body
    yield daemon
    daemon.clean_up()
    assert not is_mounted(daemon)


def is_mounted(daemon: Daemon) -> bool:
    return f" {daemon.data}/volumes/vol/_data " in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("point", points("start"))
def test_a_start(daemon: Daemon, point: str) -> None:
    assert create(daemon, "box", Binds=["vol:/v"]) == 201
    die_at(daemon, point, "POST", "/containers/box/start")
    assert is_mounted(daemon) == (state(daemon, "box") == "running")
    assert daemon.request("POST", "/containers/box/start").status in (204, 304)
    assert is_mounted(daemon)
    assert daemon.request("POST", "/containers/box/kill").status == 204
    assert not is_mounted(daemon)


@pytest.mark.parametrize("point", points("exit"))
def test_an_end(daemon: Daemon, point: str) -> None:
    assert create(daemon, "box", Binds=["vol:/v"]) == 201
    assert daemon.request("POST", "/containers/box/start").status == 204
    die_at(daemon, point, "POST", "/containers/box/kill")
    daemon.request("POST", "/containers/box/wait")
    assert not is_mounted(daemon)
