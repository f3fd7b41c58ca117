"""What a control group uses, and what processes do: the kernel's counters, v1 and v2, in one form.

Sources: kernel documentation, admin-guide/cgroup-v2 and admin-guide/cgroup-v1.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from heft.host.cgroups import pairs
from heft.host.syscalls import libc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.host.cgroups import Group

_MICRO = 1000
_KCMP = {"x86_64": 312, "aarch64": 272}
"""The number of kcmp(2)."""
_KCMP_VM = 1


@dataclass(frozen=True, slots=True)
class Usage:
    """Sizes in bytes, CPU times in nanoseconds; a limit of 0 is none."""

    cpu_total: int = 0
    cpu_user: int = 0
    cpu_system: int = 0
    cpu_periods: int = 0
    cpu_throttled_periods: int = 0
    cpu_throttled: int = 0
    memory_used: int = 0
    memory_limit: int = 0
    memory_max: int = 0
    memory_details: dict[str, int] = field(default_factory=dict)
    """The lines of cgroup `memory.stat`."""
    pids: int = 0
    pids_limit: int = 0
    block_read: int = 0
    block_written: int = 0


def measure(group: Group) -> Usage:
    """Read the counters of a group; what a host does not count is 0."""
    return _measure_v1(group) if group.layout.version == 1 else _measure_v2(group)


def _measure_v1(group: Group) -> Usage:
    throttling = dict(pairs(group.read("cpu", "cpu.stat")))
    read, written = _block_v1(group.read("blkio", "blkio.throttle.io_service_bytes_recursive"))
    return Usage(
        cpu_total=_number(group.read("cpuacct", "cpuacct.usage")),
        cpu_user=_number(group.read("cpuacct", "cpuacct.usage_user")),
        cpu_system=_number(group.read("cpuacct", "cpuacct.usage_sys")),
        cpu_periods=throttling.get("nr_periods", 0),
        cpu_throttled_periods=throttling.get("nr_throttled", 0),
        cpu_throttled=throttling.get("throttled_time", 0),
        memory_used=_number(group.read("memory", "memory.usage_in_bytes")),
        memory_limit=_limit(group.read("memory", "memory.limit_in_bytes")),
        memory_max=_number(group.read("memory", "memory.max_usage_in_bytes")),
        memory_details=dict(pairs(group.read("memory", "memory.stat"))),
        pids=_number(group.read("pids", "pids.current")),
        pids_limit=_limit(group.read("pids", "pids.max")),
        block_read=read,
        block_written=written,
    )


def _measure_v2(group: Group) -> Usage:
    cpu = dict(pairs(group.read("cpu", "cpu.stat")))
    read, written = _block_v2(group.read("io", "io.stat"))
    return Usage(
        cpu_total=cpu.get("usage_usec", 0) * _MICRO,
        cpu_user=cpu.get("user_usec", 0) * _MICRO,
        cpu_system=cpu.get("system_usec", 0) * _MICRO,
        cpu_periods=cpu.get("nr_periods", 0),
        cpu_throttled_periods=cpu.get("nr_throttled", 0),
        cpu_throttled=cpu.get("throttled_usec", 0) * _MICRO,
        memory_used=_number(group.read("memory", "memory.current")),
        memory_limit=_limit(group.read("memory", "memory.max")),
        memory_max=_number(group.read("memory", "memory.peak")),
        memory_details=dict(pairs(group.read("memory", "memory.stat"))),
        pids=_number(group.read("pids", "pids.current")),
        pids_limit=_limit(group.read("pids", "pids.max")),
        block_read=read,
        block_written=written,
    )


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0


def _limit(text: str) -> int:
    """Read a limit: `max`, and v1's largest number of pages in bytes, are none."""
    number = _number(text)
    return 0 if number >= 1 << 62 else number


def _block_v1(text: str) -> tuple[int, int]:
    """Sum up lines of `MAJOR:MINOR Operation bytes`."""
    totals = {"Read": 0, "Write": 0}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] in totals:
            totals[fields[1]] += int(fields[2])
    return totals["Read"], totals["Write"]


def _block_v2(text: str) -> tuple[int, int]:
    """Sum up lines of `MAJOR:MINOR rbytes=… wbytes=… rios=… …`."""
    totals = {"rbytes": 0, "wbytes": 0}
    for line in text.splitlines():
        for item in line.split()[1:]:
            name, _, value = item.partition("=")
            if name in totals:
                totals[name] += int(value)
    return totals["rbytes"], totals["wbytes"]


def available_memory() -> int:
    """Give the bytes that this host could still give to processes (proc_meminfo(5))."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0


def anonymous(processes: Iterable[int]) -> int:
    """Give the bytes of memory that processes have and no file has (proc(5), `RssAnon`).

    These are counters of the kernel, read in some ten microseconds. What ends is not counted.
    """
    total = 0
    for process in processes:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace")
            lines = (line.split() for line in status.splitlines() if line.startswith("RssAnon:"))
            total += sum(int(words[1]) for words in lines)
    return total << 10


def proportional(processes: Iterable[int]) -> int:
    """Give the bytes of memory that processes have, of what is shared their part (PSS, proc(5)).

    It can take milliseconds. What ends meanwhile is not counted. Processes of one address space,
    as User Mode Linux has, are counted once.
    """
    total = 0
    seen: dict[str, list[int]] = {}
    for process in processes:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            alike = seen.setdefault(lines[0] if lines else "", [])
            if not any(_is_one_space(process, other) for other in alike):
                total += sum(int(line.split()[1]) for line in lines if line[:4] == "Pss:")
            alike.append(process)
    return total << 10


def _is_one_space(process: int, other: int) -> bool:
    """Say whether two processes share their address space; no where the kernel does not tell."""
    number = _KCMP.get(os.uname().machine, -1)
    return bool(libc.syscall(number, process, other, _KCMP_VM, 0, 0) == 0)
