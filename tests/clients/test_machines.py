"""What the docker command does with machines that are there."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from heft.api.times import parse
from tests.harness.client import Client
from tests.harness.images import BUSYBOX
from tests.harness.pace import patience


def up(client: Client, name: str, *flags: str) -> str:
    done = client("run", "-d", "--name", name, *flags, BUSYBOX, "sleep", "1000")
    return done.stdout.strip()


def status(client: Client, name: str) -> str:
    return client("inspect", name, "-f", "{{.State.Status}}").stdout.strip()


def test_a_life(client: Client) -> None:
    machine_id = client("create", "--name", "box", BUSYBOX, "sleep", "1000").stdout.strip()
    assert re.fullmatch("[0-9a-f]{64}", machine_id)
    assert status(client, "box") == "created"
    assert client("start", "box").stdout == "box\n"
    assert status(client, "box") == "running"
    client("pause", "box")
    assert status(client, "box") == "paused"
    client("unpause", "box")
    client("restart", "-t", "0", "box")
    assert status(client, "box") == "running"
    client("kill", "box")
    assert client("wait", "box").stdout == "137\n"
    refused = client("kill", "box", check=False)
    assert refused.returncode == 1
    assert "is not running" in refused.stderr
    client("start", machine_id[:12])
    refused = client("rm", "box", check=False)
    assert refused.returncode == 1
    assert "container is running: stop the container before removing or force remove" in (
        refused.stderr.lower()
    )
    client("rm", "-f", "box")
    missing = client("inspect", "box", check=False)
    assert missing.returncode == 1
    assert "no such object: box" in missing.stderr.lower()


def test_none_ends_before_it_has_started(client: Client) -> None:
    """Not even one that has nothing to do, in a guest that has a clock of its own."""
    client("create", "--name", "box", BUSYBOX, "true")
    for _ in range(3):
        client("start", "-a", "box")
        state = json.loads(client("inspect", "box", "-f", "{{json .State}}").stdout)
        started, finished = (parse(state[key], now=0) for key in ("StartedAt", "FinishedAt"))
        assert finished >= started > 0


def test_when_it_ended_last_is_known_while_it_runs_again(client: Client) -> None:
    def finished() -> str:
        return client("inspect", "box", "-f", "{{.State.FinishedAt}}").stdout.strip()

    client("run", "-d", "--name", "box", BUSYBOX, "sleep", "600")
    assert finished() == "0001-01-01T00:00:00Z"
    client("stop", "--time", "0", "box")
    ended = finished()
    client("start", "box")
    assert finished() == ended > "2"


def test_signals(client: Client) -> None:
    script = "trap 'echo usr1' USR1; trap 'exit 5' TERM; echo ready; while true; do sleep 0.1; done"
    client("run", "-d", "--name", "box", BUSYBOX, "sh", "-c", script)
    logged(client, "box", "ready")
    client("kill", "-s", "USR1", "box")
    logged(client, "box", "usr1")
    client("stop", "box")
    assert client("wait", "box").stdout == "5\n"
    done = client("kill", "-s", "NOSUCH", "box", check=False)
    assert "Invalid signal: NOSUCH" in done.stderr


def logged(client: Client, name: str, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in client("logs", name).stdout:
        assert time.monotonic() < deadline, f"{text} is never logged"


def test_ps(client: Client) -> None:
    one = up(client, "one", "--label", "kind=a")
    client("run", "--name", "two", BUSYBOX, "sh", "-c", "exit 3", check=False)
    header, line = client("ps").stdout.splitlines()
    titles = "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES".split()
    assert [title for title in header.split() if title != "WEIGHT"] == titles
    assert re.match(rf'{one[:12]} +busybox +(light +)?"sleep 1000" +.* ago +Up .* +one', line)
    assert len(client("ps", "-a").stdout.splitlines()) == 3
    assert client("ps", "-q", "--no-trunc").stdout == f"{one}\n"

    def names(*flags: str) -> list[str]:
        return client("ps", "-a", "--format", "{{.Names}}", *flags).stdout.split()

    assert names() == ["two", "one"]
    assert names("--filter", "status=exited") == ["two"]
    assert names("--filter", "exited=3") == ["two"]
    assert names("--filter", "label=kind") == ["one"]
    assert names("--filter", "label=kind=b") == []
    assert names("--filter", "name=on") == ["one"]
    assert names("--filter", "ancestor=busybox") == ["two", "one"]
    assert names("--filter", f"since={one}") == ["two"]
    assert names("-n", "1") == ["two"]
    refused = client("ps", "--filter", "colour=red", check=False)
    assert "invalid filter 'colour'" in refused.stderr
    assert "Exited (3)" in client("ps", "-a", "--filter", "name=two").stdout


def test_inspect(client: Client) -> None:
    machine_id = up(client, "box", "-e", "A=b", "-v", "vol:/v", "--memory", "128m", "-p", "8086:80")
    (shown,) = json.loads(client("inspect", "box").stdout)
    assert (shown["Id"], shown["Name"]) == (machine_id, "/box")
    assert shown["State"]["Running"] is True
    assert shown["State"]["Pid"] > 1
    assert shown["HostConfig"]["Memory"] == 128 << 20
    assert shown["HostConfig"]["Runtime"] == client.daemon.extra[1]
    assert "A=b" in shown["Config"]["Env"]
    assert shown["Mounts"][0]["Name"] == "vol"
    assert shown["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"] == "8086"
    assert shown["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    assert client("inspect", "-s", "box", "-f", "{{.SizeRw}}").stdout.strip().isdigit()


def test_logs(client: Client) -> None:
    script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done"
    client("run", "--name", "box", BUSYBOX, "sh", "-c", script)
    done = client("logs", "box")
    assert done.stdout == "out 1\nout 2\nout 3\n"
    assert done.stderr == "err 1\nerr 2\nerr 3\n"
    tail = client("logs", "--tail", "2", "box")
    assert (tail.stdout + tail.stderr).count("\n") == 2
    stamped = client("logs", "-t", "box").stderr.splitlines()[-1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z err 3", stamped)
    stamp = client("logs", "-t", "box").stdout.split()[0]
    assert client("logs", "--since", stamp, "box").stdout == "out 1\nout 2\nout 3\n"
    assert client("logs", "--until", "2000-01-01T00:00:00Z", "box").stdout == ""
    assert client("logs", "--since", "1h", "box").stdout == "out 1\nout 2\nout 3\n"


def test_logs_follow_to_the_end(client: Client) -> None:
    script = "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done"
    client("run", "-d", "--name", "box", BUSYBOX, "sh", "-c", script)
    assert client("logs", "-f", "box").stdout.split() == ["1", "2", "3", "4", "5"]


def test_exec(client: Client) -> None:
    up(client, "box", "-e", "A=1")

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        return client("exec", *arguments, check=False, **options)

    done = run("box", "sh", "-c", "echo out; echo err >&2; exit 9")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 9)
    assert run("-u", "user", "box", "id", "-un").stdout == "user\n"
    # At light it is the user's a moment later.
    script = "until true >$(tty); do sleep 0.1; done 2>/dev/null; tty; stat -c %u $(tty)"
    terminal = run("-t", "-u", "1000", "box", "sh", "-c", script)
    assert re.fullmatch(r"/dev/pts/\d+\r?\n1000\r?\n", terminal.stdout), terminal.stdout
    assert run("-w", "/etc", "box", "pwd").stdout == "/etc\n"
    assert run("-w", "/unmade", "box", "pwd").returncode != 0
    assert run("box", "test", "-e", "/unmade").returncode == 1
    assert run("-e", "B=2", "box", "sh", "-c", "echo $A$B").stdout == "12\n"
    assert run("-i", "box", "cat", input="through\n").stdout == "through\n"
    missing = run("box", "nothing")
    assert missing.returncode == 127
    assert "executable file not found" in missing.stdout + missing.stderr
    assert run("box", "/etc").returncode == 126
    run("-d", "box", "sh", "-c", "echo detached > /made")
    assert run("box", "sh", "-c", "until cat /made; do :; done 2>/dev/null").stdout == "detached\n"
    assert "No such container: x" in run("x", "true").stderr
    client("kill", "box")
    assert re.search(r"container [0-9a-f]{64} is not running", run("box", "true").stderr)


def test_execs_end_with_their_machine(client: Client) -> None:
    up(client, "box")
    command = [*client.program, "exec", "box", "sleep", "1000"]
    with subprocess.Popen(command, env=client.environment) as process:
        deadline = time.monotonic() + 10
        while client("top", "box", "-eo", "pid,args").stdout.count("sleep 1000") < 2:
            assert time.monotonic() < deadline, "it does not run"
        client("kill", "box")
        assert process.wait(10) == 137


def test_rename_top_stats_port(client: Client) -> None:
    up(client, "box", "-p", "8085:80/udp")
    client("rename", "box", "crate")
    assert "sleep 1000" in client("top", "crate").stdout
    row = json.loads(client("stats", "--no-stream", "--format", "{{json .}}", "crate").stdout)
    assert row["Name"] == "crate"
    assert row["PIDs"] == "1"
    assert client("port", "crate", "80/udp").stdout == "0.0.0.0:8085\n"


@pytest.fixture
def events(client: Client) -> Iterator[list[str]]:
    lines: list[str] = []
    command = [
        *client.program,
        "events",
        "--format",
        "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}",
    ]
    with subprocess.Popen(
        command, env=client.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        time.sleep(patience(0.3))
        yield lines
        time.sleep(patience(0.5))
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        lines += process.stdout.read().splitlines()
    wanted = ["create", "attach", "start", "die", "destroy"]
    actions = [line.split()[1] for line in lines if line.startswith("container ")]
    assert [action for action in actions if action in wanted] == wanted
    assert "network connect bridge" in lines
    assert "network disconnect bridge" in lines


def test_events(client: Client, events: list[str]) -> None:
    client("run", "--rm", "--name", "box", BUSYBOX, "true")


def test_events_of_the_past(client: Client) -> None:
    began = str(time.time())
    client("run", "--rm", "--name", "box", BUSYBOX, "true")
    flags = ("--since", began, "--until", str(time.time()), "--filter", "event=die")
    (line,) = client("events", *flags, "--format", "{{json .}}").stdout.splitlines()
    event = json.loads(line)
    assert event["Actor"]["Attributes"]["exitCode"] == "0"


def test_prune(client: Client) -> None:
    up(client, "stays")
    client("create", "--name", "goes", BUSYBOX)
    client("container", "prune", "-f")
    assert client("ps", "-a", "--format", "{{.Names}}").stdout == "stays\n"


def test_volumes(client: Client) -> None:
    client("volume", "create", "--label", "a=b", "vol")
    up(client, "box", "-v", "vol:/v")
    refused = client("volume", "rm", "vol", check=False)
    assert "volume is in use" in refused.stderr
    client("rm", "-f", "box")
    assert client("volume", "ls", "--filter", "label=a=b", "-q").stdout == "vol\n"
    assert client("volume", "rm", "vol").stdout == "vol\n"
    assert "no such volume" in client("volume", "inspect", "vol", check=False).stderr.lower()


def test_networks_as_they_are_now(client: Client) -> None:
    shown = client("network", "ls", "--format", "{{.Name}} {{.Driver}}").stdout
    assert sorted(shown.splitlines()) == ["bridge bridge", "host host", "none null"]
    machine_id = up(client, "box")
    (bridge,) = json.loads(client("network", "inspect", "bridge").stdout)
    assert bridge["Containers"][machine_id]["Name"] == "box"


def test_info_and_version(client: Client) -> None:
    up(client, "box")
    info = json.loads(client("info", "--format", "{{json .}}").stdout)
    assert info["ContainersRunning"] == 1
    assert "light" in info["Runtimes"]
    weight = client.daemon.extra[1]
    assert info["DefaultRuntime"] == weight
    version = json.loads(client("version", "--format", "{{json .}}").stdout)
    assert version["Server"]["Os"] == "linux"
    assert "Heft" in json.dumps(version["Server"])
    assert "TYPE" in client("system", "df").stdout


def test_old_and_new_versions_of_the_api(client: Client) -> None:
    assert client.daemon.request("GET", "/v1.24/containers/json").status == 200
    too_old = client.daemon.request("GET", "/v1.10/containers/json")
    assert too_old.status == 400
    assert "too old" in too_old.message
    too_new = client.daemon.request("GET", "/v9.99/containers/json")
    assert too_new.status == 400
    assert "too new" in too_new.message
    assert client.daemon.request("GET", "/v1.41/nowhere").status == 404
    assert client.daemon.request("POST", "/containers/create", b"{").status == 400
    wrong = client.daemon.request("POST", "/containers/create", {"Image": 5})
    assert wrong.status == 400
