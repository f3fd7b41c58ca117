"""Daemons, monitors and workloads are killed, and what was acknowledged is there afterwards."""

import concurrent.futures
import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar
from tests.harness.pace import eventually, patience

pytestmark = pytest.mark.usefixtures("clean_host")

SECONDS = 20.0


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path).start()
    daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
    yield daemon
    daemon.clean_up()


def run(daemon: Daemon, name: str, script: str, **host: object) -> str:
    """Start a machine that runs a script, without a network unless it asks for one."""
    body = {
        "Image": BUSYBOX,
        "Cmd": ["sh", "-c", script],
        "HostConfig": {"NetworkMode": "none", **host},
    }
    made = daemon.request("POST", f"/containers/create?name={name}", body)
    assert made.status == 201, made.body
    started = daemon.request("POST", f"/containers/{name}/start")
    assert started.status == 204, started.body
    return str(made.json["Id"])


def state(daemon: Daemon, name: str) -> dict[str, object]:
    found: dict[str, object] = daemon.request("GET", f"/containers/{name}/json").json["State"]
    return found


def logged(daemon: Daemon, name: str) -> str:
    return Client("docker", daemon)("logs", name).stdout


def test_machines_run_on_and_logs_go_on(daemon: Daemon) -> None:
    script = "i=0; while true; do echo $i; i=$((i+1)); sleep 0.01; done"
    run(daemon, "counter", script)
    pid = state(daemon, "counter")["Pid"]
    eventually(lambda: "5\n" in logged(daemon, "counter"))
    daemon.kill()
    time.sleep(0.5)
    daemon.start()
    assert state(daemon, "counter")["Pid"] == pid
    lines = [int(line) for line in logged(daemon, "counter").split()]
    assert lines == list(range(len(lines)))
    assert len(lines) > 20
    assert Client("docker", daemon)("exec", "counter", "echo", "still").stdout == "still\n"


def test_what_ends_while_no_daemon_is_there(daemon: Daemon) -> None:
    run(daemon, "quick", "sleep 0.3; echo bye; exit 7")
    run(daemon, "gone", "sleep 0.3; exit 3", AutoRemove=True)
    run(daemon, "again", "sleep 0.3; exit 3", RestartPolicy={"Name": "always"})
    daemon.kill()
    time.sleep(0.8)
    daemon.start()
    found = state(daemon, "quick")
    assert (found["Status"], found["ExitCode"]) == ("exited", 7)
    assert logged(daemon, "quick") == "bye\n"
    eventually(lambda: daemon.request("GET", "/containers/gone/json").status == 404)
    eventually(lambda: state(daemon, "again")["Status"] == "running")


def test_a_waiter_gets_the_exit_code_of_a_machine_taken_over(daemon: Daemon) -> None:
    run(daemon, "box", "sleep 1; exit 9")
    daemon.restart()
    assert daemon.request("POST", "/containers/box/wait").json == {"StatusCode": 9}


def test_published_ports_and_names_survive(daemon: Daemon) -> None:
    script = "while true; do echo answer | nc -l -p 80; done"
    ports = {"80/tcp": [{"HostPort": "8091"}]}
    run(daemon, "server", script, NetworkMode="bridge", PortBindings=ports)
    daemon.restart()
    asked = "for i in 1 2 3 4 5 6 7 8 9; do nc server 80 && break; sleep 0.2; done"
    assert "answer" in Client("docker", daemon)("run", "--rm", BUSYBOX, "sh", "-c", asked).stdout
    taken = Client("docker", daemon)("run", "-d", "-p", "8091:80", BUSYBOX, "true", check=False)
    assert "port is already allocated" in taken.stderr


def monitor_of(pid: object) -> int:
    (line,) = [
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("PPid:")
    ]
    return int(line.split()[1])


def runs(pid: object) -> bool:
    """Say whether a process is there, and more than a zombie that nobody has reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_monitor_is_seen(daemon: Daemon) -> None:
    run(daemon, "box", "sleep 1000")
    pid = state(daemon, "box")["Pid"]
    monitor = monitor_of(pid)
    assert Path(f"/proc/{monitor}/comm").read_text() == "conmon\n"
    os.kill(monitor, signal.SIGKILL)
    eventually(lambda: state(daemon, "box")["Status"] == "exited")
    found = state(daemon, "box")
    assert (found["ExitCode"], found["Error"]) == (137, "its monitor was killed")
    assert not runs(pid)


def test_a_monitor_killed_while_no_daemon_is_there(daemon: Daemon) -> None:
    run(daemon, "box", "sleep 1000")
    pid = state(daemon, "box")["Pid"]
    daemon.kill()
    os.kill(monitor_of(pid), signal.SIGKILL)
    daemon.start()
    eventually(lambda: state(daemon, "box")["Status"] == "exited")
    assert state(daemon, "box")["ExitCode"] == 137


def test_a_killed_workload_is_seen(daemon: Daemon) -> None:
    run(daemon, "box", "sleep 1000", RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 1})
    first = state(daemon, "box")["Pid"]
    assert isinstance(first, int)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: state(daemon, "box")["Pid"] not in (0, first))
    second = state(daemon, "box")["Pid"]
    assert isinstance(second, int)
    os.kill(second, signal.SIGKILL)
    eventually(lambda: state(daemon, "box")["Status"] == "exited")
    assert state(daemon, "box")["ExitCode"] == 137


KILLS, ROUNDS = 12, 40


class Load:
    """A client that makes and unmakes machines, and remembers what it was promised."""

    def __init__(self, daemon: Daemon, number: int) -> None:
        self.daemon = daemon
        self.number = number
        self.random = random.Random(number)
        self.kept: set[str] = set()
        self.removed: set[str] = set()
        self.unsure: set[str] = set()
        self.rounds = 0

    def work(self, over: threading.Event) -> None:
        while not over.is_set():
            self.rounds += 1
            name = f"load-{self.number}-{self.rounds}"
            try:
                self._one(name)
            except (OSError, HTTPException):
                self.unsure.add(name)
                time.sleep(0.05)

    def _one(self, name: str) -> None:
        body = {
            "Image": BUSYBOX,
            "Cmd": ["sh", "-c", f"echo {name}; exit 5"],
            "HostConfig": {"NetworkMode": self.random.choice(["none", "bridge"])},
        }
        if self._ask("POST", f"/containers/create?name={name}", body) != 201:
            return
        if self.random.random() < 0.3:
            self.kept.add(name)
            return
        self._ask("POST", f"/containers/{name}/start")
        self._ask("POST", f"/containers/{name}/wait")
        if self.random.random() < 0.5:
            assert self._ask("DELETE", f"/containers/{name}") == 204
            self.removed.add(name)
        else:
            self.kept.add(name)

    def _ask(self, method: str, path: str, body: object = None) -> int:
        return self.daemon.request(method, path, body, timeout=SECONDS).status


def rounds(loads: list[Load]) -> int:
    return sum(load.rounds for load in loads)


def test_killed_at_random_under_load(daemon: Daemon) -> None:
    loads = [Load(daemon, number) for number in range(4)]
    end = time.monotonic() + patience(60)
    over, chance = threading.Event(), random.Random(2)
    with concurrent.futures.ThreadPoolExecutor(len(loads)) as pool:
        working = [pool.submit(load.work, over) for load in loads]
        kills = 0
        try:
            while (kills < KILLS or rounds(loads) < ROUNDS) and time.monotonic() < end:
                time.sleep(chance.uniform(0.1, 0.9))
                daemon.restart()
                kills += 1
        finally:
            over.set()
        for each in working:
            each.result()
    assert (kills >= KILLS, rounds(loads) >= ROUNDS) == (True, True)
    rows = daemon.request("GET", "/containers/json?all=1").json
    states = {row["Names"][0][1:]: row["State"] for row in rows}
    for load in loads:
        sure = load.kept - load.unsure
        assert sure <= states.keys(), sure - states.keys()
        assert not (load.removed - load.unsure) & states.keys()
    eventually(lambda: all(row["State"] != "running" for row in listed(daemon)))
    for row in listed(daemon):
        if row["State"] == "exited":
            assert "Exited (5)" in row["Status"] or "Exited (137)" in row["Status"], row
            assert logged(daemon, row["Id"]).strip() in ("", row["Names"][0][1:])
    directories = {entry.name for entry in (daemon.data / "machines").iterdir()}
    assert directories == {row["Id"] for row in listed(daemon)}


def listed(daemon: Daemon) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = daemon.request("GET", "/containers/json?all=1").json
    return rows


def test_two_hundred_machines_and_a_restart_within_two_seconds(daemon: Daemon) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda i: run(daemon, f"box-{i}", "sleep 1000"), range(200)))
    assert len(made) == 200
    daemon.kill()
    began = time.monotonic()
    daemon.start()
    rows = daemon.request("GET", "/containers/json").json
    took = time.monotonic() - began
    assert len(rows) == 200
    assert {row["State"] for row in rows} == {"running"}
    assert took < patience(2), f"it took {took:.2f} s"
    with contextlib.suppress(OSError), concurrent.futures.ThreadPoolExecutor(4) as pool:
        removing = [
            pool.submit(daemon.request, "DELETE", f"/containers/{machine}?force=1")
            for machine in made
        ]
        assert all(each.result().status == 204 for each in removing)
