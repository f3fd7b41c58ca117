"""Users of machines that are others on the host: on the disk, and over the deaths of daemons."""

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar
from tests.harness.subordinate import subordinate_ids
from tests.system.test_daemon_crash import die_at, points, state

pytestmark = pytest.mark.usefixtures("clean_host")

FIRST, PIECE = 700000, 65536
SLEEP = ["sleep", "1000"]
SET_CAPABILITY = """
import os, sys
from heft.host.credentials import become_root_of
become_root_of(os.open(sys.argv[1] + "/ns/user", os.O_RDONLY))
os.setxattr(sys.argv[1] + "/root/bin/tool", "security.capability", bytes.fromhex(sys.argv[2]))
"""
NET_RAW = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
"""`struct vfs_cap_data`, version 2, effective (linux/capability.h): of whoever is root."""


@pytest.fixture
def ids(tmp_path: Path) -> Iterator[None]:
    with subordinate_ids(tmp_path, f"heft:{FIRST}:{2 * PIECE}\n"):
        yield


@pytest.fixture
def daemon(tmp_path: Path, ids: None) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "daemon", "--userns-remap", "default").start()
    daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
    yield daemon
    daemon.clean_up()


def create(daemon: Daemon, name: str, **host: Any) -> None:
    body = {"Image": BUSYBOX, "Cmd": SLEEP, "StopSignal": "SIGKILL", "HostConfig": host}
    answer = daemon.request("POST", f"/containers/create?name={name}", body)
    assert answer.status == 201, answer.body


def start(daemon: Daemon, name: str) -> int:
    """Start a machine, and give the host's pid of its workload."""
    answer = daemon.request("POST", f"/containers/{name}/start")
    assert answer.status in (204, 304), answer.body
    pid = daemon.request("GET", f"/containers/{name}/json").json["State"]["Pid"]
    assert isinstance(pid, int)
    return pid


def pins(daemon: Daemon) -> list[str]:
    return sorted(entry.name for entry in (daemon.run / "users").glob("*"))


@pytest.mark.parametrize("point", points("start"))
def test_a_start(daemon: Daemon, point: str) -> None:
    create(daemon, "box", UsernsMode="auto")
    die_at(daemon, point, "POST", "/containers/box/start")
    ran = point in ("start.released", "start.recorded")
    assert state(daemon, "box") == ("running" if ran else "created")
    assert len(pins(daemon)) == ran
    # There is one range for machines that want their own: it was given back, or is still its.
    assert os.stat(f"/proc/{start(daemon, 'box')}").st_uid == FIRST + PIECE
    assert len(pins(daemon)) == 1


@pytest.mark.parametrize("point", points("exit"))
def test_an_end(daemon: Daemon, point: str) -> None:
    create(daemon, "box", UsernsMode="auto")
    start(daemon, "box")
    die_at(daemon, point, "POST", "/containers/box/stop")
    assert daemon.request("POST", "/containers/box/wait").json["StatusCode"] == 137
    assert pins(daemon) == []
    create(daemon, "other", UsernsMode="auto")
    start(daemon, "other")


def test_a_machine_that_is_taken_over(daemon: Daemon, tmp_path: Path) -> None:
    create(daemon, "box")
    pid = start(daemon, "box")
    daemon.restart()
    assert start(daemon, "box") == pid
    heft = Client("heft", daemon)
    assert heft("exec", "box", "sh", "-c", "touch /made; stat -c %u /made").stdout == "0\n"
    new = tmp_path / "new"
    new.write_text("new")
    heft("cp", new, "box:/new")
    assert heft("exec", "box", "stat", "-c", "%u", "/new").stdout == "0\n"
    heft("kill", "box")
    assert os.stat(f"/proc/{start(daemon, 'box')}").st_uid == FIRST
    joins = ("--network", "container:box", "--cap-add", "NET_ADMIN")
    heft("run", "--rm", *joins, BUSYBOX, "ip", "link", "set", "eth0", "mtu", "1400")


def test_what_is_on_the_disk_has_the_machines_ids(daemon: Daemon) -> None:
    create(daemon, "box", Binds=["vol:/v"])
    pid = start(daemon, "box")
    heft = Client("heft", daemon)
    script = (
        "touch /v/file /file; cp /bin/busybox /bin/tool; chown 1000:100 /file /bin/mount;"
        " rm -r /home; mkdir /home; touch /home/new; rm /etc/mark"
    )
    heft("exec", "box", "sh", "-c", script)
    capability = [sys.executable, "-c", SET_CAPABILITY, f"/proc/{pid}", NET_RAW.hex()]
    subprocess.run(capability, check=True)
    machine = daemon.request("GET", "/containers/box/json").json["Id"]
    diff = daemon.data / "machines" / machine / "upper" / "diff"
    owners = {name: (diff / name).lstat() for name in ("file", "bin/tool", "home", "home/new")}
    assert {name: (of.st_uid, of.st_gid) for name, of in owners.items()} == {
        "file": (1000, 100),
        "bin/tool": (0, 0),
        "home": (0, 0),
        "home/new": (0, 0),
    }
    assert os.getxattr(diff / "home", "trusted.overlay.opaque") == b"y"
    assert os.getxattr(diff / "bin/tool", "security.capability") == NET_RAW
    assert (daemon.data / "volumes/vol/_data/file").stat().st_uid == 0
    heft("commit", "box", "made")
    show = "stat -c %u:%g /file /home/new; ls /home /etc/mark"
    for mode in ("", "host"):
        done = heft("run", "--rm", "--userns", mode, "made", "sh", "-c", show, check=False)
        assert done.stdout == "1000:100\n0:0\n/home:\nnew\n"


def test_a_daemon_that_does_not_remap_any_more(daemon: Daemon) -> None:
    for name in ("box", "up"):
        create(daemon, name)
    start(daemon, "box")
    pid = start(daemon, "up")
    heft = Client("heft", daemon)
    heft("exec", "box", "touch", "/mine")
    heft("stop", "box")
    daemon.stop()
    daemon.extra = ()
    daemon.start()
    assert os.stat(f"/proc/{start(daemon, 'box')}").st_uid == 0
    assert heft("exec", "box", "stat", "-c", "%u", "/mine").stdout == "0\n"
    assert os.stat(f"/proc/{pid}").st_uid == FIRST
    assert heft("exec", "up", "id", "-u").stdout == "0\n"
    heft("restart", "up")
    assert os.stat(f"/proc/{start(daemon, 'up')}").st_uid == 0


def test_a_daemon_for_whom_there_are_no_ids(tmp_path: Path, ids: None) -> None:
    daemon = Daemon(tmp_path / "daemon", "--userns-remap", "joe")
    with pytest.raises(AssertionError, match="no subuid ranges found for user 'joe'") as raised:
        daemon.start()
    assert f"as joe:{FIRST // PIECE * PIECE + 3 * PIECE}:" in str(raised.value)
    shutil.rmtree(daemon.run)
