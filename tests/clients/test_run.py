"""`docker run` and its flags."""

import contextlib
import json
import socket
import time
from pathlib import Path

import pytest

from tests.harness.client import Client
from tests.harness.images import BUSYBOX


def run(client: Client, *arguments: str) -> str:
    return client("run", "--rm", *arguments).stdout


def sh(client: Client, script: str, *flags: str) -> str:
    return run(client, "--network", "none", *flags, BUSYBOX, "sh", "-c", script).strip()


def test_output_error_and_exit_code(client: Client) -> None:
    script = "echo out; echo err >&2; exit 42"
    done = client("run", "--rm", BUSYBOX, "sh", "-c", script, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 42)


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["/nothing"], 127, "no such file or directory"),
        (["nothing"], 127, "executable file not found in $path"),
        (["/etc"], 126, "is a directory"),
        (["/etc/passwd"], 126, "permission denied"),
    ],
)
def test_commands_that_cannot_run(
    client: Client, command: list[str], code: int, words: str
) -> None:
    done = client("run", "--rm", BUSYBOX, *command, check=False)
    assert done.returncode == code
    assert words in done.stderr.lower()
    assert client("ps", "-aq").stdout == ""


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--runtime", "featherweight"], "featherweight"),
        (["--memory", "1k"], "memory"),
        (["--network", "nowhere"], "network nowhere not found"),
        (["--network", "container:nobody"], "No such container: nobody"),
        (["-v", "/a:relative"], "relative"),
        (["--user", "stranger"], "stranger"),
        (["--cap-add", "FLY"], "FLY"),
        (["--name", "/bad name"], "Invalid container name"),
        pytest.param(["--device", "/dev/nothing"], "/dev/nothing", marks=pytest.mark.light),
        (["-p", "1.2.3.4:80:80"], "1.2.3.4"),
    ],
)
def test_what_is_refused_leaves_nothing(client: Client, flags: list[str], words: str) -> None:
    done = client("run", "--rm", *flags, BUSYBOX, "true", check=False)
    assert done.returncode in (125, 126, 127), done.stderr
    assert words in done.stderr, done.stderr
    assert client("ps", "-aq").stdout == ""
    assert client("volume", "ls", "-q").stdout == ""


def test_an_image_that_is_not_there(client: Client) -> None:
    done = client("run", "--pull", "never", "nothing:here", "true", check=False)
    assert done.returncode == 125
    assert "No such image: nothing:here" in done.stderr


def test_environment(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("FROM_FILE=1\n# a comment\nSPACED=a b\n")
    shown = run(client, "-e", "A=1", "-e", "B=x=y", "--env-file", str(file), BUSYBOX, "env")
    lines = shown.splitlines()
    assert {"A=1", "B=x=y", "FROM_FILE=1", "SPACED=a b", "HOME=/root"} <= set(lines)
    assert any(line.startswith("PATH=/usr/local/sbin") for line in lines)


def test_identity(client: Client) -> None:
    assert sh(client, "hostname", "--hostname", "box") == "box"
    assert (
        sh(client, "id", "--user", "user")
        == "uid=1000(user) gid=1000(user) groups=100(users),1000(user)"
    )
    assert sh(client, "id -u; id -g", "--user", "5:6") == "5\n6"
    assert sh(client, "pwd", "--workdir", "/a/new/one") == "/a/new/one"
    assert "100(users)" in sh(client, "id", "--group-add", "100")


def test_entrypoint(client: Client) -> None:
    assert run(client, "--entrypoint", "echo", BUSYBOX, "a", "b") == "a b\n"


def test_names_and_labels(client: Client) -> None:
    client("run", "-d", "--name", "one", "--label", "a=b", BUSYBOX, "sleep", "1000")
    found = client("inspect", "one", "--format", '{{.Name}} {{index .Config.Labels "a"}}')
    assert found.stdout == "/one b\n"
    done = client("run", "--name", "one", BUSYBOX, check=False)
    assert done.returncode == 125
    assert 'The container name "/one" is already in use by container' in done.stderr


def test_binds(client: Client, place: Path) -> None:
    (place / "given").write_text("hello\n")
    flags = ("-v", f"{place}:/data")
    assert sh(client, "cat /data/given; echo back > /data/made", *flags) == "hello"
    assert (place / "made").read_text() == "back\n"
    shown = sh(client, "touch /data/x 2>&1; true", "-v", f"{place}:/data:ro")
    assert "Read-only file system" in shown
    mount = ("--mount", f"type=bind,src={place},dst=/m,readonly")
    assert sh(client, "cat /m/made", *mount) == "back"
    done = client("run", "--mount", "type=bind,src=/not/there,dst=/m", BUSYBOX, check=False)
    assert done.returncode == 125
    assert "bind source path does not exist: /not/there" in done.stderr


def test_named_volumes_are_filled_from_the_image(client: Client) -> None:
    assert sh(client, "cat /etc/mark; echo 1 > /etc/mark; ls /etc", "-v", "vol:/etc") != ""
    assert sh(client, "cat /v/mark", "-v", "vol:/v") == "1"
    assert sh(client, "ls /v | wc -l", "-v", "empty:/v") == "0"
    assert client("volume", "ls", "-q").stdout == "empty\nvol\n"
    inspected = json.loads(client("volume", "inspect", "vol").stdout)[0]
    assert (Path(inspected["Mountpoint"]) / "mark").read_text() == "1\n"


def test_anonymous_volumes_go_with_rm(client: Client) -> None:
    assert sh(client, "echo 1 > /data/x && cat /data/x", "-v", "/data") == "1"
    assert client("volume", "ls", "-q").stdout == ""


def test_read_only_and_tmpfs(client: Client) -> None:
    script = "touch /x 2>&1; touch /t/x && df /t | tail -1"
    shown = sh(client, script, "--read-only", "--tmpfs", "/t:size=1m")
    assert "Read-only file system" in shown
    assert "1024" in shown


@pytest.mark.light
def test_networks(client: Client) -> None:
    assert sh(client, "ls /sys/class/net") == "lo"
    host = run(client, "--network", "host", BUSYBOX, "sh", "-c", "cat /proc/net/dev")
    assert "heft0" in host
    client("run", "-d", "--name", "first", BUSYBOX, "sleep", "1000")
    address = run(client, BUSYBOX, "ip", "-4", "addr", "show", "eth0")
    assert "inet 172." in address or "inet 10." in address
    joined = run(client, "--network", "container:first", BUSYBOX, "hostname", "-i")
    inspected = client("inspect", "first", "-f", "{{.NetworkSettings.IPAddress}}").stdout
    assert joined.strip() == inspected.strip()


def serve(client: Client, *flags: str) -> None:
    script = "while true; do echo answer | nc -l -p 80; done"
    client("run", "-d", *flags, BUSYBOX, "sh", "-c", script)


def fetch(port: int) -> bytes:
    for _ in range(100):
        with (
            contextlib.suppress(ConnectionError),
            socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
        ):
            if data := connection.recv(100):
                return data
        time.sleep(0.05)
    return b""


def test_published_ports(client: Client) -> None:
    serve(client, "--name", "server", "-p", "8087:80", "-p", "127.0.0.1::80")
    assert fetch(8087) == b"answer\n"
    shown = client("port", "server").stdout
    assert "80/tcp -> 0.0.0.0:8087" in shown
    (other,) = [line for line in shown.splitlines() if "127.0.0.1" in line]
    assert fetch(int(other.rpartition(":")[2])) == b"answer\n"
    assert "0.0.0.0:8087->80/tcp" in client("ps").stdout
    done = client("run", "-d", "-p", "8087:80", BUSYBOX, "true", check=False)
    assert done.returncode == 125
    assert "port is already allocated" in done.stderr


def test_names_are_resolved_between_machines(client: Client) -> None:
    serve(client, "--name", "server")
    script = "for i in 1 2 3 4 5 6 7 8 9; do nc server 80 && break; sleep 0.2; done"
    assert "answer" in run(client, BUSYBOX, "sh", "-c", script)


@pytest.mark.light
def test_limits(client: Client) -> None:
    flags = ("--memory", "64m", "--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0")
    client("run", "-d", "--name", "box", *flags, "--pids-limit", "20", BUSYBOX, "sleep", "99")
    (inspected,) = json.loads(client("inspect", "box").stdout)
    pid = inspected["State"]["Pid"]
    groups = Path(f"/proc/{pid}/cgroup").read_text()
    assert group_file(groups, "memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert group_file(groups, "pids", "pids.max", "pids.max") == "20"
    assert group_file(groups, "cpuset", "cpuset.cpus", "cpuset.cpus") == "0"
    assert group_file(groups, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    assert sh(client, "nproc", "--cpuset-cpus", "0") == "1"


def group_file(groups: str, controller: str, first: str, second: str) -> str:
    for line in groups.splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return (Path("/sys/fs/cgroup") / names / path.lstrip("/") / first).read_text().strip()
    path = groups.rpartition("::")[2].strip()
    return (Path("/sys/fs/cgroup") / path.lstrip("/") / second).read_text().strip()


@pytest.mark.light
def test_out_of_memory_is_told(client: Client) -> None:
    script = "x=0123456789; while true; do x=$x$x; done"
    flags = ("--name", "box", "--memory", "16m", "--memory-swap", "16m")
    done = client("run", *flags, BUSYBOX, "sh", "-c", script, check=False)
    assert done.returncode == 137
    assert client("inspect", "box", "-f", "{{.State.OOMKilled}}").stdout == "true\n"


def test_capabilities(client: Client) -> None:
    def effective(*flags: str) -> int:
        return int(sh(client, "grep CapEff /proc/self/status", *flags).split()[1], 16)

    usual = effective()
    assert usual == 0xA80425FB
    assert effective("--cap-drop", "ALL") == 0
    assert effective("--cap-drop", "ALL", "--cap-add", "CHOWN") == 1
    assert effective("--cap-add", "SYS_ADMIN") == usual | 1 << 21
    assert effective("--privileged") > usual


def test_privileged_sees_devices_and_no_masks(client: Client) -> None:
    seen = sh(client, "ls /dev | wc -l"), sh(client, "ls /dev | wc -l", "--privileged")
    assert int(seen[0]) < int(seen[1])
    assert sh(client, "cat /proc/kcore | head -c 4 | wc -c") == "0"


@pytest.mark.light
def test_devices(client: Client) -> None:
    assert sh(client, "ls -l /dev/mine", "--device", "/dev/null:/dev/mine").startswith("crw")


def test_ulimits_and_shared_memory(client: Client) -> None:
    assert sh(client, "ulimit -n", "--ulimit", "nofile=100:100") == "100"
    assert "2048" in sh(client, "df -k /dev/shm | tail -1", "--shm-size", "2m")


def test_init_reaps(client: Client) -> None:
    assert "init" in sh(client, "cat /proc/1/cmdline", "--init")


def until_ready(client: Client, name: str) -> None:
    """Return when a machine has said so: a signal that comes before its trap is ignored."""
    deadline = time.monotonic() + 20
    while "ready" not in client("logs", name).stdout:
        assert time.monotonic() < deadline


def test_stop_signal_and_timeout(client: Client) -> None:
    script = "trap 'exit 7' USR1; echo ready; while true; do sleep 0.1; done"
    client("run", "-d", "--name", "box", "--stop-signal", "USR1", BUSYBOX, "sh", "-c", script)
    until_ready(client, "box")
    client("stop", "box")
    assert client("wait", "box").stdout == "7\n"
    flags = ("--name", "deaf", "--stop-timeout", "1")
    script = "trap '' TERM; echo ready; sleep 1000 & wait"
    client("run", "-d", *flags, BUSYBOX, "sh", "-c", script)
    until_ready(client, "deaf")
    client("stop", "deaf")
    assert client("wait", "deaf").stdout == "137\n"


def test_restart_policy(client: Client) -> None:
    flags = ("--name", "box", "--restart", "on-failure:2")
    client("run", "-d", *flags, BUSYBOX, "sh", "-c", "echo again; exit 3")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        state = json.loads(client("inspect", "box").stdout)[0]
        if state["State"]["Status"] == "exited" and state["RestartCount"] == 2:
            break
    assert (state["RestartCount"], state["State"]["ExitCode"]) == (2, 3)
    assert client("logs", "box").stdout == "again\n" * 3


def test_logs_rotate(client: Client) -> None:
    flags = ("--name", "box", "--log-opt", "max-size=10k", "--log-opt", "max-file=2")
    script = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; sleep 3; echo last"
    client("run", *flags, BUSYBOX, "sh", "-c", script)
    lines = client("logs", "box").stdout.splitlines()
    assert lines[-1] == "last"
    files = list((client.daemon.data / "machines").glob("*/log*"))
    assert len(files) == 2, files


def test_weight_by_runtime(client: Client) -> None:
    client("run", "--name", "box", "--runtime", "light", BUSYBOX, "true")
    assert client("inspect", "box", "-f", "{{.HostConfig.Runtime}}").stdout == "light\n"
