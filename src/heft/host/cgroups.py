"""Control groups: where the hierarchies are, and what can be done with a group in all of them.

Three layouts exist (cgroups(7)): v1, one hierarchy for each controller; v2, a single one; hybrid,
v1 with an empty v2 beside it. A group has the same path in every hierarchy. Plain reads and writes
of small kernel files take microseconds and happen in place; what waits is a coroutine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heft.errors import HostError
from heft.host import mounts, processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_ROOT = Path("/sys/fs/cgroup")
_WAIT_SECONDS = 10.0
_POLL_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted hierarchy; `controllers` has `name=…` for a v1 hierarchy without any."""

    mount: Path
    controllers: frozenset[str]
    unified: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """The hierarchies of this host."""

    hierarchies: tuple[Hierarchy, ...]

    @property
    def version(self) -> int:
        """Give 2 if the controllers are in the single hierarchy, else 1."""
        return 2 if all(hierarchy.unified for hierarchy in self.hierarchies) else 1

    @property
    def hybrid(self) -> bool:
        """Say whether a v2 hierarchy stands beside v1 ones."""
        return self.version == 1 and any(item.unified for item in self.hierarchies)

    def holding(self, controller: str) -> Hierarchy | None:
        """Give the hierarchy in which a controller is."""
        for hierarchy in self.hierarchies:
            if controller in hierarchy.controllers:
                return hierarchy
        return None


def detect() -> Layout:
    """Look which hierarchies are mounted under /sys/fs/cgroup."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return layout_of(file.read(), _controllers_of)


def layout_of(mountinfo: str, controllers_of: Callable[[Path], frozenset[str]]) -> Layout:
    """Find the hierarchies in the text of mountinfo (proc(5)), each once."""
    found: dict[Path, Hierarchy] = {}
    for line in mountinfo.splitlines():
        place, _, rest = line.partition(" - ")
        mount = Path(place.split(" ")[4])
        kind, _, options = rest.split(" ", 2)
        if not mount.is_relative_to(_ROOT):
            continue
        if kind == "cgroup2":
            found[mount] = Hierarchy(mount, controllers_of(mount), unified=True)
        elif kind == "cgroup":
            names = frozenset(options.split(",")) - {"rw", "ro", "xattr", "clone_children"}
            found[mount] = Hierarchy(mount, names, unified=False)
    return Layout(tuple(found.values()))


def _controllers_of(mount: Path) -> frozenset[str]:
    return frozenset((mount / "cgroup.controllers").read_text().split())


def stray(layout: Layout) -> tuple[str, ...]:
    """Give the controllers that a hybrid host has in v2, where runtimes do not expect any."""
    if not layout.hybrid:
        return ()
    unified = next(item for item in layout.hierarchies if item.unified)
    return tuple(sorted(unified.controllers))


def unmounted(layout: Layout) -> tuple[str, ...]:
    """Give the controllers of v1 hierarchies that are there without being mounted.

    A runtime would take the empty directory where such a one belongs for it.
    """
    mounted = {name for hierarchy in layout.hierarchies for name in hierarchy.controllers}
    return tuple(
        names
        for names in own()
        if names and "=" not in names and not mounted.issuperset(names.split(","))
    )


def ensure(layout: Layout) -> Layout:
    """Make the layout one that runtimes accept; give what it is then.

    crun refuses a hybrid host as long as any controller is left in its v2 hierarchy; mounting it as
    a v1 hierarchy takes it from there. Raises `HostError` where the kernel does not let it go.
    """
    if layout.version == 2:
        return layout
    missing = (*stray(layout), *unmounted(layout))
    for controllers in missing:
        place = _ROOT / controllers
        place.mkdir(exist_ok=True)
        mounts.mount("cgroup", place, options=(controllers,))
    return detect() if missing else layout


def own() -> dict[str, str]:
    """Give this process's group by controller list as in /proc/self/cgroup (`""`: v2)."""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        lines = (line.rstrip("\n").split(":", 2) for line in file)
        return {controllers: path for _, controllers, path in lines}


def warm_up(layout: Layout) -> None:
    """Let the kernel get ready to move processes between groups.

    The first move after a pause waits for an RCU grace period (some 15 ms: the write side of
    `cgroup_threadgroup_rwsem`); those that follow soon do not. Moving this process to where it is
    already costs the wait and nothing else, so a start does it in a thread while other things are
    being prepared.
    """
    hierarchy = next((item for item in layout.hierarchies if item.unified), None)
    group = own().get("")
    if hierarchy is None or group is None:
        hierarchy = next((i for i in layout.hierarchies if "pids" in i.controllers), None)
        group = next((path for names, path in own().items() if "pids" in names.split(",")), None)
    if hierarchy is None or group is None:
        return
    with contextlib.suppress(OSError):
        (hierarchy.mount / group.lstrip("/") / "cgroup.procs").write_text("0")


@dataclass(frozen=True, slots=True)
class Group:
    """One group, in every hierarchy of the layout. `path` starts at their roots: `/heft/ID`."""

    layout: Layout
    path: str

    def directory(self, controller: str) -> Path | None:
        """Give its directory in the hierarchy of a controller (or of v2)."""
        holding = self.layout.holding(controller)
        return None if holding is None else holding.mount / self.path.lstrip("/")

    def directories(self) -> Iterator[Path]:
        """Give those of its directories that exist."""
        for hierarchy in self.layout.hierarchies:
            directory = hierarchy.mount / self.path.lstrip("/")
            if directory.is_dir():
                yield directory

    def read(self, controller: str, name: str) -> str:
        """Read one of its files; empty if there is none."""
        directory = self.directory(controller)
        if directory is None:
            return ""
        try:
            with open(directory / name, encoding="utf-8") as file:
                return file.read()
        except OSError:
            return ""

    def exists(self) -> bool:
        """Say whether it is there in any hierarchy."""
        return any(True for _ in self.directories())

    def processes(self) -> tuple[int, ...]:
        """Give the ids of all processes in it and in groups under it, ascending."""
        directories = self.directories()
        if self.layout.version == 1:
            first = self.directory("pids") or self.directory("freezer")
            directories = iter((first,)) if first is not None else directories
        return tuple(sorted(members(directories)))

    def kill(self) -> int:
        """Send SIGKILL to everything in it; give how many processes there were."""
        directory = next(self.directories(), None)
        if directory is None:
            return 0
        if self.layout.version == 2:
            with contextlib.suppress(OSError):
                # Since Linux 5.14; it also gets what is forked meanwhile.
                (directory / "cgroup.kill").write_text("1")
        found = members(self.directories())
        for pid in found:
            self._kill_member(pid)
        self._write_freezer(frozen=False)
        return len(found)

    def _kill_member(self, pid: int) -> None:
        """Kill a process if it is (still) in the group: its pid may be another's by now."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return
        try:
            groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
            paths = [line.split(":", 2)[2] for line in groups.splitlines()]
            if any(path == self.path or path.startswith(f"{self.path}/") for path in paths):
                processes.send_signal(pidfd, signal.SIGKILL)
        except OSError:
            pass
        finally:
            os.close(pidfd)

    async def end(self) -> None:
        """Kill everything in it, until nothing is left. Raises `HostError` if that fails."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while self.kill():
            if time.monotonic() > deadline:
                raise HostError(f"cannot kill the processes {self.processes()} of {self.path}")
            await asyncio.sleep(_POLL_SECONDS)

    async def remove(self) -> None:
        """Remove it, and the groups under it, from every hierarchy; harmless when repeated.

        It must have no process; one that is just ending is waited for.
        """
        deadline = time.monotonic() + _WAIT_SECONDS
        while left := [path for path in self.directories() if not _removed(path)]:
            if time.monotonic() > deadline:
                raise HostError(f"cannot remove the cgroup {left[0]}: it is in use")
            await asyncio.sleep(_POLL_SECONDS)

    async def freeze(self, *, frozen: bool) -> None:
        """Stop all its processes in their tracks, or let them go on; returns when they do."""
        if not self._write_freezer(frozen=frozen):
            raise HostError(f"the cgroup {self.path} cannot be frozen: no freezer controller")
        deadline = time.monotonic() + _WAIT_SECONDS
        while self.is_frozen() != frozen:
            if time.monotonic() > deadline:
                raise HostError(f"the cgroup {self.path} is not {'frozen' if frozen else 'thawed'}")
            await asyncio.sleep(_POLL_SECONDS)
            # v1: a process that was forking while the others froze needs to be asked again.
            self._write_freezer(frozen=frozen)

    def is_frozen(self) -> bool:
        """Say whether all its processes are stopped."""
        if self.layout.version == 1:
            return self.read("freezer", "freezer.state").strip() == "FROZEN"
        return "frozen 1" in self._unified("cgroup.events").splitlines()

    def lift(self, *, processes: bool = False, cpu_time: bool = False) -> None:
        """Take limits away; harmless where there are none."""
        files = [("pids", "pids.max", "max")] if processes else []
        if cpu_time:
            old = self.layout.version == 1
            files.append(("cpu", "cpu.cfs_quota_us", "-1") if old else ("cpu", "cpu.max", "max"))
        for controller, name, unlimited in files:
            if (directory := self.directory(controller)) is not None:
                with contextlib.suppress(OSError):
                    (directory / name).write_text(unlimited)

    def oom_kills(self) -> int:
        """Count the processes that were killed in it for want of memory."""
        if self.layout.version == 1:
            counters = self.read("memory", "memory.oom_control")
        else:
            counters = self._unified("memory.events")
        return dict(pairs(counters)).get("oom_kill", 0)

    def _unified(self, name: str) -> str:
        try:
            return (next(self.directories()) / name).read_text(encoding="utf-8")
        except (OSError, StopIteration):
            return ""

    def _write_freezer(self, *, frozen: bool) -> bool:
        if self.layout.version == 1:
            directory = self.directory("freezer")
            name, value = "freezer.state", "FROZEN" if frozen else "THAWED"
        else:
            directory = next(self.directories(), None)
            name, value = "cgroup.freeze", "1" if frozen else "0"
        if directory is None:
            return False
        try:
            with open(directory / name, "w", encoding="utf-8") as file:
                file.write(value)
        except OSError:
            return False
        return True


def remove_empty(layout: Layout, path: str) -> None:
    """Remove a group from each hierarchy where nothing is in it, nor under it."""
    for directory in Group(layout, path).directories():
        with contextlib.suppress(OSError):
            directory.rmdir()


def children(layout: Layout, parent: str) -> frozenset[str]:
    """Give the names of the groups directly under a path, in any hierarchy."""
    names: set[str] = set()
    for directory in Group(layout, parent).directories():
        names.update(entry.name for entry in os.scandir(directory) if entry.is_dir())
    return frozenset(names)


def pairs(text: str) -> Iterator[tuple[str, int]]:
    """Read the `name number` lines of a flat keyed file."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if value.isdigit():
            yield name, int(value)


def members(directories: Iterable[Path]) -> set[int]:
    """Give the processes in groups, by their directories, and in groups under these."""
    found: set[int] = set()
    for directory in directories:
        for path, _, _ in os.walk(directory):
            with contextlib.suppress(OSError), open(f"{path}/cgroup.procs", "rb") as file:
                found.update(map(int, file.read().split()))
    return found - {0}


def _removed(directory: Path) -> bool:
    for path, _, _ in os.walk(directory, topdown=False):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True
