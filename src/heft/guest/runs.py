"""What is asked of a machine whose kernel is its own, and goes to its run as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from heft.errors import NotFound
from heft.guest import listing
from heft.guest.reach import Reach

if TYPE_CHECKING:
    from heft.guest.execution import GuestExecution
    from heft.guest.run import GuestRun
    from heft.host.cgroups import Group
    from heft.model.process import GuestProcess
    from heft.weights.base import ExecRequest, Exit, Session, Started


class Watched(Protocol):
    """A run, and what a weight knows of it besides."""

    run: GuestRun
    group: Group


W = TypeVar("W", bound=Watched)


class Runs(Reach, Generic[W]):
    """The part of `heft.weights.base.Weight` and `heft.weights.abilities` that runs have."""

    def __init__(self) -> None:
        self._runs: dict[str, W] = {}

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
