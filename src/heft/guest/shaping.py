"""From a machine's limits to the hardware that it gets, and what its QEMU may use. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import Conflict, InvalidArgument
from heft.guest import architectures
from heft.guest.architectures import NATIVE
from heft.host.grouping import Limits

if TYPE_CHECKING:
    from heft.weights.base import Resources

_MIB = 1 << 20
DEFAULT_MEMORY = 256 * _MIB
MOST_CPUS = 64
OVERHEAD = 192 * _MIB
"""What QEMU itself may use besides the guest's memory: translated code, queues, its libraries."""
THREADS = 128
"""Threads besides those of the guest's processors: QEMU has up to 64 that wait for disks and shared
files (util/thread-pool.c), and ends where it cannot have them; the rest are its own few, those of
the jail, and two for each server of shares."""
PROCESS = 128 << 10
"""Bytes of a guest's memory to each process that it may have, as its kernel reckons itself
(kernel/fork.c, `set_max_threads`): at medium each is a process of the host's."""
MOST_PROCESSES = 8192
"""A quarter of all that a host has, where nobody gave it more (pid_max, proc(5))."""
_NANO = 1_000_000_000
PERIOD = 100_000


@dataclass(frozen=True, slots=True)
class Shape:
    """The hardware of a machine: what a template is made for."""

    memory: int
    """Bytes."""
    cpus: int
    accelerator: str
    """`kvm` or `tcg`; `uml` where the kernel is a process."""
    architecture: str = NATIVE

    def __str__(self) -> str:
        foreign = "" if self.architecture == NATIVE else f"{self.architecture}-"
        return f"{foreign}{self.accelerator}-{self.memory >> 20}m-{self.cpus}c"


def shape(resources: Resources, accelerator: str, architecture: str = NATIVE) -> Shape:
    """Give the hardware of a machine. Raises `InvalidArgument` for too little memory."""
    memory, of = resources.memory or DEFAULT_MEMORY, architectures.ALL[architecture]
    if memory < of.least * _MIB:
        foreign = "" if architecture == NATIVE else f" of linux/{architecture}"
        raise InvalidArgument(
            f"--memory: a machine{foreign} with a kernel of its own needs at least"
            f" {of.least} MiB of memory",
            hint=f"--memory {of.least}m",
        )
    step = of.step * _MIB
    rounded = -(-memory // step) * step
    cpus = 1 if accelerator == "uml" else _cpus(resources)
    return Shape(rounded, cpus, accelerator, architecture)


def _cpus(resources: Resources) -> int:
    asked = quota(resources) / (resources.cpu_period or PERIOD)
    return min(max(1, math.ceil(asked)), MOST_CPUS)


def quota(resources: Resources) -> int:
    """Give the microseconds of processor time in every period; 0 is no limit."""
    if resources.nano_cpus:
        return resources.nano_cpus * (resources.cpu_period or PERIOD) // _NANO
    return max(resources.cpu_quota, 0)


def adjusted(resources: Resources, of: Shape) -> Limits:
    """Give the limits of a machine that runs, whose hardware is what it was started with.

    Raises `Conflict` where it would need more.
    """
    wanted = shape(resources, of.accelerator, of.architecture)
    for more, had in (
        (wanted.memory > of.memory, f"{of.memory >> 20} MiB of memory"),
        (wanted.cpus > of.cpus, f"{of.cpus} processor{'s' if of.cpus > 1 else ''}"),
    ):
        if more:
            raise Conflict(
                f"the machine was started with {had}, and has more only when it is started again",
                hint="stop it, update it, start it",
            )
    return limits(resources, of)


def limits(resources: Resources, of: Shape) -> Limits:
    """Give what the group of its QEMU is held to.

    Twice the memory: what a guest reads before it writes is filled in its template first, which is
    every such machine's, and counted against the one that came there first.
    """
    return Limits(
        memory=2 * of.memory + OVERHEAD,
        pids=of.cpus + THREADS + _processes(resources, of),
        cpu_quota=quota(resources),
        cpu_period=resources.cpu_period or PERIOD,
        cpu_shares=resources.cpu_shares,
        cpus=resources.cpuset_cpus,
        mems=resources.cpuset_mems,
    )


def _processes(resources: Resources, of: Shape) -> int:
    """Give how many of a guest's processes are the host's too."""
    if of.accelerator != "uml":
        return 0
    most = min(of.memory // PROCESS, MOST_PROCESSES)
    return min(most, resources.pids_limit) if resources.pids_limit > 0 else most
