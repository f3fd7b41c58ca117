"""What a host has that a test may leave behind, and how to tell what is new."""

import contextlib
import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.isolation import CGROUP_PARENT
from tests.harness.pace import patience

SETTLE_SECONDS = patience(5)
TOOLS = frozenset(
    {"conmon", "crun", "runc", "dnsmasq", "heftd", "heft", "docker", "mmdebstrap", "catatonit"}
    | {"diod", "xl", "virtfs-proxy-he"}
)


@dataclass(frozen=True)
class Host:
    """Everything that must be the same after a test as before it."""

    mounts: frozenset[str] = field(default_factory=frozenset)
    cgroups: frozenset[str] = field(default_factory=frozenset)
    links: frozenset[str] = field(default_factory=frozenset)
    namespaces: frozenset[str] = field(default_factory=frozenset)
    rules: frozenset[str] = field(default_factory=frozenset)
    processes: frozenset[str] = field(default_factory=frozenset)

    def news(self, now: "Host") -> dict[str, list[str]]:
        """Give what `now` has and this one has not, by kind."""
        return {
            kind: new
            for kind in self.__dataclass_fields__
            if (new := sorted(getattr(now, kind) - getattr(self, kind)))
        }


def look() -> Host:
    """Look at the host as it is now."""
    return Host(_mounts(), _cgroups(), _links(), _namespaces(), _rules(), _processes())


def settle(before: Host) -> dict[str, list[str]]:
    """Give what is new since `before`, once what ends by itself had its time to end."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (news := before.news(look())) and time.monotonic() < deadline:
        time.sleep(0.01)
    return news


def loops(directory: Path) -> list[str]:
    """Give the files under a directory that have loop devices, once these had time to go."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (found := _loops(directory)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def _loops(directory: Path) -> list[str]:
    found = []
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):  # it is just being cleared
            found.append(entry.read_text().strip())
    return [name for name in found if name.startswith(f"{directory}/")]


def _mounts() -> frozenset[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    found = (line.split(" ")[4] for line in lines)
    # A controller that the host's own boot did not mount is mounted once, for good.
    return frozenset(path for path in found if not path.startswith("/sys/fs/cgroup/"))


def _cgroups() -> frozenset[str]:
    # In each hierarchy, or in the only one. The parent itself may stay: it is a place.
    root = "/sys/fs/cgroup"
    parents = [f"{place}{CGROUP_PARENT}" for place in (root, *(e.path for e in os.scandir(root)))]
    found = (path for parent in parents for path, _, _ in os.walk(parent))
    return frozenset(found) - frozenset(parents)


def _links() -> frozenset[str]:
    return frozenset(os.listdir("/proc/sys/net/ipv4/conf")) - {"all", "default"}


def _namespaces() -> frozenset[str]:
    return frozenset(os.listdir("/run/netns"))


def _rules() -> frozenset[str]:
    listing = subprocess.run(["nft", "-j", "list", "tables"], capture_output=True, check=True)
    tables = [item["table"] for item in json.loads(listing.stdout)["nftables"] if "table" in item]
    return frozenset(f"{table['family']} {table['name']}" for table in tables)


def _processes() -> frozenset[str]:
    """Programs of ours in this network namespace or below it; a test's own children too."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            name = (entry / "comm").read_text().strip()
            if name not in TOOLS:
                continue
            state = (entry / "stat").read_text().rpartition(") ")[2][0]
            ours = _descends(int(entry.name), os.getpid()) or _same_mounts(entry)
        except (OSError, IndexError):
            continue
        if state != "Z" and ours:
            found.add(f"{name} {entry.name}")
    return frozenset(found)


def _same_mounts(entry: Path) -> bool:
    return os.readlink(entry / "ns/mnt") == os.readlink("/proc/self/ns/mnt")


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
    return False
