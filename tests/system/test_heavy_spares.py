"""A guest waits, rehearsed, to become the next heavy machine: which must be like any other."""

import os
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from heft.host.taps import NOWHERE
from tests.harness import leaks
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar
from tests.harness.pace import eventually
from tests.system.test_daemon_crash import points, state

WAITS, TAKEN = ": a spare guest waits", "the spare guest is taken"
HEAVY = ("--runtime", "heavy")


@pytest.fixture(scope="module")
def sparing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a daemon that keeps spares; in the end the host must be as it was."""
    before = leaks.look()
    daemon = Daemon(tmp_path_factory.mktemp("heavy"))
    daemon.spare_seconds = 3600
    daemon.start()
    path = f"/images/create?fromSrc=-&repo={BUSYBOX}&changes=CMD%20%5B%22sh%22%5D"
    assert daemon.request("POST", path, busybox_tar()).status == 200
    yield daemon
    daemon.clean_up()
    assert not (left := leaks.settle(before)), f"left behind: {left}"


@pytest.fixture
def daemon(sparing: Daemon) -> Iterator[Daemon]:
    """Give the daemon, with a spare that waits; afterwards there is no machine."""
    if sparing.process is None or sparing.process.poll() is not None:
        sparing.start()
    wait_for_spare(sparing)
    yield sparing
    if sparing.process is None or sparing.process.poll() is not None:
        sparing.start()
    for machine in sparing.request("GET", "/containers/json?all=1").json:
        sparing.request("DELETE", f"/containers/{machine['Id']}?force=1&v=1")


@pytest.fixture(params=["docker", "heft"])
def client(request: pytest.FixtureRequest, daemon: Daemon) -> Client:
    return Client(request.param, daemon)


def spare_runs(daemon: Daemon) -> list[Path]:
    """Give the runs of guests that are no machines'."""
    known = {m["Id"] for m in daemon.request("GET", "/containers/json?all=1").json}
    return [each.parent for each in daemon.run.glob("*/*/vm") if each.parent.name not in known]


def wait_for_spare(daemon: Daemon) -> None:
    """Let there be a spare: the one that was said last is there still, or another is made."""
    if not spare_runs(daemon):
        Client("docker", daemon)("run", "--rm", *HEAVY, "--network", "none", BUSYBOX, "true")
    eventually(
        lambda: any(f"{r.name}{WAITS}" in daemon.log.read_text() for r in spare_runs(daemon))
    )


def taken(daemon: Daemon) -> int:
    return daemon.log.read_text().count(TAKEN)


def test_what_was_rehearsed_is_not_seen(client: Client, daemon: Daemon) -> None:
    before = taken(daemon)
    script = "hostname; ls -A /; ip -4 -o addr show eth0; cat /sys/class/net/eth0/address; mount"
    done = client("run", "--rm", *HEAVY, "--hostname", "deep", BUSYBOX, "sh", "-c", script)
    assert taken(daemon) == before + 1
    assert done.stdout.splitlines()[0] == "deep"
    assert "rehears" not in done.stdout
    assert "192.0.2" not in done.stdout
    assert "02:48:45:46:54" not in done.stdout


def test_it_is_on_the_network(client: Client, daemon: Daemon) -> None:
    before = taken(daemon)
    client("run", "-d", "--name", "web", *HEAVY, BUSYBOX, "httpd", "-f", "-p", "80", "-h", "/etc")
    assert taken(daemon) == before + 1
    client("run", "-d", "--name", "flat", BUSYBOX, "sleep", "1000")
    address = daemon.request("GET", "/containers/web/json").json["NetworkSettings"]["IPAddress"]
    fetch = ("exec", "flat", "wget", "-q", "-O", "-", f"http://{address}/passwd")
    eventually(lambda: "root" in client(*fetch, check=False).stdout)
    assert "root" in client("exec", "flat", "wget", "-q", "-O", "-", "http://web/passwd").stdout
    assert address in client("exec", "web", "ip", "addr").stdout
    ping = ("exec", "web", "ping", "-c", "1", "-w", "5", "flat")
    assert client(*ping).returncode == 0


def test_none_has_what_another_had(daemon: Daemon) -> None:
    client, before = Client("docker", daemon), taken(daemon)
    script = "cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | od -x"
    seen = set()
    for _ in range(3):
        wait_for_spare(daemon)
        seen |= set(client("run", "--rm", *HEAVY, BUSYBOX, "sh", "-c", script).stdout.splitlines())
    assert taken(daemon) >= before + 3
    assert len(seen - {"0000020"}) == 6


def test_its_disk_is_its_own_and_lasts(daemon: Daemon) -> None:
    client, before = Client("heft", daemon), taken(daemon)
    script = "echo more >>/data; cat /data"
    client("run", "--name", "box", *HEAVY, "--network", "none", BUSYBOX, "sh", "-c", script)
    wait_for_spare(daemon)
    assert client("start", "-a", "box").stdout == "more\nmore\n"
    wait_for_spare(daemon)
    (daemon.directory / "file").write_text("from the host\n")
    client("cp", daemon.directory / "file", "box:/data")
    wait_for_spare(daemon)
    assert client("start", "-a", "box").stdout == "from the host\nmore\n"
    assert taken(daemon) == before + 4
    assert client("diff", "box").stdout == "A /data\n"


def test_its_limits_are_its_own(daemon: Daemon) -> None:
    client, before = Client("docker", daemon), taken(daemon)
    client("run", "-d", "--name", "box", "--cpus", "0.5", *HEAVY, BUSYBOX, "sleep", "1000")
    assert taken(daemon) == before + 1
    found = daemon.request("GET", "/containers/box/json").json
    groups = Path(f"/proc/{found['State']['Pid']}/cgroup").read_text()
    assert found["Id"] in groups
    others = [line for line in groups.splitlines() if "heft" in line and found["Id"] not in line]
    assert others == []
    assert not spare_runs(daemon) or found["Id"] not in str(spare_runs(daemon))


def test_others_start_as_they_did(daemon: Daemon) -> None:
    client, before = Client("docker", daemon), taken(daemon)
    say = (BUSYBOX, "sh", "-c", "echo well; cat /proc/meminfo")
    assert "well" in client("run", "--rm", *HEAVY, "-v", "vol:/v", *say).stdout
    assert "well" in client("run", "--rm", *HEAVY, "--label", "heft.boot=cold", *say).stdout
    assert "well" in client("run", "--rm", *HEAVY, "--memory", "384m", *say).stdout
    assert taken(daemon) == before


def test_a_spare_that_was_killed_holds_nobody_up(daemon: Daemon) -> None:
    (run,) = spare_runs(daemon)
    before = taken(daemon)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and run.name in _groups_of(entry):
            os.kill(int(entry.name), 9)
    assert Client("docker", daemon)("run", "--rm", *HEAVY, BUSYBOX, "echo", "1").stdout == "1\n"
    assert taken(daemon) == before


def _groups_of(process: Path) -> str:
    try:
        return (process / "cgroup").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize("point", points("spare"))
def test_the_daemon_is_killed_as_it_is_taken(daemon: Daemon, point: str) -> None:
    daemon.restart(HEFT_FAULT=point)
    wait_for_spare(daemon)
    body = {"Image": BUSYBOX, "Cmd": ["sleep", "1000"], "HostConfig": {"Runtime": "heavy"}}
    assert daemon.request("POST", "/containers/create?name=box", body).status == 201
    with pytest.raises((OSError, HTTPException)):
        daemon.request("POST", "/containers/box/start")
    daemon.wait_dead()
    daemon.start()
    assert state(daemon, "box") == "created"
    assert list(daemon.run.glob("machines/*")) == []
    assert daemon.request("POST", "/containers/box/start").status == 204
    assert Client("docker", daemon)("exec", "box", "echo", "well").stdout == "well\n"


def test_a_daemon_that_is_killed_leaves_it_to_the_next(daemon: Daemon) -> None:
    (run,) = spare_runs(daemon)
    daemon.restart()
    assert not run.exists()
    assert not [link for link in os.listdir("/sys/class/net") if link.startswith(NOWHERE)]
    assert state(daemon, "box") is None


def test_a_daemon_that_is_stopped_ends_it_and_no_machine(daemon: Daemon) -> None:
    docker = Client("docker", daemon)
    count = 'for i in $(seq 30); do echo "line $i"; sleep 0.2; done; exit 7'
    docker("run", "-d", "--name", "counts", *HEAVY, "--network", "none", BUSYBOX, "sh", "-c", count)
    wait_for_spare(daemon)
    (spare,) = spare_runs(daemon)
    daemon.stop()
    assert not spare.exists()
    assert len(list(daemon.run.glob("*/*/vm"))) == 1, "the machine goes on"
    daemon.start()
    assert docker("wait", "counts").stdout == "7\n"
    said = docker("logs", "counts").stdout.splitlines()
    assert said == [f"line {number}" for number in range(1, 31)]
