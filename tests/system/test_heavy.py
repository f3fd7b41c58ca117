"""Heavy machines, through the real `docker` and `heft`, with a real kernel on a real QEMU."""

import os
import signal
import time
from pathlib import Path

import pytest

from heft.errors import HostError
from heft.guest.kits import DEFAULT, Kits
from heft.guest.monitors import user_of
from heft.guest.run import ADOPT_SECONDS
from heft.guest.shaping import Shape
from heft.weights.heavy import qemu, templates
from heft.weights.heavy.templates import Templates
from heft.weights.heavy.weight import HeavySettings, HeavyWeight
from tests.harness import agent, kit
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX
from tests.harness.pace import eventually


@pytest.fixture(params=["docker", "heft"])
def client(request: pytest.FixtureRequest, daemon: Daemon) -> Client:
    return Client(request.param, daemon)


def run(client: Client, *words: str):
    return client("run", "--runtime", "heavy", *words, check=False)


def state(daemon: Daemon, name: str) -> dict:
    return daemon.request("GET", f"/containers/{name}/json").json["State"]


def test_it_has_a_kernel_of_its_own_and_the_images_files(client):
    done = run(client, "--rm", BUSYBOX, "sh", "-c", "uname -r; echo $$; ls /bin/busybox")
    assert done.returncode == 0, done.stderr
    release, pid, path = done.stdout.split()
    assert release != os.uname().release
    assert (pid, path) == ("1", "/bin/busybox")


@pytest.mark.parametrize(
    ("command", "code"),
    [(("sh", "-c", "exit 7"), 7), (("nosuch",), 127), (("/etc",), 126), (("true",), 0)],
)
def test_exit_codes(client, command, code):
    assert run(client, "--rm", BUSYBOX, *command).returncode == code


def test_it_may_open_as_many_files_as_at_light_under_systemd(client):
    done = run(client, "--rm", BUSYBOX, "sh", "-c", "ulimit -n; ulimit -Hn; ulimit -u; ulimit -c")
    assert done.stdout.split() == ["1048576", "1048576", "unlimited", "unlimited"]


def test_streams_are_kept_apart(client):
    done = run(client, "--rm", BUSYBOX, "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_its_name_its_address_and_the_outside(client, daemon):
    assert (
        run(client, "-d", "--name", "first", "-h", "box", BUSYBOX, "sleep", "600").returncode == 0
    )
    seen = client("exec", "first", "sh", "-c", "hostname; cat /etc/hosts /etc/resolv.conf")
    networks = daemon.request("GET", "/containers/first/json").json["NetworkSettings"]["Networks"]
    assert seen.stdout.split()[0] == "box"
    assert networks["bridge"]["IPAddress"] in seen.stdout
    light = client("run", "--rm", BUSYBOX, "ping", "-c", "1", "-W", "5", "first", check=False)
    assert light.returncode == 0, light.stdout + light.stderr


def test_further_processes(client):
    assert run(client, "-d", "--name", "second", BUSYBOX, "sleep", "600").returncode == 0
    assert client("exec", "second", "sh", "-c", "exit 4", check=False).returncode == 4
    shown = client("exec", "second", "ps")
    assert "sleep 600" in shown.stdout
    assert client("exec", "second", "nosuch", check=False).returncode == 127


def test_a_small_init_lets_input_end(client):
    done = client(
        "run", "--runtime", "heavy", "--init", "-i", "--rm", BUSYBOX, "cat", input="all\n"
    )
    assert done.stdout == "all\n"


def test_it_sees_its_own_control_group_as_the_root(client):
    done = run(client, "--rm", BUSYBOX, "cat", "/proc/self/cgroup")
    assert done.stdout == "0::/\n"


def test_the_parameters_of_its_kernel_are_its_own(daemon):
    heft, words = Client("heft", daemon), ("run", "--rm", "--weight", "heavy", "--sysctl")
    shown = ("cat", "/proc/sys/vm/swappiness")
    host = Path(*shown[1:]).read_text()
    assert heft(*words, "vm.swappiness=7", BUSYBOX, *shown).stdout == "7\n"
    assert Path(*shown[1:]).read_text() == host
    done = heft(*words, "vm.nosuch=1", BUSYBOX, "true", check=False)
    assert done.returncode == 127  # as what names no file, with docker
    assert "sysctl vm.nosuch: no such file" in done.stderr
    assert daemon.request("GET", "/containers/json?all=1").json == []


def test_what_cannot_be_is_refused_and_leaves_nothing(client, daemon):
    for words in (("--network", "host"), ("--pid", "host"), ("--device", "/dev/null")):
        done = run(client, "--rm", *words, BUSYBOX, "true")
        assert done.returncode == 125
        assert "kernel of" in done.stderr
    assert "at least 128 MiB" in run(client, "--rm", "-m", "64m", BUSYBOX, "true").stderr
    assert daemon.request("GET", "/containers/json?all=1").json == []


def test_a_killed_daemon_loses_neither_output_nor_exit_code(daemon):
    client = Client("docker", daemon)
    script = "for i in $(seq 1 30); do echo line $i; sleep 0.1; done; exit 9"
    assert run(client, "-d", "--name", "third", BUSYBOX, "sh", "-c", script).returncode == 0
    for _ in range(3):
        time.sleep(0.3)
        daemon.restart()
    assert client("wait", "third").stdout.strip() == "9"
    lines = client("logs", "third").stdout.splitlines()
    assert lines == [f"line {number}" for number in range(1, 31)]


def test_a_killed_qemu_is_seen_and_the_restart_policy_acts(daemon):
    client = Client("docker", daemon)
    options = ("-d", "--name", "fourth", "--restart", "on-failure:1")
    assert run(client, *options, BUSYBOX, "sleep", "600").returncode == 0
    first = state(daemon, "fourth")["Pid"]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: state(daemon, "fourth")["Pid"] not in (0, first))
    assert state(daemon, "fourth")["Running"]


@pytest.mark.parametrize("killed", ["qemu", "monitor"])
def test_whatever_of_qemu_is_killed_all_of_it_is_gone_within_a_second(daemon, killed):
    client = Client("docker", daemon)
    assert run(client, "-d", "--name", "sixth", BUSYBOX, "sleep", "600").returncode == 0
    found = daemon.request("GET", "/containers/sixth/json").json
    own = process_of(user_of(found["Id"]))
    os.kill(int(own.name) if killed == "qemu" else found["State"]["Pid"], signal.SIGKILL)
    time.sleep(1)
    assert not own.exists()
    ended = state(daemon, "sixth")
    assert (ended["Status"], ended["ExitCode"]) == ("exited", 137)
    assert ended["Error"] == "its QEMU was killed"


def test_a_qemu_that_answers_nothing_holds_nobody_up(daemon):
    client = Client("docker", daemon)
    for name in ("silent", "sound"):
        assert run(client, "-d", "--name", name, BUSYBOX, "sleep", "600").returncode == 0
    machine = daemon.request("GET", "/containers/silent/json").json["Id"]
    own = int(process_of(user_of(machine)).name)
    usual = restarted(daemon)
    os.kill(own, signal.SIGSTOP)
    assert restarted(daemon) < 3 * usual + 2 * ADOPT_SECONDS
    assert state(daemon, "silent")["Status"] == "running"
    eventually(lambda: client("exec", "sound", "echo", "here", check=False).stdout == "here\n")
    refused = client("exec", "silent", "echo", "here", check=False)
    assert "has not answered since this daemon started" in refused.stdout + refused.stderr
    os.kill(own, signal.SIGCONT)
    eventually(lambda: client("exec", "silent", "echo", "here", check=False).stdout == "here\n")
    os.kill(own, signal.SIGSTOP)
    client("kill", "silent")
    ended = state(daemon, "silent")
    assert (ended["Status"], ended["ExitCode"]) == ("exited", 137)
    assert ended["Error"] == "its guest did not answer, and was turned off"


def restarted(daemon: Daemon) -> float:
    """Give the seconds that a daemon takes to start after it was killed."""
    daemon.kill()
    began = time.monotonic()
    daemon.start()
    return time.monotonic() - began


def process_of(user: int) -> Path:
    """Give the process of a user, in proc(5)."""
    (found,) = [
        path for path in Path("/proc").iterdir() if path.name.isdigit() and owner(path) == user
    ]
    return found


def owner(path: Path) -> int:
    try:
        return path.stat().st_uid
    except FileNotFoundError:
        return -1


def test_qemu_can_do_nothing_on_the_host(daemon):
    client = Client("docker", daemon)
    assert run(client, "-d", "--name", "fifth", BUSYBOX, "sleep", "600").returncode == 0
    machine = daemon.request("GET", "/containers/fifth/json").json["Id"]
    process = process_of(user_of(machine))
    lines = (process / "status").read_text().splitlines()
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert fields["CapEff"] == fields["CapPrm"] == fields["CapBnd"] == "0" * 16
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    root = process / "root"
    assert sorted(path.name for path in root.iterdir()) == [
        *("bin", "dev", "lib", "lib64", "proc", "run", "sbin", "tmp", "usr")
    ]
    assert {path.name for path in (root / "run").iterdir()} == {"agent.sock", "control.sock"}


async def test_without_qemu_the_weight_says_why_and_harms_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(qemu, "PROGRAM", "no-such-qemu")
    (tmp_path / "runs" / "other").mkdir(parents=True)
    kits = Kits(tmp_path / "kits", tmp_path / "agent")
    weight = HeavyWeight(HeavySettings(tmp_path / "runs", tmp_path / "templates"), kits)
    found = await weight.probe()
    assert not found.ok
    assert "no-such-qemu is not installed" in found.why
    await weight.sweep(frozenset())
    assert (tmp_path / "runs" / "other").is_dir(), "what is another weight's stays"


async def test_a_template_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch, clean_host):
    monkeypatch.setattr(templates, "BOOT_SECONDS", 0.1)
    kits = Kits(kit.KITS, agent.built() / "heft-agent")
    made = Templates(tmp_path / "templates", "any", 0)
    made.start()
    ready = await kits.ensure(DEFAULT, print)
    with pytest.raises(HostError, match="was not ready"):
        await made.ensure(ready, Shape(128 << 20, 1, "tcg"), print)
    assert list((tmp_path / "templates").iterdir()) == []
    eventually(
        lambda: not [path for path in processes_there() if str(tmp_path) in command_line(path)]
    )


def processes_there() -> list[Path]:
    return [path for path in Path("/proc").iterdir() if path.name.isdigit()]


def command_line(path: Path) -> str:
    try:
        return (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def test_what_a_guest_takes_of_its_host_is_told(client: Client) -> None:
    run(client, "-d", "--name", "paid", BUSYBOX, "sh", "-c", "sleep 1000")

    def told() -> tuple[int, int]:
        path = "/containers/paid/stats?stream=0&one-shot=1"
        stats = client.daemon.request("GET", path).json["memory_stats"]
        return stats["stats"]["heft_host_memory"], stats["usage"]

    host, guest = told()
    assert guest < host < 200 << 20, "its kernel and its QEMU have memory as well"
    client("exec", "paid", "sh", "-c", "dd if=/dev/urandom of=/dev/shm/x bs=1M count=40")
    more, seen = told()
    assert more - host > 38 << 20
    assert seen - guest > 38 << 20
    heft = Client("heft", client.daemon)
    shown = heft("stats", "--no-stream").stdout.splitlines()
    assert "HOST MEM" in shown[0]
    assert len(shown) == 2
