"""What a paravirtual machine's kernel runs on, as the medium weight sees it.

Two there are: `heft.weights.medium.user_mode`, where the kernel is a process, and
`heft.weights.medium.xen`, where it is a domain of the hypervisor below this host. Methods raise
`HeftError`s only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from heft.guest.kits import Kit
    from heft.guest.monitors import Record
    from heft.guest.setup import Disk
    from heft.guest.shaping import Shape
    from heft.guest.shares import Served, Server
    from heft.guest.wire import Connection
    from heft.host.cgroups import Group
    from heft.host.grouping import Limits
    from heft.host.processes import ProcessId
    from heft.host.usage import Usage
    from heft.model.network import Plug
    from heft.weights.base import Accelerator, Availability, Launch


@dataclass(frozen=True, slots=True)
class Traits:
    """What is the same for all machines of a backend."""

    weight: str
    """The name of the weight whose machines are its."""
    accelerator: Accelerator
    kit: str
    """The kit that its machines start with: no other does."""
    plug: Plug
    disks: tuple[Disk, Disk]
    """Base and upper, as a guest finds them."""
    modules: Disk
    """What a machine sees besides that may load modules."""


class Guest(Protocol):
    """A kernel that was started, and may have ended."""

    monitor: ProcessId
    """Outlives the daemon, and ends when the kernel is over."""
    pidfd: int
    """Of it, the caller's to close; -1: it has ended."""

    async def made(self) -> None:
        """Return when the kernel runs: until then it is not the guest that takes its time."""

    async def connect(self) -> Connection:
        """Reach the agent. Raises `HostError`."""

    def said(self) -> str:
        """Give the last that the kernel has said, as far as that is known."""

    def why(self) -> str:
        """Say why it is over, as far as that is known."""

    def close(self) -> None:
        """Let go of what was opened to hear it; harmless when repeated."""


class Backend(Protocol):
    """One way to run a kernel."""

    traits: Traits
    server: Server | None
    """What serves volumes and binds; None: its machines have none."""

    async def available(self, kit: Kit | None) -> Availability:
        """Say whether machines can be run so here; None: the kit is not there yet."""

    def refuse(self, launch: Launch) -> None:
        """Raise `NotSupported` for what such a machine cannot have, beyond what all cannot."""

    async def start(
        self, launch: Launch, kit: Kit, shape: Shape, group: Group, served: tuple[Served, ...]
    ) -> Guest:
        """Start a kernel, joined with who serves its volumes; its monitor is in a group there is.

        Where it fails, `end` clears away what is left.
        """

    async def adopt(self, launch: Launch, record: Record) -> Guest:
        """Take over what an earlier daemon started."""

    async def end(self, launch: Launch, group: Group) -> None:
        """End whatever runs for a machine; harmless when repeated."""

    async def used(self, launch: Launch, group: Group) -> Usage:
        """Measure what the host pays for it."""

    async def limit(self, launch: Launch, group: Group, limits: Limits) -> None:
        """Hold one that runs to these limits from now on."""

    async def sweep(self, known: frozenset[str]) -> None:
        """End what was left by runs of machines not in `known` (ids)."""
