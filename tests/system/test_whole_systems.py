"""A whole Debian as a heavy machine: systemd boots it, and it is a host with cgroup v2 for Heft.

What is tried of Heft in it is a part; `make test-v2host` tries the rest (docs/testing.md).
"""

import time
from collections.abc import Iterator

import pytest

from tests.harness import leaks, whole_system
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.pace import patience
from tests.harness.terminal import Terminal

IMAGE, MACHINE = "debian-system", "system"
BOOT_SECONDS = patience(120)
PART = (
    "tests/conformance/test_runs.py::test_the_exit_code_is_the_workloads",
    "tests/conformance/test_runs.py::test_kill_ends_what_ignores_every_other_signal",
    "tests/conformance/test_runs.py::test_discarding_ends_what_runs_and_can_be_repeated",
    "tests/conformance/test_runs.py::test_what_is_not_there_is_127",
    "tests/conformance/test_runs.py::test_pausing_stops_it_in_its_tracks",
    "tests/conformance/test_runs.py::test_a_paused_machine_can_be_killed",
)
"""Of Heft's own tests those that control groups matter to."""
SOURCES = whole_system.SOURCES
UNIT = """[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/sh -c "echo stopped >/var/lib/was-stopped"
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Give a client of a daemon in which the system runs; the tests use it one after another."""
    before = leaks.look()
    place = tmp_path_factory.mktemp("system")
    daemon = Daemon(place).start()
    heft = Client("heft", daemon)
    tar = whole_system.image(place)
    heft("import", "-q", "-c", 'CMD ["/sbin/init"]', tar, IMAGE, timeout=patience(120))
    tar.unlink()
    words = ("--weight", "heavy", "--cpus", "2", "-m", "2g", "--storage-opt", "size=20g")
    heft("run", "-d", "--name", MACHINE, *words, IMAGE, timeout=patience(120))
    yield heft
    daemon.clean_up()
    assert not (left := leaks.settle(before)), f"left behind: {left}"


def inside(host: Client, script: str, *, check: bool = True, seconds: float = 60) -> str:
    done = host(
        "exec", MACHINE, "bash", "-c", script, check=check, timeout=patience(seconds) + BOOT_SECONDS
    )
    return done.stdout.strip()


def booted(host: Client) -> str:
    """Wait until it has booted; say how it is then."""
    deadline = time.monotonic() + BOOT_SECONDS
    while (state := inside(host, "systemctl is-system-running", check=False)) not in (
        *("running", "degraded", "maintenance"),
    ):
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
    return state


def test_it_boots_and_nothing_has_failed(host):
    assert booted(host) == "running"
    assert inside(host, "systemctl --failed --no-legend") == ""
    assert inside(host, "ps -o comm= 1") == "systemd"


def test_its_output_is_that_of_its_console_and_nobody_is_asked_to_log_in(host):
    said = host("logs", MACHINE).stdout
    assert "Welcome to Debian" in said
    assert "Multi-User System" in said
    assert "login:" not in said


def test_it_keeps_a_journal(host):
    inside(host, "logger -t heft-test remembered")
    assert "remembered" in inside(host, "journalctl --sync; journalctl -t heft-test -o cat")
    assert inside(host, "journalctl -k -o cat | grep -c 'Linux version'") == "1"


def test_its_address_and_its_names_are_hefts(host):
    described = host.daemon.request("GET", f"/containers/{MACHINE}/json").json
    address = described["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    seen = inside(host, "ip -4 -o address show scope global; ip -o link show up; hostname")
    assert address in seen.splitlines()[0]
    assert "eth0" in seen.splitlines()[0]
    assert seen.split()[-1] == described["Config"]["Hostname"]
    assert inside(host, "systemctl is-active systemd-networkd", check=False) == "inactive"


def test_it_has_the_one_hierarchy_of_control_groups_to_manage(host):
    assert inside(host, "stat -f -c %T /sys/fs/cgroup; cat /proc/1/cgroup") == (
        "cgroup2fs\n0::/init.scope"
    )
    limited = "systemd-run -q --wait --pipe -p MemoryMax=64M"
    said = inside(
        host, f"{limited} bash -c 'cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/memory.max'"
    )
    assert int(said) == 64 << 20


def test_its_kernel_loads_modules_when_they_are_asked_for_and_when_they_are_needed(host):
    assert inside(host, "modprobe dummy; lsmod | grep -c ^dummy") == "1"
    assert "bridge" in inside(host, "ip link add br9 type bridge && ip -d link show br9; lsmod")
    inside(host, "! touch /lib/modules/$(uname -r)/new")


def test_it_takes_other_limits_while_it_runs(host):
    seen = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max"
    host("update", "-m", "1g", "--memory-swap", "1g", "--pids-limit", "3000", MACHINE)
    assert inside(host, seen).split() == [str(1 << 30), "3000"]
    host("update", "-m", "2g", "--memory-swap", "4g", "--pids-limit", "-1", MACHINE)
    assert inside(host, seen).split() == ["max", "max"]


def test_a_getty_on_its_console_lets_somebody_in(host):
    inside(host, "echo root:secret | chpasswd; systemctl start serial-getty@ttyS0")
    with Terminal([*host.program, "console", MACHINE], host.environment) as console:
        console.until("leaves it")
        console.write("\r")
        for prompt, answer in (("login: ", "root\r"), ("Password: ", "secret\r")):
            console.until(prompt)
            console.write(answer)
        console.until("# ")
        console.write("tty; systemctl is-active serial-getty@$(basename $(tty))\r")
        console.until("/dev/ttyS0\r")
        console.until("active\r")
        console.write("exit\r\x1d")
        assert console.ended() == 0
    inside(host, "systemctl stop serial-getty@ttyS0; passwd -q -l root")


def test_hefts_light_machines_run_in_it(host):
    booted(host)
    script = f"""
        truncate -s 8G /var/tests.img && mkfs.ext4 -q -F /var/tests.img
        mount -o loop /var/tests.img /mnt && cd {SOURCES} &&
        HEFT_TEST_PACE=10 .venv/bin/pytest -q --basetemp=/mnt/tests -k light \\
            {" ".join(PART)} 2>&1 | tail -n 60
    """
    said = inside(host, script, seconds=300)
    assert " passed" in said or "100%" in said, said
    assert "FAILED" not in said, said
    assert "ERROR" not in said, said


def test_stopping_shuts_it_down(host):
    inside(host, f"printf %s '{UNIT}' >/run/systemd/system/last.service; systemctl start last")
    host("stop", "-t", "60", MACHINE, timeout=patience(120))
    state = host.daemon.request("GET", f"/containers/{MACHINE}/json").json["State"]
    assert (state["ExitCode"], state["OOMKilled"], state["Error"]) == (0, False, "")
    assert "Reached target shutdown.target" in host("logs", "--tail", "40", MACHINE).stdout
    host("start", MACHINE, timeout=patience(120))
    booted(host)
    assert inside(host, "cat /var/lib/was-stopped") == "stopped"
    assert "recovery" not in inside(host, "dmesg | grep EXT4-fs")
