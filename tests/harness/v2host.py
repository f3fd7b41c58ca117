"""`make test-v2host`: install Heft in a heavy machine with a whole Debian, and test it there."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.harness import agent, isolation, whole_system
from tests.harness.client import Client
from tests.harness.daemon import Daemon

MACHINE = "v2host"
SHAPE = ("--cpus", "2", "-m", "4g", "--storage-opt", "size=30g")
HOUR = 3600.0
TESTS = (
    *("tests/conformance", "tests/clients/test_run.py", "tests/clients/test_run_flags.py"),
    *("tests/clients/test_usage.py", "tests/clients/test_update.py"),
    *("tests/clients/test_machines.py", "tests/clients/test_confinement.py"),
    *("tests/clients/test_storage_size.py", "tests/clients/test_streams.py"),
    "tests/clients/test_user_namespaces.py",
    *("tests/system/test_recovery.py", "tests/system/test_networks.py"),
    *("tests/system/test_light_starts.py", "tests/system/test_light_mounts.py"),
)
"""What runs where nothing else is asked for; not what measures short times, as health checks do."""
INSTALL = """
set -e
export PIP_NO_INDEX=1 PIP_FIND_LINKS={wheels}
{packaging}/install.sh
{packaging}/start.sh
heft version
stat -f -c 'control groups: %T' /sys/fs/cgroup
"""
ROOM = """
set -e
truncate -s 16G /var/room
mkfs.ext4 -q -F /var/room
mount -o loop /var/room /mnt
mkdir -p /mnt/tmp /mnt/heft /var/lib/heft
mount --bind /mnt/tmp /tmp && chmod 1777 /tmp
mount --bind /mnt/heft /var/lib/heft
"""
"""An overlay can have no upper on another overlay: a file system of their own for both."""
LIVES = """
set -e
heft bootstrap busybox
heft run --rm -m 64m --pids-limit 20 busybox cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max
"""
RUN = """
cd {sources}
HEFT_TEST_PACE=15 .venv/bin/pytest -k 'not heavy and not medium' --durations=10 {tests}
"""


def say(text: str) -> None:
    sys.stdout.write(f"==> {text}\n")
    sys.stdout.flush()


def inside(heft: Client, script: str) -> int:
    """Run a script there, with its output here."""
    command = [*heft.program, "exec", MACHINE, "bash", "-c", script]
    return subprocess.run(command, env=heft.environment, timeout=3 * HOUR, check=False).returncode


def boot(heft: Client, place: Path) -> None:
    """Have the machine there, up."""
    tar = whole_system.image(place, further=(agent.BUILDS / "wheels",))
    heft("import", "-q", "-c", 'CMD ["/sbin/init"]', tar, "debian-system", timeout=HOUR)
    tar.unlink()
    words = ("-d", "--name", MACHINE, "--weight", "heavy", *SHAPE, "debian-system")
    heft("run", *words, timeout=HOUR)
    asked = ("exec", MACHINE, "systemctl", "is-system-running")
    while heft(*asked, check=False).stdout.strip() not in ("running", "degraded"):
        time.sleep(1)


def main(tests: list[str]) -> int:
    """Do it; give pytest's status."""
    isolation.isolate()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="heft-v2host-") as directory:
        daemon = Daemon(Path(directory)).start()
        try:
            heft = Client("heft", daemon)
            say("booting a Debian as a heavy machine")
            boot(heft, Path(directory))
            places = {
                "sources": whole_system.SOURCES,
                "packaging": whole_system.SOURCES / "packaging",
                "wheels": agent.BUILDS / "wheels",
                "tests": " ".join(tests or TESTS),
            }
            for what, script in (
                ("a disk for machines and tests", ROOM),
                ("installing Heft in it", INSTALL),
                ("a light machine in it", LIVES),
                ("Heft's own tests in it", RUN),
            ):
                say(what)
                if status := inside(heft, script.format(**places)):
                    return status
            return 0
        finally:
            daemon.clean_up()


if __name__ == "__main__":
    os.chdir(whole_system.SOURCES)
    sys.exit(main(sys.argv[1:]))
