"""Lines on their way to a receiver of syslog, while daemons and receivers die."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar
from tests.harness.pace import eventually
from tests.harness.receiver import Receiver
from tests.system.test_daemon_crash import die_at, points
from tests.system.test_recovery import state

pytestmark = pytest.mark.usefixtures("clean_host")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "daemon").start()
    daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
    yield daemon
    daemon.clean_up()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver("tcp") as receiver:
        yield receiver


def create(daemon: Daemon, receiver: Receiver, script: str, **host: Any) -> None:
    options = {"syslog-address": receiver.address, **host.pop("options", {})}
    body = {
        "Image": BUSYBOX,
        "Cmd": ["sh", "-c", script],
        "HostConfig": {
            "NetworkMode": "none",
            "LogConfig": {"Type": "syslog", "Config": options},
            **host,
        },
    }
    answer = daemon.request("POST", "/containers/create?name=box", body)
    assert answer.status == 201, answer.body


def start(daemon: Daemon) -> None:
    answer = daemon.request("POST", "/containers/box/start")
    assert answer.status == 204, answer.body


def numbers(messages: list[str]) -> list[int]:
    return [int(message.rpartition(": ")[2]) for message in messages]


def assert_each_came(receiver: Receiver) -> None:
    """Both lines, in order; one is there twice if it was just being noted when its daemon died."""

    def said() -> list[str]:
        return [message.rpartition(": ")[2] for message in receiver.messages()]

    eventually(lambda: "bye" in said())
    found = said()
    assert list(dict.fromkeys(found)) == ["hello", "bye"]
    assert len(found) <= 3


def counting(most: int, pause: str = "0.002") -> str:
    return f"i=0; while [ $i -lt {most} ]; do echo $i; i=$((i+1)); sleep {pause}; done"


def test_a_daemon_that_is_killed_again_and_again(daemon: Daemon, receiver: Receiver) -> None:
    """Nothing is lost, and no more than one line doubled by each death."""
    create(daemon, receiver, counting(1500))
    start(daemon)
    kills = 0
    while state(daemon, "box")["Running"]:
        time.sleep(0.3)
        daemon.kill()
        kills += 1
        daemon.start()
    eventually(lambda: 1499 in numbers(receiver.messages()))
    found = Counter(numbers(receiver.messages()))
    assert sorted(found) == list(range(1500))
    assert kills > 1
    assert found.total() - len(found) <= kills


def test_what_is_written_while_no_daemon_is_there(daemon: Daemon, receiver: Receiver) -> None:
    create(daemon, receiver, "echo first; sleep 0.5; echo second; exit 3")
    start(daemon)
    receiver.until(1)
    daemon.kill()
    time.sleep(1)
    assert len(receiver.messages()) == 1
    daemon.start()
    assert receiver.until(2)[1].endswith(": second")
    assert state(daemon, "box")["ExitCode"] == 3


def test_what_has_yet_to_be_sent_of_a_machine_that_is_gone(
    daemon: Daemon, receiver: Receiver
) -> None:
    create(daemon, receiver, "echo first; sleep 0.5; echo second", AutoRemove=True)
    start(daemon)
    receiver.until(1)
    daemon.kill()
    time.sleep(1)
    daemon.start()
    assert receiver.until(2)[1].endswith(": second")
    eventually(lambda: daemon.request("GET", "/containers/box/json").status == 404)


def test_a_receiver_that_goes_and_comes_back(daemon: Daemon) -> None:
    """What was in the connection's pipes when it broke is lost; nothing else."""
    with Receiver("tcp") as first:
        port = first.port
        create(daemon, first, counting(400, "0.005"))
        start(daemon)
        before = len(first.until(50))
    eventually(lambda: "dial tcp" in daemon.log.read_text())
    with Receiver("tcp", port) as second:
        eventually(lambda: 399 in numbers(second.messages()))
        found = numbers(second.messages())
    assert found == list(range(found[0], 400))
    assert found[0] <= before + 20


def test_a_receiver_that_is_gone_holds_no_removal_up(daemon: Daemon) -> None:
    with Receiver("tcp") as receiver:
        create(daemon, receiver, f"{counting(5)}; sleep 1000")
        start(daemon)
        receiver.until(5)
    Client("heft", daemon)("exec", "box", "sh", "-c", "echo lost > /proc/1/fd/1")
    eventually(lambda: "dial tcp" in daemon.log.read_text())
    began = time.monotonic()
    assert daemon.request("DELETE", "/containers/box?force=1").status == 204
    assert time.monotonic() - began < 4
    assert "could not be sent" in daemon.log.read_text()


def test_rotation_on_the_way(daemon: Daemon, receiver: Receiver) -> None:
    limits = {"cache-max-size": "20k", "cache-max-file": "3"}
    create(daemon, receiver, counting(2000, "0.001"), options=limits)
    start(daemon)
    eventually(lambda: 1999 in numbers(receiver.messages()))
    assert numbers(receiver.messages()) == list(range(2000))


def test_one_run_after_another(daemon: Daemon, receiver: Receiver) -> None:
    create(daemon, receiver, "date +%N; exit 1", RestartPolicy={"Name": "on-failure"})
    start(daemon)
    receiver.until(3)
    daemon.request("POST", "/containers/box/stop")
    logged = Client("docker", daemon)("logs", "box").stdout.split()
    eventually(lambda: len(receiver.messages()) >= len(logged))
    assert [message.rpartition(": ")[2] for message in receiver.messages()] == logged


@pytest.mark.parametrize("point", points("start"))
def test_a_daemon_that_dies_at_a_start(daemon: Daemon, receiver: Receiver, point: str) -> None:
    create(daemon, receiver, "echo hello; sleep 1000")
    die_at(daemon, point, "POST", "/containers/box/start")
    if not state(daemon, "box")["Running"]:
        start(daemon)
    receiver.until(1)
    Client("heft", daemon)("exec", "box", "sh", "-c", "echo bye > /proc/1/fd/1")
    assert_each_came(receiver)


@pytest.mark.parametrize("point", [*points("exit"), *points("remove")])
def test_a_daemon_that_dies_at_an_end(daemon: Daemon, receiver: Receiver, point: str) -> None:
    create(daemon, receiver, "trap 'echo bye; exit' TERM; echo hello; while sleep 0.01; do :; done")
    start(daemon)
    receiver.until(1)
    if point.startswith("remove"):
        assert daemon.request("POST", "/containers/box/stop").status == 204
        die_at(daemon, point, "DELETE", "/containers/box")
    else:
        die_at(daemon, point, "POST", "/containers/box/stop")
    assert_each_came(receiver)
