"""Heavy machines that end otherwise than well: `inspect` says why."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from heft.guest import ending
from heft.host import mounts
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX
from tests.harness.pace import eventually
from tests.harness.serving import serving


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with serving(tmp_path_factory.mktemp("ends")) as daemon:
        yield daemon


@pytest.fixture
def docker(daemon: Daemon) -> Client:
    return Client("docker", daemon)


def run(docker: Client, name: str, script: str, *options: str) -> dict:
    """Run a machine to its end; give what is said of it."""
    words = ("--runtime", "heavy", "--name", name, *options, BUSYBOX, "sh", "-c", script)
    docker("run", *words, check=False)
    return docker.daemon.request("GET", f"/containers/{name}/json").json["State"]


def test_a_kernel_that_panics_is_said_to_have(docker):
    begun = time.monotonic()
    state = run(docker, "crash", "echo c >/proc/sysrq-trigger; sleep 600", "--privileged")
    assert state["ExitCode"] == 128 + signal.SIGKILL
    assert state["Error"] == "the guest's kernel panicked: sysrq triggered crash"
    assert not state["OOMKilled"]
    assert time.monotonic() - begun < 30


def test_a_panic_starts_it_again_where_that_is_wanted(docker):
    script = "if mkdir /second; then sync; echo c >/proc/sysrq-trigger; fi; exit 5"
    words = ("--runtime", "heavy", "--privileged", "--restart", "on-failure:1", "--name", "again")
    docker("run", "-d", *words, BUSYBOX, "sh", "-c", script)
    deadline = time.monotonic() + 30
    while (found := docker.daemon.request("GET", "/containers/again/json").json)["State"][
        "Status"
    ] != "exited":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (found["RestartCount"], found["State"]["ExitCode"], found["State"]["Error"]) == (
        1,
        5,
        "",
    )


def test_who_is_killed_for_want_of_memory_is_said_to_be(docker):
    state = run(docker, "hog", "exec tail /dev/zero", "-m", "512m")
    assert (state["ExitCode"], state["OOMKilled"]) == (128 + signal.SIGKILL, True)
    assert state["Error"] == "", "it is the guest that has no memory left, not its QEMU"


def test_a_child_that_is_killed_for_want_of_memory_leaves_its_mark(docker):
    state = run(docker, "family", "(exec tail /dev/zero); exit 6", "-m", "128m")
    assert (state["ExitCode"], state["OOMKilled"]) == (6, True)


def test_a_whole_system_has_a_minute_to_shut_down(docker):
    """It gets its stop signal, and takes longer than other machines may."""
    script = "trap 'sleep 12; exit 7' RTMIN+3; echo up; while :; do sleep 0.1; done"
    words = ("--weight", "heavy", "--systemd", "always", "--name", "slow")
    heft = Client("heft", docker.daemon)
    heft("run", "-d", *words, BUSYBOX, "sh", "-c", script.replace("RTMIN+3", "37"))
    deadline = time.monotonic() + 30
    while heft("logs", "slow").stdout != "up\n":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    heft("stop", "slow")
    assert docker("inspect", "-f", "{{.State.ExitCode}}", "slow").stdout == "7\n"


def test_a_plain_end_has_no_reason(docker):
    state = run(docker, "plain", "exit 7")
    assert (state["ExitCode"], state["OOMKilled"], state["Error"]) == (7, False, "")


def test_what_a_console_says_is_told_in_one_plain_line():
    said = (
        "one\n[ 4.5] Kernel panic - not syncing: System is deadlocked on memory\x1b[0m\n[ 4.6] CPU"
    )
    why = ending.told_of("guest-reset", said)
    assert why.startswith("the guest's kernel panicked: System is deadlocked on memory")
    assert why.isprintable()
    assert ending.for_want_of_memory(why)
    other = ending.told_of("guest-shutdown", "one\n[    2.0] reboot: Power down\n\n")
    assert other == (
        "the guest went down by itself (guest-shutdown);"
        " the last line of its console: [    2.0] reboot: Power down"
    )
    assert len(ending.told_of("guest-reset", "Kernel panic - " + "x" * 10_000)) < 400
    assert "console" not in ending.told_of("guest-reset", "")


def test_a_full_disk_of_the_host_only_holds_a_machine_up(docker, tmp_path):
    """QEMU stops a guest for whose disk there is no room; it goes on when there is."""
    docker("create", "--runtime", "heavy", "--name", "writer", BUSYBOX, "sleep", "1000")
    identity = docker("inspect", "-f", "{{.Id}}", "writer").stdout.strip()
    (disk,) = (docker.daemon.data / "machines" / identity).rglob("disk.ext4")
    mounts.mount("tmpfs", tmp_path, options=("size=32m",))
    subprocess.run(["cp", "--sparse=always", disk, tmp_path / "disk"], check=True)
    disk.unlink()
    disk.symlink_to(tmp_path / "disk")
    docker("start", "writer")
    filler = tmp_path / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        file.write(bytes(32 << 20))
    writes = "dd if=/dev/zero of=/big bs=1M count=20 conv=fsync 2>/dev/null; wc -c </big"
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(docker, "exec", "writer", "sh", "-c", writes)
        eventually(lambda: "stands still until there is room" in docker.daemon.log.read_text())
        assert not writing.done()
        filler.unlink()
        assert writing.result(30).stdout == f"{20 << 20}\n"
    docker("rm", "-f", "writer")
    mounts.unmount(tmp_path)
