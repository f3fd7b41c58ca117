"""The clock jumps, by days and by years, while the daemon runs: nothing hangs, nothing is refused.

The daemon's own clock is moved, not the host's: a `sitecustomize` adds to what `time.time` says.
"""

import threading
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar

pytestmark = pytest.mark.usefixtures("clean_host")

DAY = 24 * 3600
JUMPS = [-40 * 365 * DAY, 10 * 365 * DAY]
HOOK = """
import os, time
_path, _time, _time_ns = os.environ["TEST_CLOCK"], time.time, time.time_ns
def _offset():
    with open(_path) as file:
        return int(file.read() or 0)
time.time = lambda: _time() + _offset()
time.time_ns = lambda: _time_ns() + _offset() * 10**9
"""


class Clock:
    """What the daemon takes for the time."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "offset"
        self.jump(0)
        hook = directory / "sitecustomize.py"
        hook.write_text(HOOK)
        self.environment = {"TEST_CLOCK": str(self._file), "PYTHONPATH": str(directory)}

    def jump(self, seconds: int) -> None:
        """Set the clock so many seconds off the host's."""
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(self._file)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    directory = tmp_path / "clock"
    directory.mkdir()
    clock = Clock(directory)
    for name, value in clock.environment.items():
        monkeypatch.setenv(name, value, prepend=":" if name == "PYTHONPATH" else None)
    return clock


@pytest.fixture
def daemon(clock: Clock, tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path).start()
    daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
    yield daemon
    clock.jump(0)
    assert "Traceback" not in daemon.log.read_text()
    daemon.clean_up()


def create(daemon: Daemon, name: str, script: str, **host: Any) -> None:
    body = {
        "Image": BUSYBOX,
        "Cmd": ["sh", "-c", script],
        "HostConfig": {"NetworkMode": "none", **host},
    }
    assert daemon.request("POST", f"/containers/create?name={name}", body).status == 201


def do(daemon: Daemon, name: str, what: str) -> int:
    return daemon.request("POST", f"/containers/{name}/{what}", timeout=15).status


def status(daemon: Daemon, name: str) -> str:
    rows = daemon.request("GET", "/containers/json?all=1").json
    return next(row["Status"] for row in rows if row["Names"] == [f"/{name}"])


def test_the_clock_is_moved(daemon: Daemon, clock: Clock) -> None:
    clock.jump(10 * 365 * DAY)
    create(daemon, "box", "true")
    created = daemon.request("GET", "/containers/box/json").json["Created"]
    assert int(created[:4]) >= int(time.strftime("%Y")) + 9


@pytest.mark.parametrize("jump", JUMPS)
def test_a_life_over_a_jump(daemon: Daemon, clock: Clock, jump: int) -> None:
    create(daemon, "box", 'trap "exit 3" TERM; echo up; while :; do sleep 1000 & wait $!; done')
    assert do(daemon, "box", "start") == 204
    clock.jump(jump)
    assert status(daemon, "box").startswith("Up ")
    assert "-" not in status(daemon, "box")
    assert do(daemon, "box", "pause") == 204
    assert do(daemon, "box", "unpause") == 204
    began = time.monotonic()
    assert do(daemon, "box", "stop?t=9") == 204
    assert time.monotonic() - began < 8
    assert "-" not in status(daemon, "box")
    assert do(daemon, "box", "start") == 204
    daemon.restart()
    assert status(daemon, "box").startswith("Up ")
    assert b"up" in daemon.request("GET", "/containers/box/logs?stdout=1").body
    clock.jump(0)
    assert status(daemon, "box").startswith("Up ")
    assert do(daemon, "box", "restart?t=9") == 204
    assert do(daemon, "box", "kill") == 204
    assert daemon.request("POST", "/containers/box/wait").json == {"StatusCode": 137}
    assert daemon.request("DELETE", "/containers/box").status == 204


@pytest.mark.parametrize("jump", JUMPS)
def test_policies_go_on(daemon: Daemon, clock: Clock, jump: int) -> None:
    policy = {"Name": "on-failure", "MaximumRetryCount": 3}
    create(daemon, "again", "sleep 0.2; exit 1", RestartPolicy=policy)
    assert do(daemon, "again", "start") == 204
    clock.jump(jump)
    deadline = time.monotonic() + 15
    while not status(daemon, "again").startswith("Exited (1)"):
        assert time.monotonic() < deadline, status(daemon, "again")
        time.sleep(0.05)
    assert daemon.request("GET", "/containers/again/json").json["RestartCount"] == 3


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_streams_with_an_end_end(daemon: Daemon, clock: Clock, jump: int) -> None:
    create(daemon, "box", "while true; do echo x; sleep 0.1; done")
    assert do(daemon, "box", "start") == 204
    until = time.time() + 1
    answers: list[bytes] = []

    def ask(path: str) -> None:
        try:
            answers.append(daemon.request("GET", path, timeout=20).body)
        except (OSError, HTTPException) as error:
            answers.append(repr(error).encode())

    follow = f"/containers/box/logs?stdout=1&follow=1&until={until:.3f}"
    asked = (f"/events?until={until:.3f}", follow)
    threads = [threading.Thread(target=ask, args=(path,)) for path in asked]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    clock.jump(jump)
    do(daemon, "box", "pause")
    for thread in threads:
        thread.join(5)
    assert len(answers) == 2, "it has not ended"
    assert do(daemon, "box", "unpause") == 204
    assert daemon.request("POST", "/containers/prune").status == 200
    assert daemon.request("GET", "/containers/box/stats?stream=0").status == 200
