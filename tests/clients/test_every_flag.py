"""Every flag that docker has for making and changing machines, where these have their own kernel.

Each works, or is refused by its name before anything is made, or is warned of.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness import docker_help
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX

WEIGHTS = ("medium", "heavy")


@dataclass(frozen=True)
class Case:
    """A flag with a value, and what becomes of it."""

    value: str = ""
    name: str = ""
    """What the refusal or warning names it by: itself, if nothing else is said."""
    also: tuple[str, ...] = ()
    """Flags that it needs."""


WORKS: dict[str, Case] = {
    "add-host": Case("box:10.0.0.1"),
    "annotation": Case("a=b"),
    "attach": Case("stdout"),
    "cap-add": Case("NET_ADMIN"),
    "cap-drop": Case("CHOWN"),
    "cgroup-parent": Case("/heft-of-users"),
    "cidfile": Case("{place}/id"),
    "cpu-period": Case("50000"),
    "cpu-quota": Case("20000"),
    "cpu-shares": Case("512"),
    "cpus": Case("0.5"),
    "cpuset-cpus": Case("0"),
    "cpuset-mems": Case("0"),
    "disable-content-trust": Case(),
    "dns": Case("10.0.0.1"),
    "dns-option": Case("ndots:2"),
    "dns-search": Case("example.org"),
    "domainname": Case("example.org"),
    "entrypoint": Case("sh"),
    "env": Case("A=b"),
    "env-file": Case("{place}/lines"),
    "expose": Case("80"),
    "group-add": Case("7"),
    "health-cmd": Case("true"),
    "health-interval": Case("1s", also=("--health-cmd", "true")),
    "health-retries": Case("2", also=("--health-cmd", "true")),
    "health-start-interval": Case("1s", also=("--health-cmd", "true")),
    "health-start-period": Case("1s", also=("--health-cmd", "true")),
    "health-timeout": Case("1s", also=("--health-cmd", "true")),
    "hostname": Case("box"),
    "init": Case(),
    "interactive": Case(),
    "ip": Case("{address}"),
    "kernel-memory": Case("100m"),  # docker leaves it out itself
    "label": Case("a=b"),
    "label-file": Case("{place}/lines"),
    "link": Case("other"),
    "log-driver": Case("local"),
    "log-opt": Case("max-size=1m"),
    "mac-address": Case("92:d0:c6:0a:29:33"),
    "memory": Case("200m"),
    "name": Case("box"),
    "network": Case("none"),
    "no-healthcheck": Case(),
    "oom-score-adj": Case("100"),
    "pids-limit": Case("50"),
    "platform": Case("linux/amd64"),
    "privileged": Case(),
    "publish": Case("127.0.0.1::80"),
    "publish-all": Case(),
    "pull": Case("never"),
    "quiet": Case(),
    "read-only": Case(),
    "restart": Case("always"),
    "rm": Case(),
    "runtime": Case("{weight}"),
    "shm-size": Case("1m"),
    "stop-signal": Case("INT"),
    "stop-timeout": Case("3"),
    "storage-opt": Case("size=64m"),
    "sysctl": Case("net.ipv4.ip_forward=1"),
    "tmpfs": Case("/t"),
    "tty": Case(),
    "ulimit": Case("nofile=100"),
    "user": Case("7"),
    "userns": Case("host"),
    "workdir": Case("/tmp"),
    "mount": Case("type=volume,src=new,dst=/v"),
    "volume": Case("{place}:/v"),
    "volume-driver": Case("local", also=("-v", "new:/v")),
    "volumes-from": Case("other"),
}
"""How most of them work is the matter of test_run and test_run_flags, at these weights too."""

REFUSED: dict[str, Case] = {
    "blkio-weight": Case("100"),
    "blkio-weight-device": Case("/dev/null:100"),
    "cgroupns": Case("host", "--cgroupns host"),
    "cpu-rt-period": Case("1000"),
    "cpu-rt-runtime": Case("1000"),
    "device": Case("/dev/null"),
    "device-cgroup-rule": Case("c 1:3 rwm"),
    "device-read-bps": Case("/dev/null:1mb"),
    "device-read-iops": Case("/dev/null:10"),
    "device-write-bps": Case("/dev/null:1mb"),
    "device-write-iops": Case("/dev/null:10"),
    "gpus": Case("all"),
    "ip6": Case("2001:db8::33", "--ip6 2001:db8::33"),
    "ipc": Case("host", "--ipc host"),
    "isolation": Case("hyperv", "--isolation hyperv"),
    "link-local-ip": Case("169.254.7.7", "--link-local-ip 169.254.7.7"),
    "oom-kill-disable": Case(),
    "pid": Case("container:other", "--pid container:…"),
    "security-opt": Case("label=level:s0", "--security-opt label=…"),
    "uts": Case("host", "--uts host"),
    # What docker itself asks of no network but users' own,
    "network-alias": Case("else", "network-scoped aliases"),
    # and sends to no host but Windows.
    "cpu-count": Case("1"),
    "cpu-percent": Case("50"),
    "io-maxbandwidth": Case("1mb"),
    "io-maxiops": Case("10"),
}

WARNED: dict[str, Case] = {
    "memory-reservation": Case("100m"),
    "memory-swap": Case("300m", also=("--memory", "200m")),
    "memory-swappiness": Case("7"),
}

OF_FILES = {"use-api-socket"}
"""A bind of a socket to docker: refused by any name, as a bind or for want of the socket."""

UPDATES: dict[str, Case] = {
    "cpu-period": Case("50000"),
    "cpu-quota": Case("20000", also=("--cpu-period", "50000")),
    "cpu-shares": Case("300"),
    "cpus": Case("0.5"),
    "cpuset-cpus": Case("0"),
    "cpuset-mems": Case("0"),
    "memory": Case("192m", also=("--memory-swap", "384m")),
    "pids-limit": Case("30"),
    "restart": Case("on-failure"),
}
UPDATES_REFUSED = ("blkio-weight", "cpu-rt-period", "cpu-rt-runtime")
UPDATES_WARNED: dict[str, Case] = {
    "memory-reservation": Case("100m"),
    "memory-swap": Case("300m", also=("--memory", "200m")),
}


@pytest.fixture(params=WEIGHTS)
def docker(request: pytest.FixtureRequest, daemon: Daemon) -> Client:
    """Give docker, with a light machine that others can refer to."""
    docker = Client("docker", daemon)
    docker("run", "-d", "--runtime", "light", "--name", "other", "-v", "theirs:/w", BUSYBOX,
           "sleep", "1000")  # fmt: skip
    docker.weight = request.param  # type: ignore[attr-defined]
    return docker


@pytest.fixture
def words(docker: Client, place: Path) -> Iterator[dict[str, str]]:
    """Give what stands in the values of flags."""
    (place / "lines").write_text("a=b\n")
    found = json.loads(docker("inspect", "other").stdout)[0]["NetworkSettings"]
    address = found["IPAddress"].rpartition(".")[0] + ".200"
    yield {"place": str(place), "weight": docker.weight, "address": address}  # type: ignore[attr-defined]
    (place / "id").unlink(missing_ok=True)


def test_no_flag_is_forgotten() -> None:
    flags = docker_help.commands()
    assert set(flags["create"]) == {*WORKS, *REFUSED, *WARNED, *OF_FILES}
    assert set(flags["update"]) == {*UPDATES, *UPDATES_REFUSED, *UPDATES_WARNED}


def create(docker: Client, flag: str, case: Case, words: dict[str, str]):  # type: ignore[no-untyped-def]
    value = (f"--{flag}={case.value.format(**words)}",) if case.value else (f"--{flag}",)
    weight = () if flag == "runtime" else ("--runtime", words["weight"])
    command = ("sleep", "100") if flag != "entrypoint" else ("-c", "sleep 100")
    return docker("create", *weight, *case.also, *value, BUSYBOX, *command, check=False)


def made(docker: Client) -> list[str]:
    return [each for each in docker("ps", "-a", "--format", "{{.Names}}").stdout.split()
            if each != "other"]  # fmt: skip


def test_what_works_is_taken_without_a_word(docker: Client, words: dict[str, str]) -> None:
    wrong = {}
    for flag, case in WORKS.items():
        done = create(docker, flag, case, words)
        said = done.stderr.replace("Flag --disable-content-trust", "")
        if done.returncode or "arning" in said or "WARNING" in said:
            wrong[flag] = done.stderr
        if names := made(docker):
            docker("rm", "-v", *names)
    assert wrong == {}


def test_what_cannot_be_is_refused_by_its_name(docker: Client, words: dict[str, str]) -> None:
    volumes = docker("volume", "ls", "-q").stdout
    wrong = {}
    for flag, case in REFUSED.items():
        done = create(docker, flag, case, words)
        name = case.name or f"--{flag}"
        if done.returncode not in (1, 125) or name not in done.stderr:
            wrong[flag] = done.returncode, done.stderr
        assert made(docker) == [], flag
    for flag in OF_FILES:
        assert create(docker, flag, Case(), words).returncode != 0
    assert wrong == {}
    assert docker("volume", "ls", "-q").stdout == volumes


def test_what_is_useless_is_warned_of(docker: Client, words: dict[str, str]) -> None:
    wrong = {}
    for flag, case in WARNED.items():
        done = create(docker, flag, case, words)
        if done.returncode or f"--{flag} changes nothing" not in done.stderr:
            wrong[flag] = done.returncode, done.stderr
        if names := made(docker):
            docker("rm", *names)
    assert wrong == {}


def test_what_docker_itself_keeps_back_is_warned_of_over_the_api(
    docker: Client, words: dict[str, str]
) -> None:
    host = {
        "Runtime": words["weight"],
        "KernelMemory": 1 << 27,
        "UsernsMode": "auto",
        "SecurityOpt": ["systempaths=unconfined"],
    }
    body = {"Image": BUSYBOX, "Cmd": ["true"], "HostConfig": host}
    answer = docker.daemon.request("POST", "/containers/create?name=box", body)
    assert answer.status == 201, answer.body
    named = [warning.partition(" changes nothing")[0] for warning in answer.json["Warnings"]]
    assert named == ["--kernel-memory", "--userns", "--security-opt systempaths=…"]


def test_a_directory_of_the_host_is_not_made_for_what_is_refused(
    docker: Client, words: dict[str, str]
) -> None:
    place = Path(words["place"]) / "new"
    flags = ("--runtime", words["weight"], "-v", f"{place}:/v", "--uts", "host")
    assert docker("create", *flags, BUSYBOX, check=False).returncode == 1
    assert not place.exists()


@pytest.mark.parametrize("runs", [False, True])
def test_updates(docker: Client, words: dict[str, str], runs: bool) -> None:
    wrong: dict[str, object] = {}
    flags = ("--runtime", words["weight"], "--network", "none", "--memory", "256m")
    docker("create", "--name", "box", *flags, BUSYBOX, "sleep", "1000")
    if runs:
        docker("start", "box")
    for flag, case in (UPDATES | UPDATES_WARNED).items():
        before = "" if flag != "cpus" else "again"
        if before:  # a quota and a number of processors exclude each other
            docker("rm", "-f", "box")
            docker("create", "--name", "box", *flags, BUSYBOX, "sleep", "1000")
            docker(*(("start", "box") if runs else ("ps",)))
        done = docker("update", *case.also, f"--{flag}={case.value}", "box", check=False)
        warned = f"--{flag} changes nothing" in done.stdout  # where docker says it
        if done.returncode or warned != (flag in UPDATES_WARNED):
            wrong[flag] = done.returncode, done.stderr
    for flag in UPDATES_REFUSED:
        host = json.loads(docker("inspect", "box").stdout)[0]["HostConfig"]
        done = docker("update", f"--{flag}=1000", "box", check=False)
        if done.returncode != 1 or f"--{flag}" not in done.stderr:
            wrong[flag] = done.returncode, done.stderr
        assert json.loads(docker("inspect", "box").stdout)[0]["HostConfig"] == host, flag
    assert wrong == {}
    little = ("--memory=64m", "--memory-swap=128m", "--memory-reservation=16m")
    done = docker("update", *little, "box", check=False)
    assert (done.returncode, "at least 128 MiB" in done.stderr) == (1, True), done.stderr
    if runs:
        done = docker("update", "--memory=512m", "--memory-swap=1g", "box", check=False)
        assert (done.returncode, "stop it, update it, start it" in done.stderr) == (1, True)


@pytest.mark.parametrize("flags", [("--uts", "host"), ("--blkio-weight", "100")])
def test_a_change_of_weight_refuses_the_same(
    docker: Client, words: dict[str, str], flags: tuple[str, ...]
) -> None:
    docker("create", "--name", "box", "--runtime", "light", *flags, BUSYBOX, "sleep", "1000")
    path = "/heft/v1/machines/box/weight"
    answer = docker.daemon.request("POST", path, {"Weight": words["weight"]})
    assert (answer.status, flags[0] in answer.json["message"]) == (400, True), answer.body
    host = json.loads(docker("inspect", "box").stdout)[0]["HostConfig"]
    assert host["Runtime"] == "light"
