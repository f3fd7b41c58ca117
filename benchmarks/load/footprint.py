"""What a daemon and its machines take of the host, counted."""

import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.harness.daemon import Daemon
from tests.harness.isolation import CGROUP_PARENT

MIB = 1 << 20


@dataclass(frozen=True)
class Footprint:
    """Everything that must not grow by what has come and gone."""

    memory: float
    """The daemon's resident memory, MiB."""
    descriptors: int
    """The daemon's open file descriptors."""
    threads: int
    mounts: int
    """Those of the daemon's mount namespace."""
    cgroups: int
    namespaces: int
    """Network namespaces with a name."""
    links: int
    """Network links: bridges, veths."""
    rules: int
    """Lines of all nftables rules."""
    processes: int
    """Those in the daemon's mount namespace: itself, monitors, name servers, and whoever loads."""
    disk: float
    """What data and run directories take, MiB."""

    def grown(self, before: "Footprint") -> dict[str, float]:
        """Give by how much each has grown."""
        then = asdict(before)
        return {name: value - then[name] for name, value in asdict(self).items()}


def measure(daemon: Daemon) -> Footprint:
    """Count everything now."""
    proc = Path(f"/proc/{daemon.pid}")
    return Footprint(
        memory=resident(daemon.pid),
        descriptors=len(os.listdir(proc / "fd")),
        threads=len(os.listdir(proc / "task")),
        mounts=len((proc / "mountinfo").read_text().splitlines()),
        cgroups=sum(f"{CGROUP_PARENT}/" in path for path, _, _ in os.walk("/sys/fs/cgroup")),
        namespaces=len(os.listdir("/run/netns")),
        links=len(os.listdir("/proc/sys/net/ipv4/conf")) - 2,
        rules=len(_said("nft", "list", "ruleset").splitlines()),
        processes=_processes(proc),
        disk=round(sum(used(path) for path in (daemon.data, daemon.run)) / MIB, 1),
    )


def resident(pid: int) -> float:
    """Give the resident memory of a process, MiB (proc(5), `statm`)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / MIB, 1)


def processor_seconds(pid: int) -> float:
    """Give the processor time that a process has used (proc(5), `stat`)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def used(directory: Path) -> int:
    """Give the bytes that a directory takes on its disk, without what is mounted in it."""
    return int(_said("du", "--one-file-system", "-s", "-B1", str(directory)).split()[0])


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout or "0"


def _processes(daemon: Path) -> int:
    ours, found = os.readlink(daemon / "ns/mnt"), 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found += os.readlink(entry / "ns/mnt") == ours
            except OSError:
                continue
    return found
