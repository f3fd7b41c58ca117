"""A machine goes from weight to weight, and stays who it is, whoever dies meanwhile."""

import contextlib
import json
import os
import shutil
import sqlite3
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX
from tests.harness.pace import eventually, patience
from tests.harness.serving import emptied
from tests.system.test_daemon_crash import die_at, points

MADE = """
if [ ! -e /srv/deep ]; then
    mkdir -p /srv; cd /srv; mkdir -m 1777 deep; echo one > deep/one; ln deep/one deep/two
    ln -s one deep/three; chown 1000:70000 deep/one; chmod 4755 deep/one; mkfifo deep/pipe
    dd if=/dev/zero of=deep/sparse bs=1 count=1 seek=5000000 2>/dev/null
    rm /etc/group; rm -r /bin/ash; mv /root /root-of-old; mkdir /root
    touch -d '2001-02-03 04:05:06' deep/one; echo volume > /data/file
fi
exec httpd -f -p 80 -h /srv/deep
"""
SEEN = """
cd /srv; stat -c '%n %u %g %a %h %s %Y %F' deep/*; readlink deep/three; cat deep/two /data/file
ls -d /etc/group /bin/ash /root-of-old 2>&1; ls -a /root; sha256sum /etc/passwd; ip addr show eth0 |
grep -o 'inet [^ ]*'; hostname
"""


@pytest.fixture
def heft(shared_daemon: Daemon) -> Iterator[Client]:
    with emptied(shared_daemon):
        yield Client("heft", shared_daemon)


def inspected(daemon: Daemon, name: str = "box") -> Any:
    return daemon.request("GET", f"/containers/{name}/json").json


def place(daemon: Daemon) -> tuple[str, str]:
    network = inspected(daemon)["NetworkSettings"]
    return network["IPAddress"], network["MacAddress"]


def uppers(daemon: Daemon) -> set[str]:
    upper = daemon.data / "machines" / inspected(daemon)["Id"] / "upper"
    return {each.name for each in upper.iterdir()}


def test_it_stays_who_it_is(heft: Client, shared_daemon: Daemon) -> None:
    heft("run", "-d", "--name", "first", BUSYBOX, "sleep", "1000")
    run = ("run", "-d", "--name", "box", "-v", "data:/data", "-p", "8097:80", "--label", "kept=yes")
    heft(*run, "--stop-signal", "KILL", BUSYBOX, "sh", "-ec", MADE)
    eventually(lambda: served() == "one")
    seen, at = inside(heft), place(shared_daemon)
    done = heft("update", "--weight", "heavy", "box", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "stop it first, or `heft restart --weight heavy box`" in done.stderr

    heft("stop", "box")
    heft("rm", "-f", "first")
    changes = sorted(heft("diff", "box").stdout.split())
    assert heft("update", "--weight", "heavy", "--memory", "128m", "box").stdout == "box\n"
    assert uppers(shared_daemon) == {"disk.ext4"}
    heft("start", "box")
    eventually(lambda: served() == "one")
    assert (inside(heft), place(shared_daemon)) == (seen, at)
    now = inspected(shared_daemon)
    assert (now["HostConfig"]["Runtime"], now["HostConfig"]["Memory"]) == ("heavy", 128 << 20)
    assert now["Config"]["Labels"]["kept"] == "yes"
    assert sorted(heft("diff", "box").stdout.split()) == changes
    heft("exec", "box", "sh", "-c", "echo heavy > /srv/heavy; mkdir /srv/room; rm /bin/awk")

    assert heft("restart", "-t", "1", "--weight", "light", "box").stdout == "box\n"
    eventually(lambda: served() == "one")
    assert (inside(heft), place(shared_daemon)) == (seen, at)
    assert uppers(shared_daemon) == {"diff", "work"}
    look = "cat /srv/heavy; ls -d /srv/room; [ -e /bin/awk ] || echo gone"
    assert inside(heft, look).split() == ["heavy", "/srv/room", "gone"]
    assert heft("restart", "--weight", "light", "box").stdout == "box\n", "it is so already"


def inside(heft: Client, script: str = SEEN) -> str:
    return heft("exec", "box", "sh", "-c", script).stdout


def served() -> str:
    try:
        with urllib.request.urlopen("http://127.0.0.1:8097/one", timeout=patience(2)) as answer:
            return str(answer.read().decode().strip())
    except OSError:
        return ""


@pytest.mark.parametrize("sizes", [(), ("--storage-opt", "size=40m")], ids=["plain", "bounded"])
def test_its_size_is_kept(heft: Client, shared_daemon: Daemon, sizes: tuple[str, ...]) -> None:
    heft("create", "--name", "box", "--network", "none", *sizes, BUSYBOX, "sleep", "1000")
    heft("cp", __file__, "box:/etc")
    for weight in ("heavy", "light", "heavy"):
        heft("update", "--weight", weight, "box")
        assert len(uppers(shared_daemon)) == (1 if weight == "heavy" or sizes else 2)
        name = Path(__file__).name
        assert heft("exec", "box", "true", check=False).returncode == 1
        tar = shared_daemon.request("GET", f"/containers/box/archive?path=/etc/{name}")
        assert Path(__file__).read_bytes() in tar.body


@pytest.mark.parametrize(
    ("options", "weight", "named"),
    [
        (("--pid", "host"), "heavy", "--pid host"),
        (("--memory", "64m"), "heavy", "128 MiB"),
        (("--network", "host"), "heavy", "--network host"),
        (("--device", "/dev/null"), "heavy", "--device"),
        (("--weight", "heavy", "--boot", "cold"), "light", "boots one"),
        (("--weight", "heavy", "--systemd", "always"), "light", "a whole system"),
        (("--weight", "heavy", "--sysctl", "vm.swappiness=7"), "light", "vm.swappiness"),
        ((), "vast", "unknown or invalid runtime name: vast"),
        ((), "", "a weight is needed"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_the_other_weight_refuses_is_named(
    heft: Client, shared_daemon: Daemon, options: tuple[str, ...], weight: str, named: str
) -> None:
    heft("create", "--name", "box", *options, BUSYBOX, "sleep", "1000")
    before = inspected(shared_daemon), uppers(shared_daemon)
    done = heft("update", "--weight", weight, "box", check=False)
    assert done.returncode == 1
    assert named in done.stderr
    assert (inspected(shared_daemon), uppers(shared_daemon)) == before


def test_one_that_cannot_go_is_not_stopped(heft: Client, shared_daemon: Daemon) -> None:
    heft("run", "-d", "--name", "box", "--pid", "host", BUSYBOX, "sleep", "1000")
    started = inspected(shared_daemon)["State"]["StartedAt"]
    done = heft("restart", "--weight", "heavy", "box", check=False)
    assert "--pid host" in done.stderr
    assert inspected(shared_daemon)["State"]["StartedAt"] == started


@pytest.mark.parametrize("point", points("weight"))
def test_a_daemon_that_is_killed(heft: Client, shared_daemon: Daemon, point: str) -> None:
    heft("create", "--name", "box", "--network", "none", BUSYBOX, "sleep", "1000")
    heft("cp", __file__, "box:/etc/kept")
    names = {"light": {"diff", "work"}, "heavy": {"disk.ext4"}}
    switched = point in ("weight.switched", "weight.cleared")
    for weight, other in (("heavy", "light"), ("light", "heavy")):
        path = "/heft/v1/machines/box/weight"
        die_at(shared_daemon, point, "POST", path, {"weight": weight})
        assert inspected(shared_daemon)["HostConfig"]["Runtime"] == (weight if switched else other)
        assert uppers(shared_daemon) == names[weight if switched else other]
        heft("update", "--weight", weight, "box")
        assert uppers(shared_daemon) == names[weight]
    tar = shared_daemon.request("GET", "/containers/box/archive?path=/etc/kept").body
    assert Path(__file__).read_bytes() in tar


def test_it_is_quick(heft: Client, shared_daemon: Daemon) -> None:
    """50 MB in two hundred files, there and back."""
    heft("create", "--name", "box", "--network", "none", BUSYBOX, "sleep", "1000")
    upper = shared_daemon.data / "machines" / inspected(shared_daemon)["Id"] / "upper/diff/srv"
    upper.mkdir()
    for number in range(200):
        (upper / str(number)).write_bytes(os.urandom(250_000))
    for weight in ("heavy", "light"):
        begun = time.monotonic()
        heft("update", "--weight", weight, "box")
        taken = time.monotonic() - begun
        assert taken < patience(3)


def test_a_change_whose_uppers_are_gone_holds_up_no_daemon(
    heft: Client, shared_daemon: Daemon
) -> None:
    """As of a machine that is being removed."""
    heft("create", "--name", "box", "--network", "none", BUSYBOX, "sleep", "1000")
    machine = inspected(shared_daemon)["Id"]
    shared_daemon.stop()
    known = {**json.loads(raw(shared_daemon)), "changing": "heavy"}
    with contextlib.closing(sqlite3.connect(shared_daemon.data / "heft.db")) as database:
        database.execute("UPDATE machines SET document = ?", (json.dumps(known).encode(),))
        database.commit()
    shutil.rmtree(shared_daemon.data / "machines" / machine / "upper")
    shared_daemon.start()
    assert inspected(shared_daemon)["Id"] == machine
    assert b'changing":""' in raw(shared_daemon)


def raw(daemon: Daemon) -> bytes:
    with contextlib.closing(sqlite3.connect(daemon.data / "heft.db")) as database:
        (text,) = database.execute("SELECT document FROM machines").fetchone()
    return bytes(text)


@pytest.mark.parametrize("weight", ["medium", "heavy"])
def test_nobody_is_in_the_namespaces_of_what_runs_a_guest(heft: Client, weight: str) -> None:
    """They are the host's in part: a light machine in them would be out on the host."""
    heft("run", "-d", "--name", "donor", "--ipc", "shareable", BUSYBOX, "sleep", "1000")
    joining = [("--network", "net"), ("--pid", "pid"), ("--ipc", "ipc")]
    script = "readlink /proc/self/ns/"
    for flag, kind in joining:
        joined = (flag, "container:donor", BUSYBOX, "sh", "-c", script + kind)
        assert heft("run", "--name", kind, *joined).stdout.startswith(f"{kind}:[")
    heft("restart", "-t", "0", "--weight", weight, "donor")
    for flag, kind in joining:
        again = heft("start", "-a", kind, check=False)
        new = heft("run", "--rm", flag, "container:donor", BUSYBOX, "true", check=False)
        for done in (again, new):
            assert (done.returncode != 0, done.stdout) == (True, ""), flag
            assert f"cannot join namespace of container donor: it is {weight}" in done.stderr
    names = heft("ps", "-a", "--format", "{{.Names}}").stdout.split()
    assert sorted(names) == ["donor", "ipc", "net", "pid"]
