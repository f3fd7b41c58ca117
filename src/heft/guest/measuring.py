"""What a machine with a kernel of its own uses, as its host pays for it and as it sees it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from heft.host import usage
from heft.weights.base import Stats

if TYPE_CHECKING:
    from heft.guest.run import GuestRun
    from heft.guest.shaping import Shape
    from heft.host.cgroups import Group
    from heft.host.usage import Usage


HOST_MEMORY = "heft_host_memory"
"""Among a machine's memory statistics: the bytes that it takes of the host's memory."""


def unshared(group: Group) -> Usage:
    """Measure a group, of its processes' memory what they do not share with others.

    A part of the pages of a guest's template is nobody's own, and counters of groups, into which
    processes are moved when they have memory already, do not tell.
    """
    return replace(usage.measure(group), memory_used=usage.anonymous(group.processes()))


async def stats(run: GuestRun, paid: Usage, shape: Shape) -> Stats:
    """Measure a run now: processor time and memory as the host pays for them (`paid`).

    The rest is as the guest sees it.
    """
    seen, host = await run.stats(), paid.memory_used
    return Stats(
        read=time.time_ns(),
        cpu_total=paid.cpu_total,
        cpu_user=paid.cpu_user,
        cpu_system=paid.cpu_system,
        memory_used=max(seen.memory_total - seen.memory_available, 0),
        memory_limit=run.launch.resources.memory or shape.memory,
        memory_details={"cache": seen.memory_cache, "anon": seen.memory_anon, HOST_MEMORY: host},
        pids=seen.pids,
        pids_limit=run.launch.resources.pids_limit,
        block_read=seen.disk_read,
        block_written=seen.disk_written,
        network_received=seen.net_received,
        network_sent=seen.net_sent,
        network_received_packets=seen.net_received_packets,
        network_sent_packets=seen.net_sent_packets,
    )
