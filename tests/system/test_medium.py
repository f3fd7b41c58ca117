"""Medium machines, through the real `docker` and `heft`, with a real User Mode Linux."""

import contextlib
import hashlib
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from heft.guest import jail
from heft.guest.jail import Jail
from heft.guest.monitors import user_of
from heft.host import denied_calls
from heft.weights.medium import uml
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX
from tests.harness.pace import eventually, patience
from tests.system.test_daemon_crash import die_at, points
from tests.system.test_daemon_crash import state as status

SECONDS = patience(30)


@pytest.fixture
def docker(daemon: Daemon) -> Client:
    return Client("docker", daemon)


def run(client: Client, *words: str, **how):
    return client("run", "--runtime", "medium", *words, check=False, **how)


def state(daemon: Daemon, name: str) -> dict:
    return daemon.request("GET", f"/containers/{name}/json").json["State"]


def processes_of(user: int) -> list[Path]:
    return [path for path in Path("/proc").iterdir() if path.name.isdigit() and _is(path, user)]


def _is(path: Path, user: int) -> bool:
    try:
        return path.stat().st_uid == user
    except FileNotFoundError:
        return False


def parents(user: int) -> dict[str, str]:
    """Give the processes of a user, and the parent of each; some go while they are looked at."""
    found = {}
    for path in processes_of(user):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found[path.name] = (path / "stat").read_text().rpartition(")")[2].split()[1]
    return found


def test_a_kernel_of_its_own_streams_and_codes(docker):
    script = "uname -r; echo $$; echo err >&2; exit 7"
    done = run(docker, "--rm", BUSYBOX, "sh", "-c", script)
    release, pid = done.stdout.split()
    assert release != os.uname().release
    assert (pid, done.stderr, done.returncode) == ("1", "err\n", 7)
    assert run(docker, "--rm", BUSYBOX, "nosuch").returncode == 127


def test_much_more_than_its_line_holds_goes_in_and_out(docker, tmp_path):
    content = os.urandom(1 << 17).hex()
    (tmp_path / "in").write_text(content)
    assert run(docker, "-d", "--name", "box", BUSYBOX, "sleep", "600").returncode == 0
    assert docker("exec", "-i", "box", "cat", input=content).stdout == content
    docker("cp", str(tmp_path / "in"), "box:/in")
    docker("cp", "box:/in", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == content


def test_name_address_ports_and_the_outside(docker, daemon):
    serve = "while true; do echo page | nc -l -p 80; done"
    words = ("-d", "--name", "web", "-h", "box", "-p", "127.0.0.1:8089:80")
    done = run(docker, *words, BUSYBOX, "sh", "-c", serve)
    assert done.returncode == 0, done.stderr
    networks = daemon.request("GET", "/containers/web/json").json["NetworkSettings"]["Networks"]
    shown = docker("exec", "web", "sh", "-c", "hostname; cat /etc/hosts; ip addr show eth0").stdout
    address = networks["bridge"]["IPAddress"]
    assert shown.startswith("box\n")
    assert shown.count(address) == 2
    assert networks["bridge"]["MacAddress"] in shown
    get = f"ping -c 1 -W 5 web >/dev/null && nc -w 10 {address} 80"
    for weight in ("light", "medium"):
        seen = docker("run", "--rm", "--runtime", weight, BUSYBOX, "sh", "-c", get, check=False)
        assert seen.stdout == "page\n", (weight, seen.stderr)
    with socket.create_connection(("127.0.0.1", 8089), SECONDS) as published:
        assert published.recv(100) == b"page\n"
    alone = run(docker, "--rm", "--network", "none", BUSYBOX, "ip", "-o", "link")
    assert "eth" not in alone.stdout
    assert "vec" not in alone.stdout


def test_what_cannot_be_is_refused_in_words_and_leaves_nothing(docker, daemon):
    refused = {
        ("--network", "host"): "kernel of its own",
        ("-m", "64m"): "at least 128 MiB",
        ("--label", "heft.kit=debian"): "another weight's",
        ("--label", "heft.systemd=always"): "no whole system",
        ("--cpus", "2"): "one processor",
    }
    for words, why in refused.items():
        done = run(docker, "--rm", *words, BUSYBOX, "true")
        assert (done.returncode, why in done.stderr) == (125, True), (words, done.stderr)
    assert daemon.request("GET", "/containers/json?all=1").json == []


def test_a_killed_daemon_loses_neither_output_nor_exit_code(docker, daemon):
    script = "for i in $(seq 1 30); do echo line $i; sleep 0.1; done; exit 9"
    assert run(docker, "-d", "--name", "third", BUSYBOX, "sh", "-c", script).returncode == 0
    for _ in range(3):
        time.sleep(0.3)
        daemon.restart()
    assert docker("wait", "third").stdout.strip() == "9"
    lines = docker("logs", "third").stdout.splitlines()
    assert lines == [f"line {number}" for number in range(1, 31)]


@pytest.mark.parametrize("point", points("medium"))
def test_a_daemon_killed_at_each_step_leaves_nothing_half_done(docker, daemon, point):
    docker("create", "--runtime", "medium", "--name", "box", BUSYBOX, "sleep", "600")
    ends = point == "medium.ended"
    if ends:
        assert daemon.request("POST", "/containers/box/start").status == 204
    die_at(daemon, point, "POST", f"/containers/box/{'kill' if ends else 'start'}")
    eventually(lambda: status(daemon, "box") == ("exited" if ends else "created"))
    assert daemon.request("POST", "/containers/box/start").status == 204
    assert docker("exec", "box", "echo", "here").stdout == "here\n"


def test_a_panic_is_told_and_the_restart_policy_acts(docker, daemon):
    script = "if mkdir /second; then sync; echo c >/proc/sysrq-trigger; sleep 60; fi; exit 5"
    words = ("-d", "--privileged", "--restart", "on-failure:1", "--name", "again")
    assert run(docker, *words, BUSYBOX, "sh", "-c", script).returncode == 0
    eventually(lambda: state(daemon, "again")["Status"] == "exited")
    found = daemon.request("GET", "/containers/again/json").json
    assert (found["RestartCount"], found["State"]["ExitCode"]) == (1, 5)
    flood = "for i in $(seq 3000); do echo a line of the console $i; done >/dev/kmsg; "
    crash = flood + "echo c >/proc/sysrq-trigger; sleep 60"
    run(docker, "--privileged", "--name", "crash", BUSYBOX, "sh", "-c", crash)
    assert state(daemon, "crash")["Error"] == "the guest's kernel panicked: sysrq triggered crash"
    assert state(daemon, "crash")["ExitCode"] == 128 + signal.SIGKILL


def test_pausing_limits_and_figures(docker, daemon):
    count = "while true; do echo x; sleep 0.1; done"
    words = ("-d", "--name", "box", "-m", "160m", "--pids-limit", "20")
    assert run(docker, *words, BUSYBOX, "sh", "-c", count).returncode == 0
    taken = daemon.request("GET", "/heft/v1/machines/box/memory").json["pss"]
    assert 16 << 20 < taken < 50 << 20  # it was asked for nothing yet
    docker("pause", "box")
    before = docker("logs", "box").stdout
    time.sleep(1)
    assert docker("logs", "box").stdout == before
    docker("unpause", "box")
    docker("update", "--cpus", "0.5", "--pids-limit", "10", "box")
    eventually(lambda: docker("logs", "box").stdout != before)
    forks = docker("exec", "box", "sh", "-c", "for i in $(seq 40); do sleep 5 & done", check=False)
    assert "fork" in forks.stderr
    stats = daemon.request("GET", "/containers/box/stats?stream=0&one-shot=1").json
    assert stats["memory_stats"]["limit"] == 160 << 20
    assert 0 < stats["memory_stats"]["usage"] < 160 << 20


def bound_of(group: str) -> int:
    """Give how many processes a machine's group may have on the host."""
    for version in ("pids", "", "unified"):
        if (path := Path("/sys/fs/cgroup", version, group.lstrip("/"), "pids.max")).exists():
            return int(path.read_text())
    raise AssertionError(f"no bound of {group}")


def group_of(daemon: Daemon, name: str) -> str:
    pid = daemon.request("GET", f"/containers/{name}/json").json["State"]["Pid"]
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    found = {line.split(":")[1]: line.split(":")[2] for line in lines}
    return found.get("pids") or found[""]


def test_as_many_processes_as_its_memory_carries(docker, daemon):
    words = ("--rm", "--network", "none", "-m", "256m")
    script = """
        for i in $(seq 400); do sleep 60 & done
        for i in $(seq 100); do # a shell's child is not a `sleep` at once
            there=$(ps | grep -c 'sleep 60$'); [ $there = 400 ] && break; sleep 0.1
        done
        echo $there
    """
    assert run(docker, *words, BUSYBOX, "sh", "-c", script).stdout == "400\n"


def test_a_fork_bomb_harms_only_itself(docker, daemon):
    assert run(docker, "-d", "--name", "calm", BUSYBOX, "sleep", "600").returncode == 0
    bomb = "bomb() { bomb | bomb & }; bomb; sleep 600"
    words = ("-d", "--name", "bomb", "-m", "128m", "--cpus", "0.5", "--network", "none")
    assert run(docker, *words, BUSYBOX, "sh", "-c", bomb).returncode == 0
    machine = daemon.request("GET", "/containers/bomb/json").json["Id"]
    bound, most = bound_of(group_of(daemon, "bomb")), 0
    assert 1000 < bound < 1200  # 128 MiB, of 128 KiB each
    ends = time.monotonic() + 5
    while time.monotonic() < ends:
        most = max(most, len(processes_of(user_of(machine))))
        assert docker("exec", "calm", "echo", "here").stdout == "here\n"
    assert 150 < most < bound
    docker("rm", "-f", "bomb")
    assert processes_of(user_of(machine)) == []


def test_what_a_killed_kernel_leaves_the_next_daemon_removes(docker, daemon):
    words = ("-d", "--network", "none", "--name")
    for name, victim in (("kernel", "kernel"), ("monitor", "monitor")):
        assert run(docker, *words, name, BUSYBOX, "sleep", "600").returncode == 0
        found = daemon.request("GET", f"/containers/{name}/json").json
        user = user_of(found["Id"])
        own = parents(user)
        (kernel,) = (pid for pid in own if own[pid] not in own)
        daemon.kill()
        os.kill(int(kernel) if victim == "kernel" else found["State"]["Pid"], signal.SIGKILL)
        daemon.start()
        eventually(lambda name=name: state(daemon, name)["Status"] == "exited")
        ended = state(daemon, name)
        assert (ended["ExitCode"], ended["Error"]) == (137, "its kernel has ended")
        assert processes_of(user) == []
        assert list((daemon.run / "machines").iterdir()) == []
        assert docker("start", name).stdout == f"{name}\n"
        docker("rm", "-f", name)


def test_it_goes_to_other_weights_and_back_with_what_it_wrote(docker, daemon):
    write = "mkdir /d; echo in >/d/f; chown 7:9 /d/f; chmod 4711 /d/f; ln /d/f /d/g; mknod /n p"
    look = "stat -c '%n %U %u:%g %a %h %F' /d/f /d/g /n; cat /d/f; ls /etc"
    run(docker, "--name", "box", BUSYBOX, "sh", "-c", f"{write}; rm -r /etc/group; {look}; sync")
    seen = docker("logs", "box").stdout
    assert "4711 2" in seen
    for weight in ("light", "medium", "heavy", "medium"):
        path = "/heft/v1/machines/box/weight"
        answer = daemon.request("POST", path, {"Weight": weight})
        assert answer.status < 300, answer.body
        docker("start", "-a", "box", check=False)
        assert docker("logs", "box").stdout.endswith(seen), weight


def test_its_kernel_can_do_nothing_on_the_host(docker, daemon):
    words = ("-d", "--privileged", "--name", "box", "--network", "none")
    assert run(docker, *words, BUSYBOX, "sleep", "600").returncode == 0
    machine = daemon.request("GET", "/containers/box/json").json["Id"]
    found = processes_of(user_of(machine))
    assert len(found) > 3
    for process in found:
        lines = (process / "status").read_text().splitlines()
        fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        assert fields["CapEff"] == fields["CapPrm"] == fields["CapBnd"] == "0" * 16
        assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    root = found[0] / "root"
    assert sorted(path.name for path in root.iterdir()) == [
        *("base", "beside.so", "bin", "dev", "initramfs", "kernel", "lib", "lib64", "modules"),
        *("proc", "run", "sbin", "tmp", "upper", "usr", "vsock"),
    ]


@pytest.mark.parametrize("size", ["64m", "1g"])
def test_its_kernel_makes_no_file_of_the_host_and_none_larger(docker, daemon, size):
    words = ("-d", "--name", "box", "-m", "256m", "--storage-opt", f"size={size}")
    assert run(docker, *words, BUSYBOX, "sleep", "600").returncode == 0
    machine = daemon.request("GET", "/containers/box/json").json["Id"]
    user = user_of(machine)
    most = max(256 << 20, (daemon.data / "machines" / machine / "upper/disk.ext4").stat().st_size)
    for process in processes_of(user):
        limits = (process / "limits").read_text()
        assert re.search(rf"Max file size +{most} +{most} ", limits), limits
    own = list((daemon.run / "machines" / machine).rglob("*"))
    assert [each for each in own if each.stat().st_uid == user] == []


def test_its_kernel_killed_all_of_it_is_gone_within_a_second(docker, daemon):
    """What its processes do when nobody takes their calls any more, they do as nobody, denied."""
    spin = "while true; do echo x >/escaped; mount -t tmpfs none /tmp; done 2>/dev/null"
    assert run(docker, "-d", "--name", "box", BUSYBOX, "sh", "-c", spin).returncode == 0
    machine = daemon.request("GET", "/containers/box/json").json["Id"]
    user = user_of(machine)
    own = parents(user)
    (device,) = (pid for pid in own if own[pid] not in own)
    (kernel,) = (pid for pid in own if own[pid] == device)
    os.kill(int(kernel), signal.SIGKILL)
    time.sleep(1)
    assert processes_of(user) == []
    ended = state(daemon, "box")
    assert (ended["Status"], ended["ExitCode"]) == ("exited", 137)
    assert ended["Error"] == "its kernel has ended"


def test_its_device_killed_the_machine_ends_and_its_policy_acts(docker, daemon):
    words = ("-d", "--name", "box", "--restart", "always")
    assert run(docker, *words, BUSYBOX, "sh", "-c", "echo here; sleep 600").returncode == 0
    eventually(lambda: docker("logs", "box").stdout == "here\n")
    machine = daemon.request("GET", "/containers/box/json").json["Id"]
    own = parents(user_of(machine))
    (device,) = (pid for pid in own if own[pid] not in own)
    assert Path("/proc", device, "comm").read_text() == "vsock\n"
    os.kill(int(device), signal.SIGKILL)
    eventually(lambda: docker("logs", "box").stdout == "here\nhere\n")
    assert daemon.request("GET", "/containers/box/json").json["RestartCount"] == 1
    assert not own.keys() & {path.name for path in processes_of(user_of(machine))}


def test_a_daemon_killed_while_much_goes_in_leaves_a_machine_to_go_on_with(
    docker, daemon, tmp_path
):
    content = os.urandom(1 << 20) * 48
    (tmp_path / "in").write_bytes(content)
    assert run(docker, "-d", "--name", "box", BUSYBOX, "sleep", "600").returncode == 0
    for seconds in (0.1, 0.4):
        copying = subprocess.Popen(
            ("docker", "cp", str(tmp_path / "in"), "box:/in"),
            env=daemon.environment,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(seconds)
        daemon.restart()
        copying.wait(SECONDS)
        assert docker("exec", "box", "echo", "there").stdout == "there\n"
    docker("cp", str(tmp_path / "in"), "box:/in")
    seen = docker("exec", "box", "sha256sum", "/in").stdout.split()[0]
    assert seen == hashlib.sha256(content).hexdigest()


PROBE = """
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def tried(what, do):
    try:
        print(what, "done", do())
    except Exception as error:
        print(what, "refused", error)
def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
for place in ("/", "/usr", "/proc/sys/kernel", "/dev/sda"):
    tried("write " + place, lambda: open(place + "/x", "w"))
for place in ("/etc/passwd", "/root", "/var", "/sys", "/dev/mem"):
    tried("see " + place, lambda: os.stat(place))
for flag in (0x20000, *(1 << bit for bit in range(25, 31))):
    tried(f"unshare {flag:x}", lambda: call(272, flag))
    tried(f"clone {flag:x}", lambda: call(56, flag | 17, 0, 0, 0, 0))
tried("clone3", lambda: call(435, 0, 0))
for name, number in (("mount", 165), ("bpf", 321), ("io_uring_setup", 425), ("keyctl", 250),
                     ("userfaultfd", 323), ("perf_event_open", 298), ("setns", 308)):
    tried(name, lambda: call(number, 0, 0, 0, 0, 0))
tried("ptrace", lambda: call(101, 16, 1, 0, 0))
tried("mknod", lambda: os.mknod("/tmp/disk", 0o60666, os.makedev(254, 0)))
tried("setuid", lambda: os.setuid(0))
tried("packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
tried("reach", lambda: socket.create_connection(("127.0.0.1", 22), 1))
tried("others", lambda: [p for p in os.listdir("/proc") if p.isdigit() and int(p) > 10][0])
"""


def test_who_breaks_out_of_it_is_nowhere(tmp_path):
    """A hostile kernel makes what calls it likes: this runs in its jail, with its filter."""
    (tmp_path / "own").mkdir()
    user = user_of("f" * 64)
    os.chown(tmp_path / "own", user, user)
    confined = denied_calls.written(uml.DENIED)
    place = Jail(user, user, tmp_path / "own", filter=confined, scratch=True)
    words = jail.command(place, ("/usr/bin/python3", "-I", "-c", PROBE))
    done = subprocess.run(words, pass_fds=[confined], capture_output=True, text=True, check=False)
    os.close(confined)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 37
    assert [line for line in lines if " refused " not in line] == []
    filtered = ("unshare", "clone ", "mount", "bpf", "io_uring_setup", "keyctl", "userfaultfd")
    assert all("[Errno 1]" in line for line in lines if line.startswith(filtered)), lines
