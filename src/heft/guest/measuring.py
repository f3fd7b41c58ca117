"""What a machine with a kernel of its own uses, as its host pays for it and as it sees it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from heft.host import usage
from heft.weights.base import Stats

if TYPE_CHECKING:
    from heft.guest.run import GuestRun
    from heft.guest.shaping import Shape
    from heft.host.cgroups import Group


HOST_MEMORY = "heft_host_memory"
"""Among a machine's memory statistics: the bytes that it takes of the host's memory."""


async def stats(run: GuestRun, group: Group, shape: Shape) -> Stats:
    """Measure a run now: processor time as the host pays for it, the rest as the guest sees it.

    What a guest takes of the host's memory is what its processes do not share with others: a part
    of its template's pages is nobody's own, and counters of groups, into which processes are moved
    when they have memory already, do not tell. A kernel that is a process has the guest's memory as
    a file, which counters do tell of.
    """
    seen = await run.stats()
    paid = usage.measure(group)
    program = shape.accelerator == "uml"
    taken = paid.memory_used if program else usage.anonymous(group.processes())
    return Stats(
        read=time.time_ns(),
        cpu_total=paid.cpu_total,
        cpu_user=paid.cpu_user,
        cpu_system=paid.cpu_system,
        memory_used=max(seen.memory_total - seen.memory_available, 0),
        memory_limit=run.launch.resources.memory or shape.memory,
        memory_details={"cache": seen.memory_cache, "anon": seen.memory_anon, HOST_MEMORY: taken},
        pids=seen.pids,
        pids_limit=run.launch.resources.pids_limit,
        block_read=seen.disk_read,
        block_written=seen.disk_written,
        network_received=seen.net_received,
        network_sent=seen.net_sent,
        network_received_packets=seen.net_received_packets,
        network_sent_packets=seen.net_sent_packets,
    )
