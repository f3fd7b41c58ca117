"""What the weights have in common whose machines have kernels of their own: disks and runs."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from signal import SIGKILL
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from heft.errors import Conflict, NotFound
from heft.guest import disks, ending, listing
from heft.guest.reach import Reach
from heft.guest.run import GuestRun
from heft.model.upper import Form, Upper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from heft.guest.execution import GuestExecution
    from heft.guest.setup import Surroundings
    from heft.host.cgroups import Group
    from heft.model.process import GuestProcess
    from heft.weights.base import ExecRequest, Exit, Launch, Root, Session, Started

    Beginning = Callable[[GuestRun, Surroundings], Awaitable[None]]
    """`GuestRun.begin` or `GuestRun.serve`: how far a guest becomes the machine."""


class Watched(Protocol):
    """A run, and what a weight knows of it besides."""

    run: GuestRun
    group: Group
    why: str
    """Why its monitor ends, if the guest does not go down by itself."""
    watching: asyncio.Task[None] | None


W = TypeVar("W", bound=Watched)


class Runs(Reach, Generic[W]):
    """Their part of `heft.weights.base.Weight` and `heft.weights.abilities`.

    What is not implemented is each weight's own.
    """

    def __init__(self) -> None:
        self._runs: dict[str, W] = {}
        self._beginning: set[str] = set()

    async def accept(self, launch: Launch) -> None:
        """Raise for what it refuses of a machine."""
        raise NotImplementedError

    async def discard(self, launch: Launch) -> None:
        """End whatever still runs and remove every trace of the run."""
        raise NotImplementedError

    def _begun(self, launch: Launch, begin: Beginning) -> AbstractAsyncContextManager[W]:
        """Start a guest and let it become the machine; what fails inside undoes it."""
        raise NotImplementedError

    async def _turn_off(self, watched: W) -> None:
        """End its kernel and all that serves it."""
        raise NotImplementedError

    # Before there is a run

    def upper(self, root: Root) -> Upper:
        """Say where it keeps what the machine writes."""
        return Upper(Form.DISK, disks.of(root), "upper", root.size)

    async def provision(self, launch: Launch) -> None:
        """Make the machine's disk."""
        await self.accept(launch)
        await disks.provide(launch.root)

    @contextlib.contextmanager
    def _once(self, launch: Launch) -> Iterator[None]:
        """Hold that a machine is not started twice. Raises `Conflict`."""
        if launch.id in self._runs or launch.id in self._beginning:
            raise Conflict(f"container {launch.id} is already running")
        self._beginning.add(launch.id)
        try:
            yield
        finally:
            self._beginning.discard(launch.id)

    @contextlib.asynccontextmanager
    async def _serving(self, launch: Launch) -> AsyncIterator[GuestRun]:
        """Give a guest with the machine's disk and volumes, and nothing that runs in it."""
        still = dataclasses.replace(launch, endpoint=None)
        async with self._begun(still, GuestRun.serve) as watched:
            try:
                try:
                    yield watched.run
                finally:  # what was taken back must be so on the disk too
                    await watched.run.agent.sync()
            finally:
                await self.discard(still)

    # While there is one

    def _watched(self, machine_id: str) -> W:
        """Give the run of a machine. Raises `NotFound`."""
        try:
            return self._runs[machine_id]
        except KeyError as error:
            raise NotFound(f"container {machine_id} is not running") from error

    def _running(self, machine_id: str) -> GuestRun | None:
        watched = self._runs.get(machine_id)
        return None if watched is None or watched.run.has_ended else watched.run

    async def start(self, machine_id: str) -> Started:
        """Let the prepared workload run."""
        return await self._watched(machine_id).run.go()

    async def wait(self, machine_id: str) -> Exit:
        """Return when the run has ended."""
        return await self._watched(machine_id).run.wait()

    async def attach(self, machine_id: str) -> Session:
        """Open a session on the workload's own streams."""
        return await self._watched(machine_id).run.attach()

    async def signal(self, machine_id: str, signal: int) -> None:
        """Send a signal to the workload's first process."""
        watched = self._watched(machine_id)
        if signal != SIGKILL:
            await watched.run.signal(signal)
        elif not await ending.killed(watched.run):
            watched.why = "its guest did not answer, and was turned off"
            await self._turn_off(watched)

    async def resize(self, machine_id: str, rows: int, columns: int) -> None:
        """Tell the workload's terminal the size."""
        await self._watched(machine_id).run.resize(rows, columns)

    async def exec(self, machine_id: str, request: ExecRequest) -> GuestExecution:
        """Run a further process."""
        return await self._watched(machine_id).run.exec(request)

    async def processes(self, machine_id: str) -> tuple[int, ...]:
        """Give the host's process ids: of its monitor, and of all that its kernel is there."""
        watched = self._watched(machine_id)
        return () if watched.run.has_ended else watched.group.processes()

    async def list_processes(self, machine_id: str) -> tuple[GuestProcess, ...]:
        """Give what runs in a machine."""
        return listing.read(await self._watched(machine_id).run.agent.processes())

    async def pause(self, machine_id: str) -> None:
        """Stop every process of it; its kernel goes on, so that its files can be reached."""
        await self._watched(machine_id).run.freeze(frozen=True)

    async def resume(self, machine_id: str) -> None:
        """Let them go on."""
        await self._watched(machine_id).run.freeze(frozen=False)

    async def tell_files(self, machine_id: str) -> None:
        """Give a machine its generated files as they are now."""
        await self._watched(machine_id).run.tell_files()

    async def reopen_log(self, machine_id: str) -> None:
        """Go on in a new file at the log's path."""
        await self._watched(machine_id).run.reopen_log()

    async def _let_go(self, watched: W) -> None:
        """Watch it no more; the guest runs on."""
        if watched.watching is not None:
            watched.watching.cancel()
            await asyncio.gather(watched.watching, return_exceptions=True)
        await watched.run.close()
