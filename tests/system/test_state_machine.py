"""Every call of a machine's life, in any order, against a model; daemons are killed in between.

`HEFT_STATE_EXAMPLES=200` looks longer, and elsewhere each time; without it the walk is always the
same one, within a minute.
"""

import functools
import os
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    rule,
    run_state_machine_as_test,
)

from tests.harness import leaks
from tests.harness.daemon import Answer, Daemon
from tests.harness.images import BUSYBOX, busybox_tar

EXAMPLES = int(os.environ.get("HEFT_STATE_EXAMPLES", "0"))
STEPS = 24
SECONDS = 20.0
NAMES = ("ant", "bee", "cat", "dog")
SCRIPT = 'trap "exit 3" TERM; echo up; while :; do sleep 1000 & wait $!; done'
"""Says that it is up, once a run, and ends with 3 when it is asked to."""
ENDED = ("created", "exited")

indexes = st.integers(0, len(NAMES) - 1)
delays = st.sampled_from((0.0, 0.001, 0.003, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05))


@dataclass
class Box:
    """What the model knows of a machine."""

    name: str
    id: str
    policy: str
    state: str = "created"
    code: int = 0
    ups: int = 0
    """How often it has come up."""

    @property
    def is_up(self) -> bool:
        return self.state in ("running", "paused")


story: list[str] = []
"""What was done since the last beginning, and what went wrong with it."""


def step(**draws: Any) -> Callable[[Callable[..., None]], Any]:
    """Make a rule whose failure is written down: with real daemons, none comes twice the same."""

    def make(function: Callable[..., None]) -> Any:
        @functools.wraps(function)
        def noted(self: "Life", **drawn: Any) -> None:
            story.append(f"{function.__name__} {drawn}")
            try:
                function(self, **drawn)
                self.all_is_as_it_was_said()
            except Exception:
                story.append(traceback.format_exc())
                raise

        return rule(**draws)(noted)

    return make


class Life(RuleBasedStateMachine):
    """Does one thing at a time; what was answered must be so, and stay so."""

    daemon: Daemon

    def __init__(self) -> None:
        super().__init__()
        if "Traceback" not in "".join(story):
            story.clear()
        self.boxes: list[Box] = []

    # Asking

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        return self.daemon.request(method, path, body, timeout=SECONDS)

    def post(self, box: Box, what: str) -> Answer:
        return self.ask("POST", f"/containers/{box.name}/{what}")

    def state(self, box: Box) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"/containers/{box.id}/json").json["State"]
        return found

    def log(self, box: Box) -> bytes:
        return self.ask("GET", f"/containers/{box.id}/logs?stdout=1").body

    def until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"{what} never came"
            time.sleep(0.005)

    def wait_up(self, box: Box) -> None:
        """Wait until the workload is ready to be asked to end."""
        if box.state == "running":
            self.until(lambda: self.log(box).count(b"up\n") == box.ups, f"{box} up")

    def pick(self, number: int) -> Box | None:
        return self.boxes[number % len(self.boxes)] if self.boxes else None

    def came_up(self, box: Box) -> None:
        box.state = "running"
        box.ups += 1

    def ended(self, box: Box, *codes: int) -> None:
        found = self.state(box)
        assert found["Status"] == "exited", (box, found)
        assert found["ExitCode"] in codes, (box, found)
        box.state, box.code = "exited", found["ExitCode"]

    # What users do

    @step(
        network=st.sampled_from(("none", "none", "bridge")),
        policy=st.sampled_from(("", "", "unless-stopped")),
        delay=st.none() | delays,
    )
    def create(self, network: str, policy: str, delay: float | None) -> None:
        free = [each for each in NAMES if each not in {box.name for box in self.boxes}]
        if not free:
            return
        name = free[0]
        body = {
            "Image": BUSYBOX,
            "Cmd": ["sh", "-c", SCRIPT],
            "Volumes": {"/data": {}},
            "HostConfig": {"NetworkMode": network, "RestartPolicy": {"Name": policy}},
        }
        path = f"/containers/create?name={name}"
        answer = self.killed_during(delay, "POST", path, body)
        found = self.ask("GET", f"/containers/{name}/json")
        if answer is not None:
            assert (answer.status, found.status) == (201, 200), answer.body
        if found.status == 200:
            self.boxes.append(Box(name, found.json["Id"], policy))
        assert self.ask("POST", path, body).status == (409 if found.status == 200 else 201)
        if found.status != 200:
            made = self.ask("GET", f"/containers/{name}/json").json["Id"]
            self.boxes.append(Box(name, made, policy))

    @step(number=indexes, delay=st.none() | delays)
    def start(self, number: int, delay: float | None) -> None:
        if (box := self.pick(number)) is None:
            return
        answer = self.killed_during(delay, "POST", f"/containers/{box.name}/start")
        if answer is None:
            if not box.is_up and self.settled(box) == "running":
                self.came_up(box)
            return
        expected = {"running": 304, "paused": 409}.get(box.state, 204)
        assert answer.status == expected, (box, answer.body)
        if expected == 204:
            self.came_up(box)

    @step(number=indexes, seconds=st.sampled_from((0, 9)), delay=st.none() | delays)
    def stop(self, number: int, seconds: int, delay: float | None) -> None:
        if (box := self.pick(number)) is None:
            return None
        self.wait_up(box)
        path = f"/containers/{box.name}/stop?t={seconds}"
        answer = self.killed_during(delay, "POST", path)
        if answer is None:
            return self.perhaps_ended(box, 3, 137)
        assert answer.status == (204 if box.is_up else 304), (box, answer.body)
        if box.is_up:
            self.ended(box, 3, *((137,) if seconds == 0 else ()))
        return None

    @step(number=indexes, delay=st.none() | delays)
    def kill(self, number: int, delay: float | None) -> None:
        if (box := self.pick(number)) is None:
            return None
        self.wait_up(box)
        answer = self.killed_during(delay, "POST", f"/containers/{box.name}/kill")
        if answer is None:
            return self.perhaps_ended(box, 3, 137)
        assert answer.status == (204 if box.is_up else 409), (box, answer.body)
        if box.is_up:
            self.ended(box, 137)
        return None

    @step(number=indexes, delay=st.none() | delays)
    def restart(self, number: int, delay: float | None) -> None:
        if (box := self.pick(number)) is None:
            return
        self.wait_up(box)
        pid = self.state(box)["Pid"]
        answer = self.killed_during(delay, "POST", f"/containers/{box.name}/restart?t=9")
        if answer is None:
            self.perhaps_ended(box, 3, 137)
            if self.settled(box) == "running" and self.state(box)["Pid"] != pid:
                self.came_up(box)
            return
        assert answer.status == 204, (box, answer.body)
        self.came_up(box)

    @step(number=indexes, delay=st.none() | delays)
    def pause(self, number: int, delay: float | None) -> None:
        if (box := self.pick(number)) is None:
            return None
        self.wait_up(box)
        answer = self.killed_during(delay, "POST", f"/containers/{box.name}/pause")
        if answer is None:
            return self.observe(box, "running", "paused")
        assert answer.status == (204 if box.state == "running" else 409), (box, answer.body)
        box.state = "paused" if box.state == "running" else box.state
        return None

    @step(number=indexes, delay=st.none() | delays)
    def unpause(self, number: int, delay: float | None) -> None:
        if (box := self.pick(number)) is None:
            return None
        answer = self.killed_during(delay, "POST", f"/containers/{box.name}/unpause")
        if answer is None:
            return self.observe(box, "running", "paused")
        assert answer.status == (204 if box.state == "paused" else 409), (box, answer.body)
        box.state = "running" if box.state == "paused" else box.state
        return None

    @step(number=indexes, other=indexes, delay=st.none() | delays)
    def rename(self, number: int, other: int, delay: float | None) -> None:
        if (box := self.pick(number)) is None:
            return
        new = NAMES[other]
        taken = new in {each.name for each in self.boxes}
        answer = self.killed_during(delay, "POST", f"/containers/{box.name}/rename?name={new}")
        if answer is None:
            box.name = self.ask("GET", f"/containers/{box.id}/json").json["Name"][1:]
            return
        assert answer.status == (409 if taken else 204), (box, new, answer.body)
        box.name = box.name if taken else new

    @step(number=indexes, force=st.booleans(), delay=st.none() | delays)
    def remove(self, number: int, force: bool, delay: float | None) -> None:
        if (box := self.pick(number)) is None:
            return None
        self.wait_up(box)
        path = f"/containers/{box.name}?v=1&force={int(force)}"
        answer = self.killed_during(delay, "DELETE", path)
        if answer is None:
            if self.ask("GET", f"/containers/{box.id}/json").status == 404:
                assert force or not box.is_up, box
                self.boxes.remove(box)
                return None
            return self.perhaps_ended(box, 3, 137)
        assert answer.status == (409 if box.is_up and not force else 204), (box, answer.body)
        if answer.status == 204:
            self.boxes.remove(box)
        return None

    @step(number=indexes)
    def wait(self, number: int) -> None:
        box = self.pick(number)
        if box is None or (box.is_up and box.state == "paused"):
            return
        if not box.is_up:
            assert self.post(box, "wait").json == {"StatusCode": box.code}
            return
        self.wait_up(box)
        codes: list[int] = []
        waiter = threading.Thread(
            target=lambda: codes.append(self.post(box, "wait").json["StatusCode"])
        )
        waiter.start()
        assert self.post(box, "stop").status == 204
        waiter.join(SECONDS)
        self.ended(box, 3)
        assert codes == [3], codes

    @step(number=indexes, code=st.integers(0, 255))
    def exec(self, number: int, code: int) -> None:
        if (box := self.pick(number)) is None:
            return
        asked = {"Cmd": ["sh", "-c", f"echo said; exit {code}"], "AttachStdout": True}
        made = self.ask("POST", f"/containers/{box.name}/exec", asked)
        assert made.status == (201 if box.state == "running" else 409), (box, made.body)
        if made.status != 201:
            return
        said = self.ask("POST", f"/exec/{made.json['Id']}/start", {"Detach": False})
        assert said.body.endswith(b"said\n"), said.body
        found = self.ask("GET", f"/exec/{made.json['Id']}/json").json
        assert (found["Running"], found["ExitCode"]) == (False, code)

    @step(number=indexes)
    def logs(self, number: int) -> None:
        if (box := self.pick(number)) is None:
            return
        self.wait_up(box)
        assert self.log(box).count(b"up\n") == box.ups, box

    @step()
    def prune(self) -> None:
        over = {box.id for box in self.boxes if not box.is_up}
        removed = set(self.ask("POST", "/containers/prune").json["ContainersDeleted"] or ())
        assert removed == over
        # As in Docker, their anonymous volumes stay until volumes are pruned.
        volumes = self.ask("POST", "/volumes/prune").json["VolumesDeleted"] or []
        assert len(volumes) == len(over)
        self.boxes = [box for box in self.boxes if box.is_up]

    # What happens to them

    @step()
    def kill_daemon(self) -> None:
        self.daemon.restart()

    @step(number=indexes)
    def kill_workload(self, number: int) -> None:
        box = self.pick(number)
        if box is None or box.state != "running":
            return
        self.wait_up(box)
        self.strike(box, self.state(box)["Pid"])

    @step(number=indexes, unseen=st.booleans())
    def kill_monitor(self, number: int, unseen: bool) -> None:
        box = self.pick(number)
        if box is None or not box.is_up:
            return
        self.wait_up(box)
        workload = self.state(box)["Pid"]
        status = Path(f"/proc/{workload}/status").read_text()
        monitor = int(status.partition("PPid:")[2].split()[0])
        if unseen:
            self.daemon.kill()
        self.strike(box, monitor, workload)
        assert not Path(f"/proc/{workload}/exe").exists() or self.state(box)["Pid"] != workload

    def strike(self, box: Box, pid: int, workload: int = 0) -> None:
        """Kill a process of a machine, and see what the machine's policy makes of that."""
        os.kill(pid, signal.SIGKILL)
        if self.daemon.process is not None and self.daemon.process.poll() is not None:
            self.daemon.start()
        if box.policy:
            old = workload or pid
            self.until(lambda: self.state(box)["Pid"] not in (0, old), f"{box} again")
            self.came_up(box)
            return
        self.until(lambda: self.state(box)["Status"] == "exited", f"{box} exited")
        self.ended(box, 137)

    # A daemon killed in the middle

    def killed_during(
        self, delay: float | None, method: str, path: str, body: Any = None
    ) -> Answer | None:
        """Ask; with a delay, kill the daemon so long after, and start another.

        None where no answer came: then it may or may not have happened.
        """
        if delay is None:
            return self.ask(method, path, body)
        answers: list[Answer] = []

        def asking() -> None:
            try:
                answers.append(self.ask(method, path, body))
            except (OSError, HTTPException):
                return

        thread = threading.Thread(target=asking)
        thread.start()
        time.sleep(delay)
        self.daemon.kill()
        thread.join(SECONDS)
        self.daemon.start()
        return answers[0] if answers else None

    def settled(self, box: Box) -> str:
        """Give the state of a machine that may just be started again: its policy may want it up."""
        self.until(lambda: self.state(box)["Status"] != "restarting", f"{box} settled")
        return str(self.state(box)["Status"])

    def perhaps_ended(self, box: Box, *codes: int) -> None:
        """Take over whether a run ended: the next daemon finishes a stop that was recorded."""
        if not box.is_up:
            return
        if self.is_being_stopped(box):
            self.until(lambda: self.state(box)["Status"] == "exited", f"{box} stopped")
        found = self.state(box)["Status"]
        if found == "exited":
            self.ended(box, *codes)
        else:
            box.state = found

    def is_being_stopped(self, box: Box) -> bool:
        store = sqlite3.connect(f"file:{self.daemon.data}/heft.db?mode=ro", uri=True)
        try:
            (wanted,) = store.execute(
                "SELECT json_extract(document, '$.stopped_by_user') FROM machines WHERE id = ?",
                (box.id,),
            ).fetchone()
        finally:
            store.close()
        return bool(wanted)

    def observe(self, box: Box, *states: str) -> None:
        found = self.state(box)["Status"]
        if box.is_up:
            assert found in states, (box, found)
            box.state = found
        else:
            assert found == box.state, (box, found)

    # What must hold

    def all_is_as_it_was_said(self) -> None:
        rows = self.ask("GET", "/containers/json?all=1").json
        found = {row["Names"][0][1:]: (row["Id"], row["State"]) for row in rows}
        assert found == {box.name: (box.id, box.state) for box in self.boxes}
        volumes = self.ask("GET", "/volumes").json["Volumes"] or []
        assert len(volumes) == len(self.boxes)
        kept = {entry.name for entry in (self.daemon.data / "machines").iterdir()}
        assert kept == {box.id for box in self.boxes}

    def teardown(self) -> None:
        for row in self.ask("GET", "/containers/json?all=1").json:
            assert self.ask("DELETE", f"/containers/{row['Id']}?force=1&v=1").status == 204
        super().teardown()


@pytest.fixture
def daemon(clean_host: None) -> Iterator[Daemon]:
    directory = Path(tempfile.mkdtemp(prefix="heft-states-"))
    daemon = Daemon(directory).start()
    daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
    yield daemon
    daemon.clean_up()
    shutil.rmtree(directory)


def test_a_life_in_any_order(daemon: Daemon) -> None:
    before = leaks.look()
    Life.daemon = daemon
    how = settings(
        max_examples=EXAMPLES or 15,
        stateful_step_count=STEPS,
        derandomize=not EXAMPLES,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(Life, settings=how)  # type: ignore[no-untyped-call]
    except Exception as error:
        pytest.fail("\n".join((*story, f"{type(error).__name__}: {error}")), pytrace=False)
    left = leaks.settle(before)
    left.pop("processes", None)  # another daemon, and another name server, than before
    assert not left
    assert not list((daemon.data / "volumes").iterdir())
