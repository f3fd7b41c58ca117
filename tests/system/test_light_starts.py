"""What a light machine's start leaves to itself, so that many of them stay quick to start."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar

pytestmark = pytest.mark.usefixtures("clean_host")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path).start()
    daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
    yield daemon
    daemon.clean_up()


def mounted(daemon: Daemon) -> list[str]:
    """Give what is mounted under the directories of runs, as the daemon sees it."""
    lines = Path(f"/proc/{daemon.pid}/mountinfo").read_text().splitlines()
    return [line for line in lines if f" {daemon.run}/" in line]


def test_a_machine_alone_has_its_root_mounted(daemon: Daemon) -> None:
    heft = Client("heft", daemon)
    heft("run", "-d", "--name", "box", "--network", "none", BUSYBOX, "sleep", "1000")
    assert mounted(daemon) == []
    heft("exec", "box", "sh", "-c", "echo kept > /kept")
    daemon.kill()
    daemon.start()
    assert heft("exec", "box", "cat", "/kept").stdout == "kept\n"
    heft("restart", "-t", "0", "box")
    assert heft("exec", "box", "cat", "/kept").stdout == "kept\n"
    heft("rm", "-f", "box")


def test_what_all_may_share_of_a_machine_stays_mounted(daemon: Daemon) -> None:
    heft = Client("heft", daemon)
    alone = ("run", "-d", "--network", "none")
    heft(*alone, "--name", "one", "--ipc", "shareable", BUSYBOX, "sleep", "1000")
    heft("exec", "one", "sh", "-c", "echo shared > /dev/shm/file")
    heft(*alone, "--name", "two", "--ipc", "container:one", BUSYBOX, "sleep", "1000")
    assert heft("exec", "two", "cat", "/dev/shm/file").stdout == "shared\n"
    assert len(mounted(daemon)) == 1
    heft("rm", "-f", "two", "one")
    assert mounted(daemon) == []


def test_the_runtime_is_run_from_memory(daemon: Daemon) -> None:
    heft = Client("heft", daemon)
    heft("run", "-d", "--name", "box", "--network", "none", BUSYBOX, "sleep", "1000")
    (monitor,) = (
        words
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if (words := _words(path))[:1] == ["conmon"] and str(daemon.run) in " ".join(words)
    )
    assert monitor[monitor.index("--runtime") + 1].startswith(f"/proc/{daemon.pid}/fd/")
    heft("rm", "-f", "box")


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
