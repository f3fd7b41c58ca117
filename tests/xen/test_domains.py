"""Machines that are domains of Xen, through the real `docker` and `heft`, in a dom0.

`make test-xen` boots one and runs these in it; anywhere else they are not run.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heft.weights.medium.xen import configuration
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX
from tests.harness.pace import eventually, patience
from tests.harness.serving import emptied, serving
from tests.system.test_daemon_crash import die_at, points
from tests.system.test_daemon_crash import state as status

pytestmark = pytest.mark.xen


@pytest.fixture(scope="module")
def xen_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with serving(tmp_path_factory.mktemp("xen")) as daemon:
        yield daemon


@pytest.fixture
def daemon(xen_daemon: Daemon) -> Iterator[Daemon]:
    """Give the daemon; afterwards no machine, no domain and no loop device is left."""
    before = domains()
    with emptied(xen_daemon):
        yield xen_daemon
    assert domains() == before
    assert list((xen_daemon.run / "domains").glob("*")) == []
    devices = subprocess.run(["losetup", "-nO", "BACK-FILE"], capture_output=True, check=True)
    assert str(xen_daemon.directory).encode() not in devices.stdout


@pytest.fixture
def docker(daemon: Daemon) -> Client:
    return Client("docker", daemon)


def domains() -> list[str]:
    """Give the UUIDs of all domains."""
    listed = subprocess.run(["xl", "list", "-v"], capture_output=True, text=True, check=True)
    return sorted(line.split()[-3] for line in listed.stdout.splitlines()[1:])


def run(client: Client, *words: str, **how):
    return client("run", "--runtime", "medium:xen", *words, check=False, **how)


def state(daemon: Daemon, name: str) -> dict:
    return daemon.request("GET", f"/containers/{name}/json").json["State"]


def domain_of(daemon: Daemon, name: str) -> str:
    return configuration.name_of(daemon.request("GET", f"/containers/{name}/json").json["Id"])


def test_a_domain_of_its_own_streams_codes_and_every_byte(docker, daemon, tmp_path):
    assert "medium:xen" in Client("heft", daemon)("weights").stdout
    script = "cat /sys/hypervisor/guest_type; echo $$; echo err >&2; exit 7"
    done = run(docker, "--rm", BUSYBOX, "sh", "-c", script)
    assert (done.stdout, done.stderr, done.returncode) == ("PV\n1\n", "err\n", 7)
    (tmp_path / "in").write_bytes(bytes(range(256)) * 512 + os.urandom(1 << 16))
    assert run(docker, "-d", "--name", "box", BUSYBOX, "sleep", "6000").returncode == 0
    docker("cp", str(tmp_path / "in"), "box:/in")
    docker("cp", "box:/in", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()
    docker("kill", "box")
    assert state(daemon, "box")["ExitCode"] == 137


def test_two_machines_know_each_other_by_name(docker):
    serve = "while true; do echo page | nc -l -p 80; done"
    done = run(docker, "-d", "--name", "web", "-m", "160m", BUSYBOX, "sh", "-c", serve)
    assert done.returncode == 0, done.stderr
    get = "ping -c 1 -W 20 web >/dev/null && nc -w 20 web 80"
    for weight in ("medium:xen", "light"):
        words = ("--rm", "-m", "160m", "--runtime", weight, BUSYBOX, "sh", "-c", get)
        seen = docker("run", *words, check=False)
        assert seen.stdout == "page\n", (weight, seen.stderr)


def test_exec_figures_pausing_and_limits(docker, daemon):
    count = "i=0; while true; do echo $i; i=$((i+1)); sleep 1; done"
    words = ("-d", "--name", "box", "-m", "160m", "--cpus", "0.5")
    assert run(docker, *words, BUSYBOX, "sh", "-c", count).returncode == 0
    assert docker("exec", "-i", "box", "cat", input="through").stdout == "through"
    assert docker("exec", "box", "sh", "-c", "exit 3", check=False).returncode == 3
    domain = domain_of(daemon, "box")

    def cap() -> str:
        shown = subprocess.run(
            ["xl", "sched-credit2", "-d", domain], capture_output=True, text=True, check=True
        )
        return shown.stdout.split()[-1]

    assert cap() == "50"
    docker("update", "--cpus", "0.7", "--pids-limit", "10", "box")
    assert cap() == "70"
    forks = docker("exec", "box", "sh", "-c", "for i in $(seq 40); do sleep 5 & done", check=False)
    assert "fork" in forks.stderr
    stats = daemon.request("GET", "/containers/box/stats?stream=0&one-shot=1").json
    assert stats["memory_stats"]["limit"] == 160 << 20
    assert 0 < stats["memory_stats"]["usage"] < 160 << 20
    assert stats["cpu_stats"]["cpu_usage"]["total_usage"] > 0
    docker("pause", "box")
    time.sleep(patience(0.2))  # what it had said is still on its way
    before = docker("logs", "box").stdout
    time.sleep(3)
    assert docker("logs", "box").stdout == before
    docker("unpause", "box")
    eventually(lambda: docker("logs", "box").stdout != before)


def test_a_killed_daemon_is_no_matter(docker, daemon):
    count = "i=0; while true; do echo $i; i=$((i+1)); sleep 0.2; done"
    assert run(docker, "-d", "--name", "box", BUSYBOX, "sh", "-c", count).returncode == 0
    before = domains()
    daemon.restart()
    assert domains() == before
    seen = docker("logs", "box").stdout
    eventually(lambda: docker("logs", "box").stdout != seen)
    assert docker("exec", "box", "echo", "there").stdout == "there\n"
    lines = docker("logs", "box").stdout.split()
    assert lines == [str(number) for number in range(len(lines))]


def test_a_panic_is_told(docker, daemon):
    crash = "sleep 1; echo c >/proc/sysrq-trigger; sleep 600"
    words = ("--privileged", "--name", "box", BUSYBOX, "sh", "-c", crash)
    assert run(docker, *words).returncode == 137
    eventually(lambda: state(daemon, "box")["Status"] == "exited")
    assert state(daemon, "box")["Error"] == "the guest's kernel panicked: sysrq triggered crash"


def test_a_domain_destroyed_by_others_is_seen(docker, daemon):
    assert run(docker, "-d", "--name", "box", BUSYBOX, "sleep", "6000").returncode == 0
    subprocess.run(["xl", "destroy", domain_of(daemon, "box")], check=True)
    eventually(lambda: state(daemon, "box")["Status"] == "exited")
    ended = state(daemon, "box")
    assert (ended["ExitCode"], ended["Error"]) == (137, "its domain was destroyed")


@pytest.mark.parametrize("point", points("medium"))
def test_a_daemon_killed_on_the_way_of_a_start(daemon, docker, point):
    words = ("--name", "box", "--runtime", "medium:xen", BUSYBOX, "sleep", "6000")
    docker("create", *words)
    if point == "medium.ended":
        docker("start", "box")
        die_at(daemon, point, "POST", "/containers/box/kill")
    else:
        die_at(daemon, point, "POST", "/containers/box/start")
    assert status(daemon, "box") in ("exited", "created")
    docker("start", "box")
    assert docker("exec", "box", "echo", "up").stdout == "up\n"


def test_what_runs_is_named(daemon, docker):
    assert run(docker, "-d", "--name", "box", BUSYBOX, "sleep", "6000").returncode == 0
    shown = daemon.request("GET", "/containers/box/json").json
    assert shown["Heft"]["Accelerator"] == "xen"
    assert Path("/proc", str(shown["State"]["Pid"]), "exe").resolve().name == "xl"
