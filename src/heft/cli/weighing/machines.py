"""Machines that are there only to be measured, and are always removed.

They go by themselves when whoever watches them goes: their input ends then, and with it what runs
in them. What a killed command left before that is removed by the next: at once where it can see
that its process is gone, else when no command could still want it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from heft.cli.client import path
from heft.cli.failures import Failure, Refusal
from heft.cli.foreground import Waiting
from heft.cli.frames import Demultiplexer
from heft.cli.weighing.endings import held
from heft.cli.weighing.program import NAME, Results, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from heft.cli.client import Client
    from heft.cli.weighing.figures import Column

LABEL = "heft.weigh"
LONGEST = 15.0
"""Seconds that the user's command may take at one weight."""
OLDEST = 600.0
"""Seconds after which a machine is nobody's: none is measured for nearly as long."""
SILENCE = 30.0
"""Seconds without a word after which a machine is given up."""


class Scale:
    """Measures an image at one weight after the other."""

    def __init__(
        self, client: Client, image: str, command: list[str], to: tuple[str, str] | None
    ) -> None:
        self._client = client
        self._image = image
        self._command = command
        self._to = to or ()

    def weigh(self, column: Column, program: bytes) -> None:
        """Fill a column. Raises `Failure`, `Refusal` where that cannot be done."""
        tar = packed(program)
        with self._machine(column, ["first"], cold=True) as (name, taken):
            self._give(name, tar)
            column.values["cold"] = taken + self._run(name, column, "cold")
        with self._machine(column, ["measure", "/", *self._to]) as (name, taken):
            self._give(name, tar)
            column.values["warm"] = taken + self._run(name, column, "warm")
        if self._command:
            column.values["command"] = self._time_command(column)

    def _body(self, column: Column, **more: Any) -> dict[str, Any]:
        host = {"Runtime": column.weight, "AutoRemove": True, "LogConfig": {"Type": "none"}}
        return {
            "Image": self._image,
            "Labels": {LABEL: _own()},
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": host,
            **more,
        }

    @contextlib.contextmanager
    def _machine(
        self, column: Column, words: list[str], *, cold: bool = False
    ) -> Iterator[tuple[str, float]]:
        """Give a machine that is to run the program, and the seconds that making it took."""
        body = self._body(
            column,
            Entrypoint=[f"/{NAME}"],
            Cmd=words,
            User="0",
            WorkingDir="/",
            OpenStdin=True,
            StdinOnce=True,
        )
        begun = time.monotonic()
        with self._made(body, column.platform, cold=cold) as name:
            yield name, time.monotonic() - begun

    @contextlib.contextmanager
    def _made(self, body: dict[str, Any], platform: str, *, cold: bool = False) -> Iterator[str]:
        """Give a machine's id; it is removed afterwards, whenever a signal ends the command."""
        with contextlib.ExitStack() as stack:
            with held():  # until it is known by an id
                name = self._create(body, platform, cold=cold)
                stack.callback(self._remove, name)
            yield name

    def _create(self, body: dict[str, Any], platform: str, *, cold: bool = False) -> str:
        where = {"platform": platform}
        if cold:
            labels = {**body["Labels"], "heft.boot": "cold"}
            with contextlib.suppress(Refusal):  # a weight that boots no kernel of its own
                cold_body = {**body, "Labels": labels}
                made = self._client.call("POST", "/containers/create", where, body=cold_body)
                return str(made["Id"])
        return str(self._client.call("POST", "/containers/create", where, body=body)["Id"])

    def _give(self, name: str, tar: bytes) -> None:
        place = path("containers", name, "archive")
        self._client.open("PUT", place, {"path": "/"}, stream=[tar]).read()

    def _remove(self, name: str) -> None:
        with held(), contextlib.suppress(Refusal):
            self._client.delete(path("containers", name), force=True)

    def _run(self, name: str, column: Column, what: str) -> float:
        """Start a machine that has the program; give the seconds until its first word."""
        streams = {"stream": True, "stdin": True, "stdout": True}
        connection, _ = self._client.hijack(path("containers", name, "attach"), **streams)
        frames, results = Demultiplexer(), Results(column)
        begun = time.monotonic()
        try:
            self._client.post(path("containers", name, "start"))
            while not (results.idle or (what == "cold" and results.first)):
                if not connection.comes(SILENCE):
                    raise Failure(f"it said nothing for {SILENCE:.0f} s")
                data = connection.some()
                if not data:
                    break
                for _, piece in frames.feed(data):
                    results.take(piece)
                if what == "warm" and results.first and "memory" not in column.values:
                    found = self._client.get(path("heft", "v1", "machines", name, "memory"))
                    column.values["memory"] = found["pss"]
        finally:
            connection.close()
        if not results.first:
            raise Failure("the program that measures did not run in it")
        return results.first - begun

    def _time_command(self, column: Column) -> float:
        """Give the seconds from nothing to the end of a machine with the user's command."""
        body = self._body(column, Cmd=self._command)
        begun = time.monotonic()
        with self._made(body, column.platform) as name:
            waiting = Waiting(self._client, name, "next-exit")
            self._client.post(path("containers", name, "start"))
            code = waiting.code() if waiting.over_within(LONGEST) else None
            taken = time.monotonic() - begun
        if code is None:
            raise Failure(f"your command was not done after {LONGEST:.0f} s there")
        if code in (125, 126, 127):
            raise Failure(f"your command cannot be run there: exit status {code}")
        return taken


def sweep(client: Client) -> None:
    """Remove the machines of commands that are not there any more."""
    asked = {"label": [LABEL]}
    for each in client.get("/containers/json", all=True, filters=json.dumps(asked)):
        old = time.time() - float(each["Created"]) > OLDEST
        if old or _is_gone(str(each["Labels"].get(LABEL, ""))):
            with contextlib.suppress(Refusal):
                client.delete(path("containers", str(each["Id"])), force=True)


def _own() -> str:
    return f"{_space()}.{os.getpid()}.{_started(str(os.getpid()))}"


def _space() -> str:
    """Name what the ids of processes are good in: this boot, and a namespace of it."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return f"{file.read().strip()}.{os.stat('/proc/self/ns/pid').st_ino}"


def _is_gone(owner: str) -> bool:
    """Say whether a process (its space, its id, its start in clock ticks after boot) has ended.

    Of a process in another space that cannot be said.
    """
    process, _, started = owner.rpartition(".")
    space, _, pid = process.rpartition(".")
    return space == _space() and pid.isdecimal() and _started(pid) != started


def _started(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2].split()[19].decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""
