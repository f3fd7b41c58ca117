"""What can be asked of a guest's agent, one function an operation.

All raise what `answers` makes of an answer, and what `Link.request` raises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.guest.answers import checked
from heft.guest.link import REQUEST_SECONDS, Interrupted
from heft.guest.protocol import Operation, Tag
from heft.guest.records import Fields

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.guest.link import Link, Stream
    from heft.guest.records import Record

SETUP_SECONDS = 60.0
START_SECONDS = 60.0
"""How long a start may take: its user and its file may be on a slow share."""
SYNC_SECONDS = 120.0
QUICK_SECONDS = 10.0
"""How long the answer to a signal may take."""


@dataclass(frozen=True, slots=True)
class GuestStats:
    """What a guest says it uses. Sizes in bytes, CPU in nanoseconds of the workload's processes."""

    cpu: int
    cpu_user: int
    cpu_system: int
    memory_total: int
    memory_available: int
    memory_cache: int
    memory_anon: int
    pids: int
    net_received: int
    net_sent: int
    net_received_packets: int
    net_sent_packets: int
    disk_read: int
    disk_written: int


class Agent:
    """The agent at the other end of a link."""

    def __init__(self, link: Link) -> None:
        self.link = link

    async def set_up(self, fields: Fields) -> None:
        """Make the guest a machine (`heft.guest.setup`); once, and harmless when repeated."""
        await self._again(Operation.SETUP, fields, SETUP_SECONDS)

    async def rehearse(self, fields: Fields) -> None:
        """Do what SETUP and START do, and undo it (`heft.guest.rehearsal`); only before SETUP."""
        await self._ask(Operation.REHEARSE, fields, SETUP_SECONDS)

    async def start(self, fields: Fields, streams: Iterable[Stream] = ()) -> int:
        """Start a process, or up to its first instruction; give its pid in the guest.

        `streams` are those that it names. Raises `StartFailed`.
        """
        answer = await self.link.request(
            Operation.START, fields, START_SECONDS, streams=streams, lasting=True
        )
        return checked(answer).number(Tag.PID)

    async def go(self, process: str) -> None:
        """Let a process that is held go on. Raises `StartFailed`."""
        await self._again(Operation.GO, _id(process), START_SECONDS)

    async def signal(self, process: str, number: int, *, group: bool = False) -> None:
        """Send a signal to a process, or to its whole group."""
        fields = _id(process).number(Tag.NUMBER, number).flag(Tag.GROUP, group)
        await self._ask(Operation.SIGNAL, fields, QUICK_SECONDS)

    def signal_soon(self, process: str, number: int, *, group: bool = False) -> None:
        """Send a signal without waiting until it has arrived."""
        fields = _id(process).number(Tag.NUMBER, number).flag(Tag.GROUP, group)
        self.link.post(Operation.SIGNAL, fields)

    async def resize(self, process: str, rows: int, columns: int) -> None:
        """Tell a process's terminal its size."""
        fields = _id(process).number(Tag.ROWS, rows).number(Tag.COLUMNS, columns)
        await self._again(Operation.RESIZE, fields, QUICK_SECONDS)

    def forget(self, process: str) -> None:
        """Let the guest forget a process that has ended."""
        self.link.post(Operation.FORGET, _id(process))

    def disown(self, process: str) -> None:
        """Let a process run on with nobody to read it."""
        self.link.post(Operation.DISOWN, _id(process))

    async def set_clock(self, now: int) -> None:
        """Set the guest's clock: nanoseconds since 1970."""
        await self._ask(Operation.CLOCK, Fields().number(Tag.CLOCK, now), QUICK_SECONDS)

    async def freeze(self, *, frozen: bool) -> None:
        """Stop the workload's processes in their tracks, or let them go on."""
        await self._again(Operation.FREEZE, Fields().flag(Tag.FROZEN, frozen), REQUEST_SECONDS)

    async def limit(self, *, processes: int, memory: int) -> None:
        """Hold the workload to so many processes and so many bytes; 0 is no limit."""
        fields = Fields().number(Tag.PIDS_LIMIT, processes).number(Tag.MEMORY_LIMIT, memory)
        await self._again(Operation.LIMITS, fields, QUICK_SECONDS)

    async def processes(self) -> tuple[bytes, ...]:
        """Give all processes of the machine, each a record that is not taken apart yet."""
        return (await self._again(Operation.PROCESSES, Fields(), REQUEST_SECONDS)).every(Tag.ROW)

    async def stats(self) -> GuestStats:
        """Measure what the guest uses."""
        answer = await self._again(Operation.STATS, Fields(), QUICK_SECONDS)
        return GuestStats(*map(answer.number, _STATS))

    async def write_files(self, fields: Fields) -> None:
        """Give generated files other contents (`heft.guest.setup.files`)."""
        await self._again(Operation.FILES, fields, REQUEST_SECONDS)

    async def sync(self) -> None:
        """Write what the machine has changed to its disk."""
        await self._again(Operation.SYNC, Fields(), SYNC_SECONDS)

    async def _ask(self, operation: Operation, fields: Fields, seconds: float) -> Record:
        return checked(await self.link.request(operation, fields, seconds))

    async def _again(self, operation: Operation, fields: Fields, seconds: float) -> Record:
        """Ask for what does no harm when it is done twice: once more, if the answer was lost."""
        try:
            return await self._ask(operation, fields, seconds)
        except Interrupted:
            if self.link.is_closed:
                raise
            return await self._ask(operation, fields, seconds)


_STATS = (
    *(Tag.CPU, Tag.CPU_USER, Tag.CPU_SYSTEM),
    *(Tag.MEMORY_TOTAL, Tag.MEMORY_AVAILABLE, Tag.MEMORY_CACHE, Tag.MEMORY_ANON, Tag.PIDS),
    *(Tag.NET_RECEIVED, Tag.NET_SENT, Tag.NET_RECEIVED_PACKETS, Tag.NET_SENT_PACKETS),
    *(Tag.DISK_READ, Tag.DISK_WRITTEN),
)
"""In the order of the fields of `GuestStats`."""


def _id(process: str) -> Fields:
    return Fields().text(Tag.ID, process)
