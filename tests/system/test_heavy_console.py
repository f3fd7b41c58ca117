"""The console of heavy machines, on a real terminal: what their kernels say, and what is typed."""

import re
import time
from collections.abc import Iterator
from signal import SIGCONT, SIGSTOP

import pytest

from heft.weights.heavy.qemu import CONSOLE_SIZE
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX
from tests.harness.pace import eventually
from tests.harness.serving import emptied
from tests.harness.terminal import Terminal

SECONDS = 30.0
SAY = "echo '<3>{}' >/dev/kmsg"
"""As an error: the kernel of guests is quiet about less (loglevel=4)."""
LEAVE = "\x1d"
"""Ctrl-]"""


@pytest.fixture
def heft(shared_daemon: Daemon) -> Iterator[Client]:
    """Give a client; `deep` is a machine whose devices are all there, and its kernel has spoken."""
    with emptied(shared_daemon):
        client = Client("heft", shared_daemon)
        options = ("-d", "--name", "deep", "--weight", "heavy", "--privileged", "--network", "none")
        client("run", *options, BUSYBOX, "sh", "-c", f"{SAY.format('first')}; sleep 1000")
        eventually(lambda: "first" in console(client))
        yield client


def console(client: Client, *options: str) -> str:
    """Give what the console has said last: without anything to type it is left at once."""
    return client("console", *options, "deep").stdout


def terminal(client: Client, *options: str) -> Terminal:
    opened = Terminal([*client.program, "console", *options, "deep"], client.environment)
    opened.until("ctrl-] leaves it")
    return opened


def test_what_was_said_stays_and_more_comes(heft: Client) -> None:
    with terminal(heft) as seen:
        seen.until("first")
        heft("exec", "deep", "sh", "-c", SAY.format("second"))
        seen.until("second")
        seen.write(LEAVE)
        assert seen.ended() == 0
    heft("exec", "deep", "sh", "-c", SAY.format("third"))
    said = console(heft)
    assert [said.count(word) for word in ("first", "second", "third")] == [1, 1, 1]


def test_what_is_typed_arrives(heft: Client) -> None:
    heft("exec", "-d", "deep", "sh", "-c", "exec sh </dev/ttyS0 >/dev/ttyS0 2>&1")
    with terminal(heft) as seen:
        seen.write("echo $((6 * 7))\r")
        seen.until("42")
        seen.write(LEAVE)
        assert seen.ended() == 0


def test_one_at_a_time_has_it(heft: Client) -> None:
    with terminal(heft) as seen:
        refused = heft("console", "deep", check=False)
        assert refused.returncode == 1
        assert "the console is in use" in refused.stderr
        assert "first" in console(heft, "--force")
        assert seen.ended() == 1
        assert b"the console has been closed" in seen.seen
    assert "first" in console(heft)


def test_a_killed_daemon_gives_it_back_and_the_machine_goes_on(
    heft: Client, shared_daemon: Daemon
) -> None:
    with terminal(heft) as seen:
        shared_daemon.restart()
        assert seen.ended() != 0
    heft("exec", "deep", "sh", "-c", SAY.format("later"))
    eventually(lambda: "later" in console(heft))


def test_one_who_does_not_read_holds_nobody_up_and_nothing_is_forgotten(heft: Client) -> None:
    with terminal(heft) as seen:
        seen.process.send_signal(SIGSTOP)
        flood = "for i in $(seq 20000); do echo line-$i-of-very-many-more; done >/dev/ttyS0"
        heft("exec", "-d", "deep", "sh", "-c", f"{flood}; touch /said")
        begin = time.monotonic()
        assert heft("exec", "deep", "echo", "well").stdout == "well\n"
        assert time.monotonic() - begin < SECONDS / 6
        heft("exec", "deep", "sh", "-c", "until test -e /said; do sleep 0.2; done")
        said = console(heft, "--force")
        assert len(said.encode()) <= CONSOLE_SIZE
        numbers = [int(each) for each in re.findall(r"line-(\d+)-of-very-many-more", said)]
        assert numbers == list(range(numbers[0], 20001))
        seen.process.send_signal(SIGCONT)


def test_a_panic_is_seen_there_and_told(heft: Client, shared_daemon: Daemon) -> None:
    with terminal(heft) as seen:
        panic(heft)
        seen.until("Kernel panic")
        assert seen.ended() == 1
    eventually(lambda: not state(shared_daemon)["Running"])
    assert "panicked" in state(shared_daemon)["Error"]


def test_a_panic_is_told_where_the_client_does_not_read(
    heft: Client, shared_daemon: Daemon
) -> None:
    with terminal(heft) as seen:
        seen.process.send_signal(SIGSTOP)
        panic(heft)
        eventually(lambda: not state(shared_daemon)["Running"])
        assert "panicked" in state(shared_daemon)["Error"]
        seen.process.send_signal(SIGCONT)


def panic(heft: Client) -> None:
    # It may be over before it has answered.
    heft("exec", "-d", "deep", "sh", "-c", "echo c >/proc/sysrq-trigger", check=False)


def state(daemon: Daemon) -> dict:
    return daemon.request("GET", "/containers/deep/json").json["State"]


def test_a_light_machine_has_none(heft: Client) -> None:
    heft("run", "-d", "--name", "flat", BUSYBOX, "sleep", "1000")
    refused = heft("console", "flat", check=False)
    assert refused.returncode == 1
    assert "container flat has no console" in refused.stderr
    gone = heft("console", "nosuch", check=False)
    assert "No such container: nosuch" in gone.stderr
