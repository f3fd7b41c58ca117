"""The daemon is killed at every step of a heavy machine's life, and at random while it talks."""

import contextlib
import os
import random
import signal
import subprocess
import time
from http.client import HTTPException
from pathlib import Path

import pytest

from heft.guest.monitors import user_of
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX
from tests.harness.pace import eventually, patience
from tests.system.test_daemon_crash import die_at, points, state

SECONDS = 30.0
RAN = {"guest.released", "start.released", "start.recorded"}


def create(daemon: Daemon, name: str, *command: str, **host: object) -> int:
    body = {
        "Image": BUSYBOX,
        "Cmd": command or ("sleep", "1000"),
        "StopSignal": "SIGKILL",
        "Volumes": {"/data": {}},
        "HostConfig": {"Runtime": "heavy", **host},
    }
    return daemon.request("POST", f"/containers/create?name={name}", body).status


@pytest.mark.parametrize("point", points("create"))
def test_create(daemon: Daemon, point: str) -> None:
    body = {"Image": BUSYBOX, "Cmd": ["true"], "HostConfig": {"Runtime": "heavy"}}
    die_at(daemon, point, "POST", "/containers/create?name=box", body)
    made = point == "create.acknowledged"
    assert state(daemon, "box") == ("created" if made else None)
    assert len(list((daemon.data / "machines").iterdir())) == made
    if not made:
        assert create(daemon, "box") == 201


ELSEWHERE = {"heavy.ended", "start.users"}
"""Tried with stops; and no step of these machines, whose users are their own kernel's."""


@pytest.mark.parametrize("point", sorted({*points("start", "heavy", "guest")} - ELSEWHERE))
def test_start(daemon: Daemon, point: str) -> None:
    assert create(daemon, "box") == 201
    die_at(daemon, point, "POST", "/containers/box/start")
    ran = point in RAN
    assert state(daemon, "box") == ("running" if ran else "created")
    answer = daemon.request("POST", "/containers/box/start")
    assert answer.status == (304 if ran else 204), answer.body
    script = "echo here >/data/file; cat /data/file"
    assert Client("docker", daemon)("exec", "box", "sh", "-c", script).stdout == "here\n"


def test_a_template_that_was_not_kept(daemon: Daemon) -> None:
    assert create(daemon, "box", Memory=160 << 20) == 201
    templates = daemon.data / "templates"
    before = {path.name for path in templates.iterdir()}
    (point,) = points("template")
    die_at(daemon, point, "POST", "/containers/box/start")
    assert state(daemon, "box") == "created"
    assert daemon.request("POST", "/containers/box/start").status == 204
    (made,) = {path.name for path in templates.iterdir()} - before
    assert sorted(path.name for path in (templates / made).iterdir()) == [
        *("memory", "state", "template.json")
    ]


@pytest.mark.parametrize("point", [*points("stop", "exit"), "heavy.ended"])
def test_stop(daemon: Daemon, point: str) -> None:
    assert create(daemon, "box", RestartPolicy={"Name": "unless-stopped"}) == 201
    assert daemon.request("POST", "/containers/box/start").status == 204
    die_at(daemon, point, "POST", "/containers/box/stop")
    assert daemon.request("POST", "/containers/box/wait").json["StatusCode"] == 137
    assert state(daemon, "box") == "exited"


@pytest.mark.parametrize("point", points("exit"))
def test_exit(daemon: Daemon, point: str) -> None:
    """A workload ends by itself, and its code is what it was."""
    assert create(daemon, "box", "sh", "-c", "echo said; exit 9") == 201
    daemon.stop()
    daemon.start(HEFT_FAULT=point)
    with contextlib.suppress(OSError, HTTPException):  # the answer may come before the end
        daemon.request("POST", "/containers/box/start")
    daemon.wait_dead()
    daemon.start()
    eventually(lambda: state(daemon, "box") == "exited")
    found = daemon.request("GET", "/containers/box/json").json["State"]
    assert found["ExitCode"] == 9
    assert Client("docker", daemon)("logs", "box").stdout == "said\n"


@pytest.mark.parametrize("point", points("remove"))
def test_remove(daemon: Daemon, point: str) -> None:
    assert create(daemon, "box", "true") == 201
    assert daemon.request("POST", "/containers/box/start").status == 204
    daemon.request("POST", "/containers/box/wait")
    die_at(daemon, point, "DELETE", "/containers/box?v=1")
    assert state(daemon, "box") is None
    assert not daemon.request("GET", "/volumes").json["Volumes"]


def test_execs_of_a_killed_daemon_run_on_and_others_come(daemon: Daemon) -> None:
    assert create(daemon, "box") == 201
    assert daemon.request("POST", "/containers/box/start").status == 204
    client = Client("docker", daemon)
    script = "for i in 1 2 3 4 5; do echo $i >>/tmp/seen; sleep 0.2; done; sleep 1000"
    client("exec", "-d", "box", "sh", "-c", script)
    attached = [*client.program, "exec", "box", "sh", "-c", "yes"]
    with subprocess.Popen(
        attached, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=daemon.environment
    ) as flood:
        assert flood.stdout is not None
        flood.stdout.read(1 << 16)
        daemon.restart()
        flood.stdout.read()
    eventually(lambda: client("exec", "box", "cat", "/tmp/seen").stdout.split() == list("12345"))
    assert client("exec", "box", "sh", "-c", "exit 7", check=False).returncode == 7


def test_killed_at_random_while_they_talk(daemon: Daemon) -> None:
    """Every line comes once and in order, on both streams, and every exit code arrives."""
    client = Client("docker", daemon)
    count = 1500
    script = (
        f"i=0; while [ $i -lt {count} ]; do echo out $i; echo err $i >&2; i=$((i+1)); "
        "case $i in *00) sleep 0.3;; esac; done; exit 4$N"
    )
    names = ["talker-a", "talker-b"]
    for number, name in enumerate(names):
        client(
            *("run", "--runtime", "heavy", "-d", "--name", name, "-e", f"N={number}"),
            *(BUSYBOX, "sh", "-c", script),
        )
    chance = random.Random(4)
    kills = 0
    while kills < 4 or any(state(daemon, name) == "running" for name in names):
        time.sleep(chance.uniform(0.05, 0.8))
        daemon.restart()
        kills += 1
        assert kills < 100
    for number, name in enumerate(names):
        assert client("wait", name).stdout.strip() == f"4{number}"
        logged = client("logs", name)
        assert logged.stdout.splitlines() == [f"out {i}" for i in range(count)]
        assert logged.stderr.splitlines() == [f"err {i}" for i in range(count)]


def test_a_flood_through_three_daemons_comes_once(daemon: Daemon) -> None:
    client, count = Client("docker", daemon), 20_000
    script = f"sleep 1; seq {count}; exit 6"
    client("run", "--runtime", "heavy", "-d", "--name", "flood", BUSYBOX, "sh", "-c", script)
    eventually(lambda: client("logs", "--tail", "1", "flood").stdout)
    for _ in range(3):
        daemon.restart()
    assert client("wait", "flood").stdout == "6\n"
    assert client("logs", "flood").stdout.split() == [str(i) for i in range(1, count + 1)]


def qemu_of(machine: str) -> int:
    """Give the process id of a machine's QEMU: its user has no other processes."""
    user = user_of(machine)
    owners = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(FileNotFoundError):
                owners[int(path.name)] = path.stat().st_uid
    (found,) = (process for process, owner in owners.items() if owner == user)
    return found


def test_who_waits_for_a_machine_whose_qemu_is_killed_is_told(daemon: Daemon) -> None:
    """At once, and of which machine, in the midst of exec, logs and cp; exec ends as killed."""
    client = Client("heft", daemon)
    script = "while :; do echo on; sleep 0.1; done"
    client("run", "--weight", "heavy", "-d", "--name", "doomed", BUSYBOX, "sh", "-c", script)
    client("exec", "doomed", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=100")
    with contextlib.ExitStack() as stack:
        waiting = {
            words[0]: stack.enter_context(
                subprocess.Popen(
                    [*client.program, *words],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=daemon.environment,
                )
            )
            for words in (
                ("exec", "doomed", "sh", "-c", "echo in; sleep 1000"),
                ("logs", "-f", "doomed"),
                ("cp", "doomed:/big", "-"),
            )
        }
        for each in waiting.values():
            assert each.stdout is not None
            assert each.stdout.read(2)
        machine = daemon.request("GET", "/containers/doomed/json").json
        began = time.monotonic()
        os.kill(qemu_of(machine["Id"]), signal.SIGKILL)
        ended = {name: each.communicate(timeout=SECONDS) for name, each in waiting.items()}
        took = time.monotonic() - began
    said = {name: errors.decode() for name, (_, errors) in ended.items()}
    codes = {name: each.returncode for name, each in waiting.items()}
    assert took < patience(5)
    assert codes["exec"] == 128 + signal.SIGKILL
    assert codes["cp"] == 1
    assert "container doomed ended while it was copied from: its QEMU was killed" in said["cp"]
    assert codes["logs"] == 0
    assert state(daemon, "doomed") == "exited"
