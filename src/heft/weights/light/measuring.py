"""What a machine uses: its cgroup's counters and those of its network devices."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from heft.host.usage import measure
from heft.weights.base import Stats

if TYPE_CHECKING:
    from heft.weights.light.run import Run


def stats(run: Run) -> Stats:
    """Measure a run now; a machine without a memory limit may use all the host has."""
    usage = asdict(measure(run.group))
    usage["memory_limit"] = usage["memory_limit"] or _memory_of_host()
    network = (0, 0, 0, 0)
    if run.launch.namespaces.network != "host" and run.workload.is_alive():
        network = _network(run.workload.pid)
    return Stats(
        read=time.time_ns(),
        network_received=network[0],
        network_received_packets=network[1],
        network_sent=network[2],
        network_sent_packets=network[3],
        **usage,
    )


def _memory_of_host() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _network(pid: int) -> tuple[int, int, int, int]:
    try:
        with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
            return network_totals(file.read())
    except OSError:
        return (0, 0, 0, 0)


def network_totals(text: str) -> tuple[int, int, int, int]:
    """Sum up /proc/net/dev (proc(5)): bytes and packets received, bytes and packets sent.

    The loopback device does not count.
    """
    totals = [0, 0, 0, 0]
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        fields = rest.split()
        if name.strip() != "lo" and len(fields) > 9:
            for place, column in enumerate((0, 1, 8, 9)):
                totals[place] += int(fields[column])
    return totals[0], totals[1], totals[2], totals[3]
