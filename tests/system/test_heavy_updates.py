"""`update` of heavy machines that run: what the host and the guest hold them to."""

import os
import time
from collections.abc import Iterator
from signal import SIGKILL

import pytest

from tests.clients.test_update import inspected, limit
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX
from tests.harness.pace import patience
from tests.harness.serving import emptied
from tests.system.test_daemon_crash import die_at, points

SECONDS = patience(20)
MEMORY = "cat /sys/fs/cgroup/memory.max 2>/dev/null || echo max"
PIDS = "cat /sys/fs/cgroup/pids.max"
QUOTA = ("cpu", "cpu.cfs_quota_us", "cpu.max")


@pytest.fixture
def client(shared_daemon: Daemon) -> Iterator[Client]:
    """Give a client, and a machine that runs."""
    with emptied(shared_daemon):
        client = Client("docker", shared_daemon)
        options = ("-d", "--name", "box", "--runtime", "heavy", "--network", "none")
        client("run", *options, BUSYBOX, "sleep", "1000")
        yield client


def inside(client: Client, script: str) -> str:
    return client("exec", "box", "sh", "-c", script).stdout.strip()


def test_what_it_is_held_to(client: Client) -> None:
    client("update", "--memory", "128m", "--memory-swap", "128m", "--pids-limit", "40", "box")
    assert (inside(client, MEMORY), inside(client, PIDS)) == (str(128 << 20), "40")
    assert inspected(client)["HostConfig"]["Memory"] == 128 << 20
    eater = ("exec", "box", "dd", "if=/dev/zero", "of=/dev/null", "bs=136M", "count=1")
    assert client(*eater, check=False).returncode == 137
    client("update", "--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0", "box")
    assert limit(client, *QUOTA).split()[0] == "50000"
    assert limit(client, "cpu", "cpu.shares", "cpu.weight") in ("512", "20")
    assert limit(client, "cpuset", "cpuset.cpus", "cpuset.cpus") == "0"
    client("update", "--cpuset-mems", "0", "box")
    assert limit(client, "cpuset", "cpuset.mems", "cpuset.mems") == "0"
    assert inside(client, PIDS) == "40"
    client("update", "--memory", "256m", "--memory-swap", "512m", "--pids-limit", "-1", "box")
    assert (inside(client, MEMORY), inside(client, PIDS)) == ("max", "max")
    assert client(*eater, check=False).returncode == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--memory", "300m", "--memory-swap", "600m"), "started with 256 MiB of memory"),
        (("--cpus", "1.5"), "started with 1 processor"),
        (("--memory", "100m", "--memory-swap", "200m"), "at least 128 MiB"),
        (("--blkio-weight", "300"), "--blkio-weight"),
        (("--memory", "160m", "--memory-swap", "160m", "--cpuset-mems", "63"), "cpuset.mems"),
    ],
)
def test_what_takes_a_restart_changes_nothing(
    client: Client, flags: tuple[str, ...], words: str
) -> None:
    before = inspected(client)["HostConfig"]
    done = client("update", *flags, "box", check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert inspected(client)["HostConfig"] == before
    assert inside(client, MEMORY) == "max"


def test_the_restart_policy_is_that_of_the_run_that_goes_on(client: Client) -> None:
    client("update", "--restart", "on-failure:1", "box")
    os.kill(inspected(client)["State"]["Pid"], SIGKILL)
    deadline = time.monotonic() + SECONDS
    while (now := inspected(client))["RestartCount"] != 1 or now["State"]["Status"] != "running":
        assert time.monotonic() < deadline, now["State"]
        time.sleep(0.05)
    assert inside(client, "echo again") == "again"


def test_more_is_there_after_a_restart(client: Client) -> None:
    client("stop", "-t", "0", "box")
    client("update", "--memory", "400m", "--memory-swap", "800m", "--cpus", "2", "box")
    client("start", "box")
    assert int(inside(client, "awk '/MemTotal/ {print $2}' /proc/meminfo")) > 300 << 10
    assert inside(client, "nproc") == "2"


@pytest.mark.parametrize("point", points("update"))
def test_the_daemon_is_killed_meanwhile(client: Client, shared_daemon: Daemon, point: str) -> None:
    body = {"Memory": 160 << 20, "MemorySwap": 160 << 20, "PidsLimit": 40}
    die_at(shared_daemon, point, "POST", "/containers/box/update", body)
    assert inspected(client)["HostConfig"]["PidsLimit"] == 40
    assert (inside(client, MEMORY), inside(client, PIDS)) == (str(160 << 20), "40")
    done = client("update", "--memory", "300m", "--memory-swap", "600m", "box", check=False)
    assert "started with 256 MiB of memory" in done.stderr
