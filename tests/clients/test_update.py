"""`docker update`: limits that change while a machine runs."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.clients.test_run import group_file
from tests.harness.client import Client
from tests.harness.images import BUSYBOX


def start(client: Client, *flags: str) -> None:
    client("run", "-d", "--name", "box", "--network", "none", *flags, BUSYBOX, "sleep", "1000")


def inspected(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client("inspect", "box").stdout)[0]
    return found


def limit(client: Client, controller: str, first: str, second: str) -> str:
    groups = Path(f"/proc/{inspected(client)['State']['Pid']}/cgroup").read_text()
    return group_file(groups, controller, first, second)


def memory(client: Client) -> str:
    return limit(client, "memory", "memory.limit_in_bytes", "memory.max")


@pytest.mark.light
def test_memory_of_a_running_machine(client: Client) -> None:
    start(client, "--memory", "64m")
    assert inspected(client)["HostConfig"]["MemorySwap"] == 128 << 20
    done = client("update", "--memory", "256m", "box", check=False)
    assert done.returncode == 1
    assert "update the memoryswap at the same time" in done.stderr
    assert memory(client) == str(64 << 20)
    sizes = ("--memory", "256m", "--memory-swap", "512m", "--memory-reservation", "32m")
    assert client("update", *sizes, "box").stdout == "box\n"
    assert memory(client) == str(256 << 20)
    reserved = ("memory", "memory.soft_limit_in_bytes", "memory.low")
    assert limit(client, *reserved) == str(32 << 20)
    client("update", "--memory", "32m", "--memory-swap", "32m", "box")
    assert memory(client) == str(32 << 20)
    host = inspected(client)["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (32 << 20, 32 << 20)


@pytest.mark.light
def test_processors_and_processes(client: Client) -> None:
    start(client)
    quota = ("cpu", "cpu.cfs_quota_us", "cpu.max")
    pids = ("pids", "pids.max", "pids.max")
    client("update", "--cpus", "0.5", "--cpu-shares", "512", "--pids-limit", "20", "box")
    assert limit(client, *quota).split()[0] == "50000"
    assert limit(client, "cpu", "cpu.shares", "cpu.weight") in ("512", "20")
    assert limit(client, *pids) == "20"
    client("update", "--cpuset-cpus", "0", "--cpuset-mems", "0", "--pids-limit", "-1", "box")
    assert client("exec", "box", "nproc").stdout == "1\n"
    assert limit(client, *pids) == "max"
    assert limit(client, *quota).split()[0] == "50000"
    done = client("update", "--cpu-quota", "20000", "box", check=False)
    assert "CPU Quota cannot be updated as NanoCPUs has already been set" in done.stderr


def test_quota_and_period(client: Client) -> None:
    start(client)
    client("update", "--cpu-period", "50000", "--cpu-quota", "25000", "box")
    assert limit(client, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "25000"
    assert limit(client, "cpu", "cpu.cfs_period_us", "cpu.max").split()[-1] == "50000"
    client("update", "--cpu-quota", "-1", "box")
    assert limit(client, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] in ("-1", "max")


@pytest.mark.light
def test_a_machine_that_does_not_run(client: Client) -> None:
    client("create", "--name", "box", "--network", "none", BUSYBOX, "sleep", "1000")
    client("update", "--memory", "48m", "--pids-limit", "9", "--blkio-weight", "300", "box")
    assert inspected(client)["HostConfig"]["BlkioWeight"] == 300
    client("start", "box")
    assert memory(client) == str(48 << 20)
    client("restart", "-t", "0", "box")
    assert limit(client, "pids", "pids.max", "pids.max") == "9"


def test_restart_policy(client: Client) -> None:
    start(client, "--rm")
    done = client("update", "--restart", "always", "box", check=False)
    assert "AutoRemove is enabled for the container" in done.stderr
    client("rm", "-f", "box")
    client("run", "-d", "--name", "box", "--network", "none", BUSYBOX, "sleep", "1000")
    since = str(time.time())
    client("update", "--restart", "on-failure:3", "box")
    policy = inspected(client)["HostConfig"]["RestartPolicy"]
    assert policy == {"Name": "on-failure", "MaximumRetryCount": 3}
    form = ("--filter", "event=update", "--format", "{{.Action}} {{.Actor.Attributes.name}}")
    done = client("events", "--since", since, "--until", str(time.time()), *form)
    assert done.stdout == "update box\n"
    client("update", "--restart", "no", "box")
    assert inspected(client)["HostConfig"]["RestartPolicy"]["Name"] == "no"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--memory", "1m"], "Minimum memory limit allowed is 6MB"),
        (["--cpuset-cpus", "4000"], "Requested CPUs are not available"),
        (["--restart", "sometimes"], "invalid restart policy"),
        (["--cpu-shares", "1"], "CPU shares"),
        ([], "you must provide one or more flags"),
    ],
)
def test_what_is_refused_changes_nothing(client: Client, flags: list[str], words: str) -> None:
    start(client)
    before = inspected(client)["HostConfig"]
    done = client("update", *flags, "box", check=False)
    assert done.returncode != 0
    assert words.lower() in done.stderr.lower(), done.stderr
    assert inspected(client)["HostConfig"] == before


@pytest.mark.light
def test_what_the_host_refuses_is_taken_back(client: Client) -> None:
    start(client, "--memory", "64m")
    sizes = ("--memory", "128m", "--memory-swap", "128m", "--cpuset-mems", "63")
    done = client("update", *sizes, "box", check=False)
    assert done.returncode == 1
    assert memory(client) == str(64 << 20)
    assert inspected(client)["HostConfig"]["Memory"] == 64 << 20


def test_nobody(client: Client) -> None:
    done = client("update", "--memory", "64m", "nobody", check=False)
    assert done.returncode == 1
    assert "No such container: nobody" in done.stderr
