"""What the docker command does with machines that are there."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX


def up(daemon: Daemon, name: str, *flags: str) -> str:
    done = daemon.docker("run", "-d", "--name", name, *flags, BUSYBOX, "sleep", "1000")
    return done.stdout.strip()


def status(daemon: Daemon, name: str) -> str:
    return daemon.docker("inspect", name, "-f", "{{.State.Status}}").stdout.strip()


def test_a_life(daemon: Daemon) -> None:
    machine_id = daemon.docker("create", "--name", "box", BUSYBOX, "sleep", "1000").stdout.strip()
    assert re.fullmatch("[0-9a-f]{64}", machine_id)
    assert status(daemon, "box") == "created"
    assert daemon.docker("start", "box").stdout == "box\n"
    assert status(daemon, "box") == "running"
    daemon.docker("pause", "box")
    assert status(daemon, "box") == "paused"
    daemon.docker("unpause", "box")
    daemon.docker("restart", "-t", "0", "box")
    assert status(daemon, "box") == "running"
    daemon.docker("kill", "box")
    assert daemon.docker("wait", "box").stdout == "137\n"
    refused = daemon.docker("kill", "box", check=False)
    assert refused.returncode == 1
    assert "is not running" in refused.stderr
    daemon.docker("start", machine_id[:12])
    refused = daemon.docker("rm", "box", check=False)
    assert refused.returncode == 1
    assert "container is running: stop the container before removing or force remove" in (
        refused.stderr.lower()
    )
    daemon.docker("rm", "-f", "box")
    missing = daemon.docker("inspect", "box", check=False)
    assert missing.returncode == 1
    assert "No such object: box" in missing.stderr


def test_signals(daemon: Daemon) -> None:
    script = "trap 'echo usr1' USR1; trap 'exit 5' TERM; echo ready; while true; do sleep 0.1; done"
    daemon.docker("run", "-d", "--name", "box", BUSYBOX, "sh", "-c", script)
    logged(daemon, "box", "ready")
    daemon.docker("kill", "-s", "USR1", "box")
    logged(daemon, "box", "usr1")
    daemon.docker("stop", "box")
    assert daemon.docker("wait", "box").stdout == "5\n"
    done = daemon.docker("kill", "-s", "NOSUCH", "box", check=False)
    assert "Invalid signal: NOSUCH" in done.stderr


def logged(daemon: Daemon, name: str, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in daemon.docker("logs", name).stdout:
        assert time.monotonic() < deadline, f"{text} is never logged"


def test_ps(daemon: Daemon) -> None:
    one = up(daemon, "one", "--label", "kind=a")
    daemon.docker("run", "--name", "two", BUSYBOX, "sh", "-c", "exit 3", check=False)
    header, line = daemon.docker("ps").stdout.splitlines()
    assert header.split() == "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES".split()
    assert re.match(rf'{one[:12]} +busybox +"sleep 1000" +.* ago +Up .* +one', line)
    assert len(daemon.docker("ps", "-a").stdout.splitlines()) == 3
    assert daemon.docker("ps", "-q", "--no-trunc").stdout == f"{one}\n"

    def names(*flags: str) -> list[str]:
        return daemon.docker("ps", "-a", "--format", "{{.Names}}", *flags).stdout.split()

    assert names() == ["two", "one"]
    assert names("--filter", "status=exited") == ["two"]
    assert names("--filter", "exited=3") == ["two"]
    assert names("--filter", "label=kind") == ["one"]
    assert names("--filter", "label=kind=b") == []
    assert names("--filter", "name=on") == ["one"]
    assert names("--filter", "ancestor=busybox") == ["two", "one"]
    assert names("--filter", f"since={one}") == ["two"]
    assert names("-n", "1") == ["two"]
    refused = daemon.docker("ps", "--filter", "colour=red", check=False)
    assert "invalid filter 'colour'" in refused.stderr
    assert "Exited (3)" in daemon.docker("ps", "-a", "--filter", "name=two").stdout


def test_inspect(daemon: Daemon) -> None:
    machine_id = up(daemon, "box", "-e", "A=b", "-v", "vol:/v", "--memory", "64m", "-p", "8086:80")
    (shown,) = json.loads(daemon.docker("inspect", "box").stdout)
    assert (shown["Id"], shown["Name"]) == (machine_id, "/box")
    assert shown["State"]["Running"] is True
    assert shown["State"]["Pid"] > 1
    assert shown["HostConfig"]["Memory"] == 64 << 20
    assert shown["HostConfig"]["Runtime"] == "light"
    assert "A=b" in shown["Config"]["Env"]
    assert shown["Mounts"][0]["Name"] == "vol"
    assert shown["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"] == "8086"
    assert shown["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    assert daemon.docker("inspect", "-s", "box", "-f", "{{.SizeRw}}").stdout.strip().isdigit()


def test_logs(daemon: Daemon) -> None:
    script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done"
    daemon.docker("run", "--name", "box", BUSYBOX, "sh", "-c", script)
    done = daemon.docker("logs", "box")
    assert done.stdout == "out 1\nout 2\nout 3\n"
    assert done.stderr == "err 1\nerr 2\nerr 3\n"
    tail = daemon.docker("logs", "--tail", "2", "box")
    assert (tail.stdout + tail.stderr).count("\n") == 2
    stamped = daemon.docker("logs", "-t", "box").stderr.splitlines()[-1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z err 3", stamped)
    stamp = daemon.docker("logs", "-t", "box").stdout.split()[0]
    assert daemon.docker("logs", "--since", stamp, "box").stdout == "out 1\nout 2\nout 3\n"
    assert daemon.docker("logs", "--until", "2000-01-01T00:00:00Z", "box").stdout == ""
    assert daemon.docker("logs", "--since", "1h", "box").stdout == "out 1\nout 2\nout 3\n"


def test_logs_follow_to_the_end(daemon: Daemon) -> None:
    script = "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done"
    daemon.docker("run", "-d", "--name", "box", BUSYBOX, "sh", "-c", script)
    assert daemon.docker("logs", "-f", "box").stdout.split() == ["1", "2", "3", "4", "5"]


def test_exec(daemon: Daemon) -> None:
    up(daemon, "box", "-e", "A=1")

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        return daemon.docker("exec", *arguments, check=False, **options)

    done = run("box", "sh", "-c", "echo out; echo err >&2; exit 9")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 9)
    assert run("-u", "user", "box", "id", "-un").stdout == "user\n"
    assert run("-w", "/etc", "box", "pwd").stdout == "/etc\n"
    assert run("-e", "B=2", "box", "sh", "-c", "echo $A$B").stdout == "12\n"
    assert run("-i", "box", "cat", input="through\n").stdout == "through\n"
    missing = run("box", "nothing")
    assert missing.returncode == 127
    assert "executable file not found" in missing.stdout + missing.stderr
    assert run("box", "/etc").returncode == 126
    run("-d", "box", "sh", "-c", "echo detached > /made")
    assert run("box", "sh", "-c", "until cat /made; do :; done 2>/dev/null").stdout == "detached\n"
    assert "No such container: x" in run("x", "true").stderr
    daemon.docker("kill", "box")
    assert re.search(r"container [0-9a-f]{64} is not running", run("box", "true").stderr)


def test_execs_end_with_their_machine(daemon: Daemon) -> None:
    up(daemon, "box")
    command = ["docker", "exec", "box", "sleep", "1000"]
    with subprocess.Popen(command, env=daemon.environment) as client:
        while "sleep 1000" not in daemon.docker("top", "box", "-eo", "pid,args").stdout:
            pass
        time.sleep(0.2)
        daemon.docker("kill", "box")
        assert client.wait(10) == 137


def test_rename_top_stats_port(daemon: Daemon) -> None:
    up(daemon, "box", "-p", "8085:80/udp")
    daemon.docker("rename", "box", "crate")
    assert "sleep 1000" in daemon.docker("top", "crate").stdout
    row = json.loads(daemon.docker("stats", "--no-stream", "--format", "json", "crate").stdout)
    assert row["Name"] == "crate"
    assert row["PIDs"] == "1"
    assert daemon.docker("port", "crate", "80/udp").stdout == "0.0.0.0:8085\n"


@pytest.fixture
def events(daemon: Daemon) -> Iterator[list[str]]:
    lines: list[str] = []
    command = ["docker", "events", "--format", "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}"]
    with subprocess.Popen(
        command, env=daemon.environment, stdout=subprocess.PIPE, text=True
    ) as client:
        time.sleep(0.3)
        yield lines
        time.sleep(0.5)
        client.send_signal(signal.SIGINT)
        assert client.stdout is not None
        lines += client.stdout.read().splitlines()
    wanted = ["create", "attach", "start", "die", "destroy"]
    actions = [line.split()[1] for line in lines if line.startswith("container ")]
    assert [action for action in actions if action in wanted] == wanted
    assert "network connect bridge" in lines
    assert "network disconnect bridge" in lines


def test_events(daemon: Daemon, events: list[str]) -> None:
    daemon.docker("run", "--rm", "--name", "box", BUSYBOX, "true")


def test_events_of_the_past(daemon: Daemon) -> None:
    began = str(time.time())
    daemon.docker("run", "--rm", "--name", "box", BUSYBOX, "true")
    flags = ("--since", began, "--until", str(time.time()), "--filter", "event=die")
    (line,) = daemon.docker("events", *flags, "--format", "json").stdout.splitlines()
    event = json.loads(line)
    assert event["Actor"]["Attributes"]["exitCode"] == "0"


def test_prune(daemon: Daemon) -> None:
    up(daemon, "stays")
    daemon.docker("create", "--name", "goes", BUSYBOX)
    daemon.docker("container", "prune", "-f")
    assert daemon.docker("ps", "-a", "--format", "{{.Names}}").stdout == "stays\n"


def test_volumes(daemon: Daemon) -> None:
    daemon.docker("volume", "create", "--label", "a=b", "vol")
    up(daemon, "box", "-v", "vol:/v")
    refused = daemon.docker("volume", "rm", "vol", check=False)
    assert "volume is in use" in refused.stderr
    daemon.docker("rm", "-f", "box")
    assert daemon.docker("volume", "ls", "--filter", "label=a=b", "-q").stdout == "vol\n"
    assert daemon.docker("volume", "rm", "vol").stdout == "vol\n"
    assert "no such volume" in daemon.docker("volume", "inspect", "vol", check=False).stderr.lower()


def test_networks_as_they_are_now(daemon: Daemon) -> None:
    shown = daemon.docker("network", "ls", "--format", "{{.Name}} {{.Driver}}").stdout
    assert sorted(shown.splitlines()) == ["bridge bridge", "host host", "none null"]
    machine_id = up(daemon, "box")
    (bridge,) = json.loads(daemon.docker("network", "inspect", "bridge").stdout)
    assert bridge["Containers"][machine_id]["Name"] == "box"


def test_info_and_version(daemon: Daemon) -> None:
    up(daemon, "box")
    info = json.loads(daemon.docker("info", "--format", "json").stdout)
    assert info["ContainersRunning"] == 1
    assert "light" in info["Runtimes"]
    assert info["DefaultRuntime"] == "light"
    version = json.loads(daemon.docker("version", "--format", "json").stdout)
    assert version["Server"]["Os"] == "linux"
    assert "Heft" in json.dumps(version["Server"])
    assert "TYPE" in daemon.docker("system", "df").stdout


def test_old_and_new_versions_of_the_api(daemon: Daemon) -> None:
    assert daemon.request("GET", "/v1.24/containers/json").status == 200
    too_old = daemon.request("GET", "/v1.10/containers/json")
    assert too_old.status == 400
    assert "too old" in too_old.message
    too_new = daemon.request("GET", "/v9.99/containers/json")
    assert too_new.status == 400
    assert "too new" in too_new.message
    assert daemon.request("GET", "/v1.41/nowhere").status == 404
    assert daemon.request("POST", "/containers/create", b"{").status == 400
    wrong = daemon.request("POST", "/containers/create", {"Image": 5})
    assert wrong.status == 400
