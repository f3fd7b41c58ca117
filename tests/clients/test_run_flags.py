"""The rest of run's flags: each seen from inside the machine, or refused clearly."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.test_run import group_file, run, sh
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX

DENY_MKDIR = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
}


def start(client: Client, name: str, *flags: str, script: str = "sleep 1000") -> None:
    client("run", "-d", "--name", name, *flags, BUSYBOX, "sh", "-c", script)


def inspected(client: Client, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client("inspect", name).stdout)[0]
    return found


def refused(client: Client, words: str, *flags: str, status: tuple[int, ...] = (125,)) -> None:
    done = client("run", "--rm", *flags, BUSYBOX, "true", check=False)
    assert done.returncode in status, done.stderr
    assert words in done.stderr, done.stderr
    assert client("ps", "-aq").stdout == ""


def limit(client: Client, name: str, controller: str, first: str, second: str) -> str:
    groups = Path(f"/proc/{inspected(client, name)['State']['Pid']}/cgroup").read_text()
    return group_file(groups, controller, first, second)


# Mounts


@pytest.fixture
def mounted(place: Path) -> Iterator[Path]:
    """A directory with a file system mounted in it."""
    below = place / "below"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", below], check=True)
    (below / "file").write_text("deep\n")
    yield place
    subprocess.run(["umount", "-R", below], check=True)


def test_what_is_mounted_below_a_bind(client: Client, mounted: Path) -> None:
    bind = f"type=bind,src={mounted},dst=/m"
    touch = "cat /m/below/file 2>&1; touch /m/x 2>&1; touch /m/below/x 2>&1 && echo written; true"
    assert sh(client, touch, "--mount", bind) == "deep\nwritten"
    shown = sh(client, touch, "--mount", f"{bind},readonly")
    assert shown.count("Read-only file system") == 2
    shown = sh(client, touch, "--mount", f"{bind},readonly,bind-recursive=writable")
    assert shown.count("Read-only file system") == 1
    assert "written" in shown
    shown = sh(client, touch, "--mount", f"{bind},bind-recursive=disabled")
    assert "No such file" in shown


@pytest.mark.light
def test_propagation(client: Client, place: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        subprocess.run(["mount", "--make-rshared", place], check=True)
        (place / "later").mkdir()
        for index, (how, seen) in enumerate((("rslave", "yes"), ("rprivate", "no"))):
            mount = f"type=bind,src={place},dst=/m,bind-propagation={how}"
            start(client, f"box{index}", "--mount", mount)
            subprocess.run(["mount", "-t", "tmpfs", "new", place / "later"], check=True)
            try:
                script = "grep -q ' /m/later ' /proc/mounts && echo yes || echo no"
                done = client("exec", f"box{index}", "sh", "-c", script)
                assert done.stdout.strip() == seen
            finally:
                subprocess.run(["umount", place / "later"], check=True)
        shared = ("-v", f"{place}:/m:rshared", "--cap-add", "SYS_ADMIN")
        unconfined = ("--security-opt", "seccomp=unconfined")
        start(client, "sharer", *shared, *unconfined)
        client("exec", "sharer", "mount", "-t", "tmpfs", "inner", "/m/later")
        assert f"inner {place}/later " in Path("/proc/self/mounts").read_text() or _propagated(
            client, place
        )
    finally:
        client("rm", "-f", "sharer", check=False)
        subprocess.run(["umount", "-R", place], check=True)


def _propagated(client: Client, place: Path) -> bool:
    mounts = Path(f"/proc/{client.daemon.pid}/mounts").read_text()
    return f" {place}/later " in mounts


def test_a_part_of_a_volume(client: Client) -> None:
    sh(client, "mkdir -p /v/a/b; echo deep > /v/a/b/file; echo top > /v/top", "-v", "vol:/v")
    part = ("--mount", "type=volume,src=vol,dst=/m,volume-subpath=a/b")
    assert sh(client, "ls /m; cat /m/file; touch /m/new", *part) == "file\ndeep"
    assert sh(client, "ls /v/a/b", "-v", "vol:/v") == "file\nnew"
    file = ("--mount", "type=volume,src=vol,dst=/file,volume-subpath=top,readonly")
    shown = sh(client, "cat /file; (echo x > /file) 2>&1; true", *file)
    assert shown.startswith("top\n")
    assert "Read-only file system" in shown
    done = client(
        "run", "--rm", "--mount", "type=volume,src=vol,dst=/m,volume-subpath=no", BUSYBOX, "true",
        check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "cannot access path" in done.stderr
    wrong = "type=volume,src=vol,dst=/m,volume-subpath=../../"
    done = client("run", "--rm", "--mount", wrong, BUSYBOX, "true", check=False)
    assert done.returncode == 125


def test_a_part_of_a_volume_does_not_lead_out_of_it(client: Client) -> None:
    sh(client, "ln -s / /v/out; ln -s ../../.. /v/up; mkdir /v/in", "-v", "vol:/v")
    for name in ("out", "up"):
        part = ("--mount", f"type=volume,src=vol,dst=/m,volume-subpath={name}")
        assert sh(client, "ls /m", *part) == "in\nout\nup"  # the volume's own root
    part = ("--mount", "type=volume,src=vol,dst=/m,volume-subpath=out/etc")
    done = client("run", "--rm", *part, BUSYBOX, "ls", "/m", check=False)
    assert "no such file" in done.stderr


def test_tmpfs_in_the_long_syntax(client: Client) -> None:
    mount = ("--mount", "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1750")
    shown = sh(client, "df -k /t | tail -1; stat -c %a /t; touch /t/x && echo ok", *mount)
    assert "1024" in shown
    assert shown.endswith("1750\nok")


def test_tmpfs_takes_every_option_of_mount(client: Client) -> None:
    """Those that are flags to mount(2), and no options of the file system, among them."""
    names = "defaults,rw,async,nomand,atime,diratime,norelatime,nostrictatime,noexec,size=1m"
    shown = sh(client, "grep ' /t ' /proc/mounts", "--tmpfs", f"/t:{names}")
    assert "relatime" in shown, "nothing else was asked for"
    assert "size=1024k" in shown
    shown = sh(client, "grep ' /t ' /proc/mounts", "--tmpfs", "/t:nodiratime,strictatime,exec")
    options = shown.split()[3].split(",")
    assert "nodiratime" in options
    assert not {"relatime", "noexec"} & set(options)


def test_volumes_from(client: Client, place: Path) -> None:
    flags = ("-v", "vol:/v", "-v", f"{place}:/b", "-v", "/anonymous")
    start(client, "first", *flags, script="echo 1 > /v/x; echo 2 > /anonymous/y; sleep 1000")
    script = "cat /v/x /anonymous/y; touch /b/new; touch /v/z 2>&1; true"
    for _ in range(50):
        shown = sh(client, script, "--volumes-from", "first")
        if shown == "1\n2":
            break
    assert shown == "1\n2"
    assert (place / "new").exists()
    shown = sh(client, "touch /v/z 2>&1; touch /b/z 2>&1; true", "--volumes-from", "first:ro")
    assert shown.count("Read-only file system") == 2
    client("rm", "-f", "-v", "first")
    refused(client, "No such container: nobody", "--volumes-from", "nobody")


def test_mounts_that_cannot_be(client: Client, place: Path) -> None:
    bind = f"type=bind,src={place},dst=/m"
    refused(client, "/m", "--mount", bind, "-v", f"{place}:/m")
    refused(client, "propagation", "--mount", f"{bind},bind-propagation=sideways")


# Links


def test_link(client: Client) -> None:
    flags = ("--expose", "80", "--expose", "5000/udp", "-e", "COLOR=blue")
    start(client, "server", *flags)
    address = inspected(client, "server")["NetworkSettings"]["IPAddress"]
    start(client, "box", "--link", "server:the-db")
    lines = client("exec", "box", "cat", "/etc/hosts").stdout.splitlines()
    hostname = inspected(client, "server")["Config"]["Hostname"]
    assert f"{address}\tthe-db {hostname} server" in lines
    script = "tr '\\0' '\\n' < /proc/1/environ"
    variables = client("exec", "box", "sh", "-c", script).stdout.splitlines()
    assert {
        f"THE_DB_PORT=tcp://{address}:80",
        f"THE_DB_PORT_80_TCP=tcp://{address}:80",
        f"THE_DB_PORT_80_TCP_ADDR={address}",
        "THE_DB_PORT_80_TCP_PORT=80",
        "THE_DB_PORT_80_TCP_PROTO=tcp",
        f"THE_DB_PORT_5000_UDP=udp://{address}:5000",
        "THE_DB_NAME=/box/the-db",
        "THE_DB_ENV_COLOR=blue",
    } <= set(variables)
    assert client("exec", "box", "ping", "-c", "1", "the-db").returncode == 0
    client("stop", "-t", "0", "server")
    start(client, "between")
    client("start", "server")
    address = inspected(client, "server")["NetworkSettings"]["IPAddress"]
    hosts = client("exec", "box", "cat", "/etc/hosts").stdout.splitlines()
    assert [line.split()[0] for line in hosts if "the-db" in line] == [address]
    client("stop", "-t", "0", "server", "box")
    done = client("start", "box", check=False)
    assert "Cannot link to a non running container: /server AS /box/the-db" in done.stderr


def test_links_that_cannot_be(client: Client) -> None:
    refused(client, "nobody", "--link", "nobody")
    start(client, "server")
    done = client("run", "--network", "host", "--link", "server", BUSYBOX, "true", check=False)
    assert done.returncode == 125
    assert "can't be used with links" in done.stderr


# Confinement


@pytest.mark.light
def test_seccomp(client: Client, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps(DENY_MKDIR))
    script = "grep Seccomp: /proc/self/status; mkdir /x 2>&1; true"
    shown = sh(client, script, "--security-opt", f"seccomp={profile}")
    assert shown.split()[:2] == ["Seccomp:", "2"]
    assert "Operation not permitted" in shown
    mode = "grep Seccomp: /proc/self/status"
    assert sh(client, mode).split() == ["Seccomp:", "2"]
    assert sh(client, mode, "--security-opt", "seccomp=unconfined").split() == ["Seccomp:", "0"]
    assert sh(client, mode, "--security-opt", "seccomp=builtin").split() == ["Seccomp:", "2"]
    assert sh(client, mode, "--privileged").split() == ["Seccomp:", "0"]
    shown = sh(client, script, "--privileged", "--security-opt", f"seccomp={profile}")
    assert "Operation not permitted" in shown


def test_no_new_privileges(client: Client) -> None:
    script = "grep NoNewPrivs /proc/self/status"
    assert sh(client, script).split()[1] == "0"
    for option in ("no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"):
        assert sh(client, script, "--security-opt", option).split()[1] == "1"
    assert sh(client, script, "--security-opt", "no-new-privileges=false").split()[1] == "0"
    start(client, "box", "--security-opt", "no-new-privileges")
    assert client("exec", "box", "sh", "-c", script).stdout.split()[1] == "1"


@pytest.mark.light
def test_system_paths(client: Client) -> None:
    script = "grep -c ' /proc/' /proc/mounts; true"
    assert int(sh(client, script)) > 3
    assert sh(client, script, "--security-opt", "systempaths=unconfined") == "0"


def test_labels_and_profiles(client: Client) -> None:
    assert sh(client, "echo ok", "--security-opt", "label=disable") == "ok"
    assert sh(client, "echo ok", "--security-opt", "apparmor=unconfined") == "ok"
    if not Path("/sys/module/apparmor/parameters/enabled").exists():
        option = ("--security-opt", "apparmor=mine")
        done = client("run", "--rm", *option, BUSYBOX, "true", check=False)
        assert done.returncode != 0
        words = ("AppArmor is not enabled on this host", "--security-opt apparmor")
        assert any(each in done.stderr for each in words)
    refused(client, "magic", "--security-opt", "magic=1")


@pytest.mark.light
def test_device_rules(client: Client) -> None:
    script = "mknod /tmp/tun c 10 200; (: < /tmp/tun) 2>&1 && echo opened; true"
    assert "Operation not permitted" in sh(client, script)
    assert "opened" in sh(client, script, "--device-cgroup-rule", "c 10:200 rwm")
    refused(client, "nonsense", "--device-cgroup-rule", "nonsense", status=(125, 127))


def test_gpus_are_refused(client: Client) -> None:
    refused(client, 'could not select device driver "" with capabilities: [[gpu]]', "--gpus=all")


def test_sysctls(client: Client) -> None:
    flags = ("--sysctl", "net.ipv4.ip_forward=0", "--sysctl", "kernel.msgmax=9000")
    shown = sh(client, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", *flags)
    assert shown == "0\n9000"
    refused(client, "no-value", "--sysctl", "no-value")


@pytest.mark.light
def test_sysctls_of_the_host_s_kernel_are_refused(client: Client) -> None:
    refused(client, "kernel.panic", "--sysctl", "kernel.panic=1")
    refused(
        client, "not in a separate kernel namespace",
        "--network", "host", "--sysctl", "net.ipv4.ip_forward=0",
    )  # fmt: skip


def test_groups(client: Client) -> None:
    assert "100(users)" in sh(client, "id", "--group-add", "users")
    assert "4321" in sh(client, "id", "--group-add", "4321", "--user", "user")
    done = client("run", "--rm", "--group-add", "strangers", BUSYBOX, "true", check=False)
    assert done.returncode != 0
    assert "strangers" in done.stderr


# Limits


@pytest.mark.light
def test_memory(client: Client) -> None:
    flags = ("--memory", "64m", "--memory-swap", "80m", "--memory-reservation", "32m")
    start(client, "box", *flags)
    soft = ("memory", "memory.soft_limit_in_bytes", "memory.low")
    assert limit(client, "box", *soft) == str(32 << 20)
    swap = limit(client, "box", "memory", "memory.memsw.limit_in_bytes", "memory.swap.max")
    assert swap in (str(80 << 20), str(16 << 20))
    start(client, "double", "--memory", "64m")
    assert inspected(client, "double")["HostConfig"]["MemorySwap"] == 128 << 20
    start(client, "unlimited", "--memory", "64m", "--memory-swap", "-1")
    assert inspected(client, "unlimited")["HostConfig"]["MemorySwap"] == -1


@pytest.mark.light
def test_swappiness_and_the_oom_killer(client: Client) -> None:
    flags = ("--memory", "64m", "--memory-swappiness", "7", "--oom-kill-disable")
    done = client("run", "-d", "--name", "box", *flags, BUSYBOX, "sleep", "1000")
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        assert "discarded" in done.stderr
    else:
        assert limit(client, "box", "memory", "memory.swappiness", "") == "7"
        oom = limit(client, "box", "memory", "memory.oom_control", "")
        assert "oom_kill_disable 1" in oom
    done = client("run", "--rm", "--oom-kill-disable", BUSYBOX, "true")
    assert "OOM killer is disabled for the container, but no memory limit" in done.stderr


def test_oom_score(client: Client) -> None:
    assert sh(client, "cat /proc/self/oom_score_adj", "--oom-score-adj", "321") == "321"
    refused(client, "1001", "--oom-score-adj", "1001")


@pytest.mark.light
def test_block_throttles(client: Client) -> None:
    device = Path("/dev/loop0")
    if not device.is_block_device():
        pytest.skip("there is no block device on this host")
    number = device.stat().st_rdev
    name = f"{os.major(number)}:{os.minor(number)}"
    flags = ("--device-read-bps", f"{device}:1mb", "--device-write-iops", f"{device}:55")
    start(client, "box", *flags)
    rates = limit(client, "box", "blkio", "blkio.throttle.read_bps_device", "io.max")
    assert name in rates
    assert str(1 << 20) in rates
    rates = limit(client, "box", "blkio", "blkio.throttle.write_iops_device", "io.max")
    assert "55" in rates
    client("rm", "-f", "box")
    refused(client, "/dev/nothing", "--device-read-bps", "/dev/nothing:1mb", status=(125, 127))
    assert sh(client, "echo ok", "--blkio-weight", "300") == "ok"
    refused(client, "Range of blkio weight", "--blkio-weight", "5")


def test_cgroup_parent(client: Client) -> None:
    parent = f"{_daemon_parent()}/of-users"
    start(client, "box", "--cgroup-parent", parent)
    found = inspected(client, "box")
    groups = Path(f"/proc/{found['State']['Pid']}/cgroup").read_text()
    assert f"{parent}/{found['Id']}" in groups
    client("rm", "-f", "box")
    hierarchies = Path("/sys/fs/cgroup")
    for hierarchy in (hierarchies, *hierarchies.iterdir()):
        if (directory := hierarchy / parent.lstrip("/")).is_dir():
            directory.rmdir()
    refused(client, "invalid cgroup parent", "--cgroup-parent", "../../up")


def _daemon_parent() -> str:
    from tests.harness.isolation import CGROUP_PARENT

    return CGROUP_PARENT


# Namespaces


@pytest.mark.light
def test_pid_namespaces(client: Client) -> None:
    assert sh(client, "echo $$") == "1"
    assert int(sh(client, "ps | wc -l", "--pid", "host")) > 10
    start(client, "box", script="sleep 4321")
    assert "sleep 4321" in sh(client, "ps", "--pid", "container:box")
    refused_mode = client("run", "--pid", "sideways", BUSYBOX, "true", check=False)
    assert refused_mode.returncode == 125


@pytest.mark.light
def test_ipc_namespaces(client: Client) -> None:
    own = os.readlink("/proc/self/ns/ipc")
    link = "readlink /proc/self/ns/ipc"
    assert sh(client, link) != own
    assert sh(client, link, "--ipc", "host") == own
    assert sh(client, "test -e /dev/shm || echo none", "--ipc", "none") == "none"
    start(client, "donor", "--ipc", "shareable", "--shm-size", "3m")
    client("exec", "donor", "sh", "-c", "echo shared > /dev/shm/x")
    theirs = client("exec", "donor", "sh", "-c", link).stdout.strip()
    script = f"{link}; cat /dev/shm/x; df -k /dev/shm | tail -1"
    shown = sh(client, script, "--ipc", "container:donor")
    assert shown.startswith(f"{theirs}\nshared\n")
    assert "3072" in shown
    client.daemon.kill()
    client.daemon.start()
    assert sh(client, "cat /dev/shm/x", "--ipc", "container:donor") == "shared"
    start(client, "private")
    done = client("run", "--rm", "--ipc", "container:private", BUSYBOX, "true", check=False)
    assert done.returncode != 0
    assert "non-shareable IPC" in done.stderr


@pytest.mark.light
def test_uts_namespaces(client: Client) -> None:
    link = "readlink /proc/self/ns/uts"
    assert sh(client, link) != os.readlink("/proc/self/ns/uts")
    assert sh(client, link, "--uts", "host") == os.readlink("/proc/self/ns/uts")
    assert sh(client, "hostname", "--uts", "host") == socket.gethostname()


@pytest.mark.light
def test_cgroup_namespaces(client: Client) -> None:
    link = "readlink /proc/self/ns/cgroup"
    own = os.readlink("/proc/self/ns/cgroup")
    assert sh(client, link, "--cgroupns", "private") != own
    assert sh(client, link, "--cgroupns", "host") == own


def test_users_of_the_host(client: Client) -> None:
    """Other users are the matter of test_user_namespaces."""
    show = "readlink /proc/self/ns/user"
    for mode in ("", "host"):
        assert sh(client, show, "--userns", mode) == os.readlink("/proc/self/ns/user")
    done = client("run", "--rm", "--userns", "keep-id", BUSYBOX, "true", check=False)
    assert done.returncode == 125
    assert "invalid USER mode" in done.stderr


@pytest.mark.light
def test_a_host_without_ids_for_users(daemon: Daemon) -> None:
    heft = Client("heft", daemon)
    done = heft("run", "--rm", "--userns", "auto", BUSYBOX, "true", check=False)
    assert done.returncode == 125
    assert "no subuid ranges found for user 'heft'" in done.stderr
    assert "add a line to /etc/subuid, as heft:" in done.stderr
    assert heft("ps", "-aq").stdout == ""


# What is written down, and where output goes


def test_files_of_ids_and_labels(client: Client, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.write_text("one=1\n# a comment\ntwo=2 3\nempty\n")
    identity = tmp_path / "id"
    flags = ("--label-file", str(labels), "--label", "one=over", "--cidfile", str(identity))
    client("run", "-d", "--name", "box", *flags, "--annotation", "a.b=c", BUSYBOX, "sleep", "99")
    found = inspected(client, "box")
    assert identity.read_text() == found["Id"]
    assert found["Config"]["Labels"] == {"one": "over", "two": "2 3"}
    assert found["HostConfig"]["Annotations"] == {"a.b": "c"}
    done = client("run", "--cidfile", str(identity), BUSYBOX, "true", check=False)
    assert done.returncode == 125
    assert "container ID file found" in done.stderr.lower().replace("id", "ID")


def test_platform_and_pull(client: Client) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    flags = ("--platform", f"linux/{machine}", "--pull", "never")
    assert sh(client, "echo ok", *flags) == "ok"
    assert sh(client, "echo ok", "--pull", "missing") == "ok"
    done = client("run", "--pull", "never", "--platform", "linux/mips", BUSYBOX, check=False)
    assert done.returncode == 125
    assert "does not match the specified platform: wanted linux/mips" in done.stderr
    assert client("run", "--pull", "always", BUSYBOX, "true", check=False).returncode == 125
    assert client("run", "--pull", "perhaps", BUSYBOX, "true", check=False).returncode == 125


def test_log_drivers(client: Client) -> None:
    for driver, options in (("json-file", ("--log-opt", "max-size=1m")), ("local", ())):
        start(client, driver, "--log-driver", driver, *options, script="echo logged; sleep 1000")
        for _ in range(50):
            if client("logs", driver).stdout == "logged\n":
                break
        assert client("logs", driver).stdout == "logged\n"
        assert inspected(client, driver)["HostConfig"]["LogConfig"]["Type"] == driver
    start(client, "none", "--log-driver", "none", script="echo logged; sleep 1000")
    done = client("logs", "none", check=False)
    assert "does not support reading" in done.stderr
    client("rm", "-f", "json-file", "local", "none")
    refused(client, "no log driver named 'gelf' is registered", "--log-driver", "gelf")
    refused(client, "unknown log opt 'color'", "--log-opt", "color=red")


@pytest.fixture
def journal(daemon: Daemon) -> Iterator[None]:
    """A journald of the test's own, in place of the host's."""
    program = Path("/lib/systemd/systemd-journald")
    if not program.exists():
        pytest.skip("systemd-journald is not installed")
    places = [Path("/run/systemd"), Path("/run/log")]
    made = [place for place in places if not place.exists()]
    for place in places:
        place.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
        (place / "journal").mkdir()
    try:
        with subprocess.Popen([program], stderr=subprocess.DEVNULL) as journald:
            while not Path("/run/systemd/journal/socket").exists():
                time.sleep(0.01)
            yield
            journald.terminate()
    finally:
        for place in places:
            subprocess.run(["umount", "-l", place], check=True)
        for place in made:
            place.rmdir()


def test_journald(client: Client, journal: None) -> None:
    flags = ("--log-driver", "journald", "--log-opt", "tag=mark")
    start(client, "box", *flags, script="echo to the journal; echo wrong >&2; sleep 1000")
    wanted = [("to the journal", "6"), ("wrong", "3")]
    command = ["journalctl", "-D", "/run/log/journal", "-o", "json", "CONTAINER_NAME=box"]
    for _ in range(100):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        entries = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if len(entries) == 2:
            break
        time.sleep(0.05)
    seen = [(entry["MESSAGE"].strip(), entry["PRIORITY"]) for entry in entries]
    assert sorted(seen) == wanted
    assert entries[0]["CONTAINER_TAG"] == "mark"
    assert entries[0]["CONTAINER_ID_FULL"] == inspected(client, "box")["Id"]
    shown = client("logs", "box")
    assert (shown.stdout, shown.stderr) == ("to the journal\n", "wrong\n")
    client("rm", "-f", "box")


def test_without_a_journal_its_driver_is_refused(client: Client) -> None:
    if Path("/run/systemd/journal/socket").exists():
        pytest.skip("journald runs here")
    refused(client, "journald is not enabled on this host", "--log-driver", "journald")


@pytest.mark.parametrize("proxy", ["true", "false"])
def test_signals_are_the_machines_or_not(client: Client, proxy: str) -> None:
    script = "trap 'exit 9' TERM; echo ready; while true; do sleep 0.1; done"
    flags = ("--name", "box", f"--sig-proxy={proxy}")
    command = [*client.program, "run", *flags, BUSYBOX, "sh", "-c", script]
    with subprocess.Popen(command, env=client.environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGTERM)
            if proxy == "true":
                assert process.wait(20) == 9
            else:
                time.sleep(0.5)
                running = client("inspect", "box", "-f", "{{.State.Running}}").stdout
                assert running == "true\n"
        finally:
            process.kill()


def test_environment_of_a_terminal_is_not_the_hosts(client: Client) -> None:
    shown = run(client, "--env", "HOME=/else", BUSYBOX, "sh", "-c", "echo $HOME")
    assert shown == "/else\n"
