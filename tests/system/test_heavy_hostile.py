"""Heavy machines that are up to no good, and what must be each one's own."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from heft.guest.monitors import user_of
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX
from tests.harness.pace import eventually
from tests.harness.serving import emptied, serving

MANY = 50
AT_ONCE = 10
RIGHT_SECONDS = 0.05
SECONDS = 30.0


@pytest.fixture(scope="module")
def heavy_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Give a daemon with one image; its first machine makes the template for all."""
    with serving(tmp_path_factory.mktemp("heavy"), "--default-weight", "heavy") as daemon:
        yield daemon


@pytest.fixture
def client(heavy_daemon: Daemon) -> Iterator[Client]:
    """Give a client, and a look at what is left; a neighbour must have been well all the time."""
    with emptied(heavy_daemon):
        client = Client("docker", heavy_daemon)
        client("run", "-d", "--name", "neighbour", BUSYBOX, "sleep", "1000")
        yield client
        begin = time.monotonic()
        assert client("exec", "neighbour", "echo", "well").stdout == "well\n"
        assert time.monotonic() - begin < SECONDS / 6


def identity(client: Client, name: str) -> str:
    return client("inspect", "-f", "{{.Id}}", name).stdout.strip()


def memory(process: int) -> int:
    """Give the bytes of memory that a process has (proc(5), VmRSS)."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) << 10


# What must be its own


def test_nothing_of_fifty_from_one_template_is_the_same(client: Client) -> None:
    script = (
        "cat /proc/sys/kernel/random/boot_id; head -c 32 /dev/urandom | sha256sum | cut -c1-64;"
        " mktemp -u /XXXXXXXXXXXX; hostname; cat /sys/class/net/eth0/address; date +%s"
    )

    def one(number: int) -> list[str]:
        name = f"own{number}"
        return client("run", "--name", name, BUSYBOX, "sh", "-c", script).stdout.split()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(one, range(MANY)))
    *unique, times = zip(*found, strict=True)
    assert [len(set(each)) for each in unique] == [MANY] * 5
    assert max(abs(int(each) - time.time()) for each in times) < 2 * SECONDS


# Clocks


def wrong(client: Client, name: str) -> float:
    """Give the seconds by which a machine's clock is surely wrong, ahead or behind."""
    least = float("inf")
    for _ in range(5):
        before = time.time()
        shown = client("exec", name, "adjtimex").stdout
        whole, micro = (int(each) for each in re.findall(r"tv_u?sec:\s+(\d+)", shown))
        said = whole + micro / 1e6
        least = min(least, max(before - said, said - time.time(), 0.0))
    return least


def set_the_clock() -> None:
    """Set the host's clock to what it shows, as its coming back from suspend does."""
    time.clock_settime_ns(time.CLOCK_REALTIME, time.clock_gettime_ns(time.CLOCK_REALTIME))


def test_a_clock_is_right_from_the_start(client: Client) -> None:
    assert wrong(client, "neighbour") < RIGHT_SECONDS


def test_a_clock_is_right_again_after_its_host_was_away(client: Client) -> None:
    client("run", "-d", "--privileged", "--name", "late", BUSYBOX, "sleep", "1000")
    assert client("exec", "late", "date", "-s", f"@{int(time.time()) - 100}").returncode == 0
    assert wrong(client, "late") > 90
    set_the_clock()
    eventually(lambda: wrong(client, "late") < RIGHT_SECONDS)
    qemu = process_of(client, "late")
    os.kill(qemu, signal.SIGSTOP)
    time.sleep(1)
    os.kill(qemu, signal.SIGCONT)
    assert wrong(client, "late") < RIGHT_SECONDS


# From inside the jail


PROBE = """
import ctypes, os, socket
def tried(what, do):
    try:
        print(what, "done", do())
    except Exception as error:
        print(what, "refused", type(error).__name__)
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno())
for place in ("/", "/usr", "/proc/sys/kernel", "/run/other", "/run", "/tmp", "/dev/shm"):
    tried("write " + place, lambda: open(place + "/x", "w"))
for place in PLACES:
    tried("see " + place, lambda: os.stat(place))
tried("mount", lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None))
tried("mknod", lambda: os.mknod("/tmp/disk", 0o60666, os.makedev(254, 0)))
tried("setuid", lambda: os.setuid(0))
tried("packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
tried("reach", lambda: socket.create_connection((ADDRESS, 80), 1))
tried("others", lambda: [p for p in os.listdir("/proc") if p.isdigit() and int(p) > 10][0])
tried("links", lambda: [n for n in os.listdir("/sys/class/net") if n != "lo"][0])
"""
"""It runs as QEMU does, in its namespaces and root, but without the system call filter that denies
QEMU to start programs and to make namespaces."""


def process_of(client: Client, name: str) -> int:
    """Give the process id of a machine's QEMU."""
    user = user_of(identity(client, name))
    (found,) = (
        int(path.name)
        for path in Path("/proc").iterdir()
        if path.name.isdigit()
        and owner(path) == user
        and b"qemu" in (path / "cmdline").read_bytes()
    )
    return found


def owner(path: Path) -> int:
    try:
        return path.stat().st_uid
    except FileNotFoundError:
        return -1


def test_who_breaks_out_of_qemu_is_nowhere(client: Client) -> None:
    daemon = client.daemon
    places = [str(each) for each in (daemon.data, daemon.socket, "/etc/passwd", "/root", "/sys")]
    address = client("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}")
    qemu = process_of(client, "neighbour")
    user = str(user_of(identity(client, "neighbour")))
    probe = f"PLACES, ADDRESS = {places!r}, {address.stdout.strip()!r}\n{PROBE}"
    inside = ("nsenter", "--target", str(qemu), "--mount", "--pid", "--net", "--ipc", "--uts")
    inside += ("--root", "--wd", "setpriv", "--reuid", user, "--regid", user, "--clear-groups")
    inside += ("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
    done = subprocess.run(
        (*inside, "/usr/bin/python3", "-I", "-c", probe),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 19
    done_all = [line for line in lines if " refused " not in line]
    assert done_all == [], done_all
    (disk,) = (daemon.data / "machines" / identity(client, "neighbour")).rglob("disk.ext4")
    limits = Path(f"/proc/{qemu}/limits").read_text()
    assert re.search(rf"Max file size +{disk.stat().st_size} +{disk.stat().st_size} ", limits)
    environment = Path(f"/proc/{qemu}/environ").read_bytes().split(b"\0")
    assert {each.partition(b"=")[0] for each in environment if each} <= {b"PATH", b"PWD"}


# What a guest does to its host


def test_a_console_that_never_ends(client: Client) -> None:
    script = "exec > /dev/console 2>&1; while :; do cat /bin/busybox; done"
    client("run", "-d", "--privileged", "--name", "noisy", BUSYBOX, "sh", "-c", script)
    qemu, daemon = process_of(client, "noisy"), client.daemon.pid
    time.sleep(1)
    before = memory(qemu), memory(daemon)
    time.sleep(3)
    assert memory(qemu) - before[0] < 16 << 20
    assert memory(daemon) - before[1] < 16 << 20


@pytest.mark.parametrize("limit", [(), ("--pids-limit", "50")])
def test_who_forks_without_end(client: Client, limit: tuple[str, ...]) -> None:
    script = "bomb() { bomb | bomb & }; bomb; sleep 1000"
    client("run", "-d", *limit, "--name", "bomb", BUSYBOX, "sh", "-c", script)
    time.sleep(2)
    assert client("exec", "neighbour", "true").returncode == 0
    begin = time.monotonic()
    client("rm", "-f", "bomb")
    assert time.monotonic() - begin < SECONDS


def test_a_disk_that_is_full(client: Client) -> None:
    script = "dd if=/dev/zero of=/big bs=1M; df -m / | tail -1; rm /big && echo again > /small"
    flags = ("--name", "full", "--storage-opt", "size=64m")
    done = client("run", *flags, BUSYBOX, "sh", "-c", script)
    assert "No space left on device" in done.stderr
    (upper,) = (client.daemon.data / "machines" / identity(client, "full")).rglob("disk.ext4")
    assert upper.stat().st_blocks * 512 <= 80 << 20


def test_who_ignores_that_it_is_to_stop(client: Client) -> None:
    script = "trap '' TERM INT HUP; while :; do sleep 1; done"
    client("run", "-d", "--name", "deaf", BUSYBOX, "sh", "-c", script)
    begin = time.monotonic()
    client("stop", "--time", "1", "deaf")
    assert 1 <= time.monotonic() - begin < 8
    assert client("inspect", "-f", "{{.State.ExitCode}}", "deaf").stdout == "137\n"


@pytest.mark.parametrize(
    "script",
    [
        "for port in /dev/vport*; do cat /bin/busybox > $port; done",
        "kill -9 -1; kill -STOP 1",
        "echo c > /proc/sysrq-trigger",
        "echo o > /proc/sysrq-trigger",
    ],
    ids=["garbage", "signals", "panic", "off"],
)
def test_who_attacks_its_agent_harms_itself(client: Client, script: str) -> None:
    flags = ("--privileged", "--name", "rogue")
    client("run", "-d", *flags, BUSYBOX, "sh", "-c", f"{script}; sleep 1000")
    client("exec", "rogue", "sh", "-c", script, check=False)
    time.sleep(1)
    begin = time.monotonic()
    assert client("ps", "-q").stdout.split()
    client("rm", "-f", "rogue")
    assert time.monotonic() - begin < SECONDS


# Damage


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (0, "its superblock is none of ext4's"),
        (4096, ""),  # what only the guest's kernel sees, or e2fsck: the descriptors of its groups
    ],
)
def test_a_disk_that_is_damaged_is_named_and_mended(client: Client, place: int, said: str) -> None:
    heft = Client("heft", client.daemon)
    client("run", "--name", "broken", BUSYBOX, "sh", "-c", "echo kept > /file; sync")
    assert heft("fsck", "-q").stdout.startswith(
        "not looked at, as they run: the disks of neighbour"
    )
    (upper,) = (client.daemon.data / "machines" / identity(client, "broken")).rglob("disk.ext4")
    with upper.open("r+b") as file:
        file.seek(place)
        file.write(b"\xa5" * 4096)
    done = client("start", "-a", "broken", check=False)
    assert done.returncode != 0
    assert f"the disk of broken is damaged: {said}" in done.stderr
    assert "heft fsck --repair" in done.stderr
    done = heft("cp", __file__, "broken:/new/", check=False)
    assert "the disk of broken is damaged" in done.stderr, "not that there is no such directory"
    assert client("inspect", "-f", "{{.State.Status}}", "broken").stdout == "exited\n"
    found = heft("fsck", "-q", check=False)
    assert (found.returncode, "disk broken: " in found.stdout) == (4, True), found.stdout
    mended = heft("fsck", "-q", "--repair", check=False)
    assert "1 damaged, 1 of them repaired" in mended.stdout
    client("start", "-a", "broken")
    client("cp", "broken:/file", "-")
    assert "nothing is damaged" in heft("fsck", "-q").stdout
