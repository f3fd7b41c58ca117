"""`heft weigh`: one image at every weight, measured; and nothing of it is left."""

import json
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from heft.cli.address import Address
from heft.cli.client import Client as ApiClient
from heft.cli.weighing import machines as owners
from heft.cli.weighing import program
from heft.cli.weighing.figures import Column
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX
from tests.harness.pace import eventually, patience
from tests.harness.serving import emptied

MEASURED = {"warm", "memory", "cpu", "syscall", "fork", "write", "read", "network"}


@pytest.fixture
def heft(shared_daemon: Daemon) -> Iterator[Client]:
    with emptied(shared_daemon):
        yield Client("heft", shared_daemon)


def machines(daemon: Daemon) -> list[str]:
    return [each["Id"] for each in daemon.request("GET", "/containers/json?all=1").json]


def test_what_is_measured(heft: Client, shared_daemon: Daemon, tmp_path: Path) -> None:
    page, drawing = tmp_path / "page.html", tmp_path / "bars.svg"
    options = ("--json", "--html", page, "--svg", drawing)
    done = heft("weigh", *options, BUSYBOX, "sleep", "0.1", timeout=patience(90))
    found = json.loads(done.stdout)
    columns = {each["weight"]: each for each in found["columns"]}
    known = shared_daemon.request("GET", "/heft/v1/weights").json["weights"]
    assert columns.keys() == {"native", *(name for name in known if known[name]["fits"])}
    shown = done.stdout + page.read_text() + drawing.read_text()
    assert ("xen" in shown) == known["medium:xen"]["fits"]
    for name, column in columns.items():
        if name != "native" and not known[name]["ok"]:
            assert column["why"]
            continue
        assert column["why"] == ""
        rest = set() if name == "native" else {"cold", "command"}
        assert column["values"].keys() == MEASURED | rest
        assert all(value > 0 for value in column["values"].values())
    light, heavy = columns["light"]["values"], columns["heavy"]["values"]
    assert light["warm"] < heavy["cold"]
    assert light["memory"] < 16 << 20 < heavy["memory"] < 512 << 20
    assert 0.1 < light["command"] < heavy["command"]
    assert light["cpu"] > columns["native"]["values"]["cpu"] / 3
    assert found["advice"].startswith("Take light: your command takes ")
    assert "native: measuring" in done.stderr
    assert ElementTree.fromstring(drawing.read_text()).tag.endswith("svg")
    assert "<td>computing</td>" in page.read_text()
    assert machines(shared_daemon) == []


def test_a_command_that_is_ended_leaves_nothing(heft: Client, shared_daemon: Daemon) -> None:
    place = Path(tempfile.gettempdir())
    before = sorted(place.glob("*heft*weigh*"))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        process = subprocess.Popen(
            [*heft.program, "weigh", "-q", BUSYBOX],
            env=heft.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: len(machines(shared_daemon)) > 0)
        process.send_signal(number)
        process.wait(timeout=patience(20))
        # What was killed left the removal to the machine's own end, or to the next command.
        if number == signal.SIGKILL:
            with pytest.raises(subprocess.TimeoutExpired):
                subprocess.run(
                    [*heft.program, "weigh", "-q", BUSYBOX],
                    env=heft.environment,
                    capture_output=True,
                    timeout=1,
                    check=False,
                )
            eventually(lambda: len(machines(shared_daemon)) <= 1)
        else:
            assert machines(shared_daemon) == []
    assert sorted(place.glob("*heft*weigh*")) == before


class Interrupted(ApiClient):
    """Ends its own process by a signal when a machine is made, and it knows nothing of it yet."""

    def call(self, method: str, place: str, *rest: Any, **more: Any) -> Any:
        value = super().call(method, place, *rest, **more)
        if place == "/containers/create":
            signal.raise_signal(signal.SIGINT)
        return value


@pytest.mark.parametrize("command", [[], ["true"]])
def test_one_that_is_ended_as_it_makes_a_machine_removes_it(
    heft: Client, shared_daemon: Daemon, command: list[str]
) -> None:
    code = shared_daemon.request("GET", "/heft/v1/probe").body
    client = Interrupted(Address(path=str(shared_daemon.socket)))
    scale = owners.Scale(client, BUSYBOX, command, None)
    measure = partial(scale._time_command) if command else partial(scale.weigh, program=code)
    before = signal.getsignal(signal.SIGINT)
    with closing(client), pytest.raises(KeyboardInterrupt):
        measure(Column("light"))
    assert machines(shared_daemon) == []
    assert signal.getsignal(signal.SIGINT) is before


def test_whose_machine_it_was() -> None:
    own = owners._own()
    space, _, _ = own.rpartition(".")[0].rpartition(".")
    assert not owners._is_gone(own)
    assert owners._is_gone(f"{own}1")
    assert owners._is_gone(f"{space}.{(1 << 22) + 1}.5")
    # What cannot be seen from here may still be wanted.
    assert not owners._is_gone(f"{space}1.{(1 << 22) + 1}.5")
    assert not owners._is_gone("")


def test_a_sink_takes_from_many_at_once(shared_daemon: Daemon) -> None:
    code = shared_daemon.request("GET", "/heft/v1/probe").body
    with program.here(code) as here, program.sink(here, "127.0.0.1") as to, ExitStack() as stack:
        assert to is not None

        def connect() -> socket.socket:
            made = socket.create_connection((to[0], int(to[1])), timeout=patience(5))
            return stack.enter_context(made)

        silent = [connect() for _ in range(17)]
        other = connect()
        other.sendall(bytes(1 << 22))
        other.shutdown(socket.SHUT_WR)
        assert other.recv(1) == b""
        assert silent[0].recv(1) == b""


def test_what_cannot_be_weighed(heft: Client, shared_daemon: Daemon) -> None:
    done = heft("weigh", "nothing", check=False)
    assert done.returncode == 1
    assert "nothing" in done.stderr
    nowhere = ("--svg", "/nowhere/bars.svg")
    done = heft("weigh", "-q", "--platform", "linux/vax", *nowhere, BUSYBOX, check=False)
    assert done.returncode == 1
    assert "cannot write /nowhere/bars.svg: No such file" in done.stderr
    (said,) = [
        line for line in done.stdout.splitlines() if line.startswith("light vax: not here: ")
    ]
    assert "heft bootstrap NAME --platform linux/vax" in said
    assert "Take " in done.stdout
