"""All machines: found by name, and what can be done to them."""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING

from heft.engine import creation, log_config, logs, names, process_table, removal
from heft.engine.life import Life
from heft.errors import Conflict, HeftError, InvalidArgument, NotSupported
from heft.host import space, usage
from heft.host.processes import run
from heft.model.machine import Machine, State
from heft.weights.abilities import Consoled, Listing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from heft.engine.execs import Execs
    from heft.engine.parts import Parts
    from heft.model.request import (
        Created,
        CreateRequest,
        LogLine,
        LogQuery,
        Update,
        WaitCondition,
    )
    from heft.weights.base import Exit, Session, Stats


class Machines:
    """Every `reference` is an id, a prefix of one that no other has, or a name."""

    def __init__(self, parts: Parts, execs: Execs) -> None:
        self._parts = parts
        self._execs = execs
        self._lives: dict[str, Life] = {}

    def get(self, reference: str) -> Machine:
        """Give a machine's record. Raises `NotFound`."""
        return self._parts.records.resolve(reference)

    def list(self) -> tuple[Machine, ...]:
        """Give all machines, the newest first."""
        seen = (machine for machine in self._parts.records if machine.state is not State.CREATING)
        return tuple(sorted(seen, key=lambda machine: -machine.created))

    def life(self, reference: str) -> Life:
        """Give the machine's life; there is one a machine."""
        machine_id = self.get(reference).id
        if (life := self._lives.get(machine_id)) is None:
            life = Life(self._parts, self._execs, machine_id, self._forget)
            self._lives[machine_id] = life
        return life

    def _forget(self, machine_id: str) -> None:
        self._lives.pop(machine_id, None)

    def adopt(self, machine: Machine) -> None:
        """Watch over a run that an earlier daemon began, and finish a stop that it was about."""
        life = self.life(machine.id)
        life.supervise()
        if machine.stopped_by_user:
            life.stop_soon()

    async def create(self, request: CreateRequest) -> Created:
        """Make a machine. Raises `InvalidArgument`, `NotFound`, `Conflict` in Docker's words."""
        return await creation.create(self._parts, request, self.undo_creation)

    async def undo_creation(self, machine_id: str) -> None:
        """Take back a creation that was not finished; harmless when repeated."""
        if (machine := self._parts.records.get(machine_id)) is not None:
            await removal.remove(self._parts, machine, volumes=True)

    async def start(self, reference: str) -> None:
        """Start it. Raises `AlreadyInState`, `StartFailed`."""
        await self.life(reference).start()

    async def stop(self, reference: str, *, seconds: int | None = None, signal: str = "") -> None:
        """Stop it: its stop signal, SIGKILL after `seconds` (None: its own time, -1: never)."""
        await self.life(reference).stop(seconds, signal)

    async def restart(
        self, reference: str, *, seconds: int | None = None, signal: str = "", weight: str = ""
    ) -> None:
        """Stop it, if it runs, and start it; at another weight, where one is given."""
        await self.life(reference).restart(seconds, signal, weight)

    async def change_weight(self, reference: str, weight: str) -> None:
        """Take it to another weight. Raises `Conflict` if it runs, `NotSupported`."""
        await self.life(reference).change_weight(weight)

    async def kill(self, reference: str, signal: str = "") -> None:
        """Send it a signal (SIGKILL unless named). Raises `Conflict` if it does not run."""
        await self.life(reference).kill(signal)

    async def pause(self, reference: str) -> None:
        """Freeze it."""
        await self.life(reference).pause()

    async def unpause(self, reference: str) -> None:
        """Let it go on."""
        await self.life(reference).unpause()

    async def rename(self, reference: str, name: str) -> None:
        """Give it another name."""
        if not name:
            raise InvalidArgument("Neither old nor new names may be empty")
        await self.life(reference).rename(names.check(name))

    async def update(self, reference: str, asked: Update) -> tuple[str, ...]:
        """Change its limits and restart policy; at once where it runs. Gives warnings."""
        return await self.life(reference).update(asked)

    async def remove(self, reference: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it; with `volumes`, its anonymous volumes too; with `force`, even if it runs."""
        await self.life(reference).remove(force=force, volumes=volumes)

    async def prune(self, keep: Callable[[Machine], bool]) -> tuple[tuple[str, ...], int]:
        """Remove all that do not run and that `keep` does not want; give ids and bytes freed."""
        removed, freed = [], 0
        for machine in self.list():
            if machine.state not in (State.CREATED, State.EXITED, State.DEAD) or keep(machine):
                continue
            try:
                upper, _ = await self.size(machine.id)
                await self.remove(machine.id)
            except HeftError:
                continue  # it was started or removed meanwhile
            removed.append(machine.id)
            freed += upper
        return tuple(removed), freed

    def watch(self, reference: str, condition: WaitCondition) -> asyncio.Future[Exit]:
        """Give a future of how it ends; it is registered when this returns."""
        return self.life(reference).watch(condition)

    async def attach(self, reference: str) -> Session:
        """Open a session on its streams; before it runs, on those of its next run."""
        return await self.life(reference).attach()

    async def console(self, reference: str, *, force: bool) -> tuple[bytes, Session]:
        """Open its console; the last that it has said goes first.

        Raises `NotSupported` for a machine that has none.
        """
        machine = self._running(reference)
        weight = self._parts.weight(machine)
        if not isinstance(weight, Consoled):
            raise NotSupported(
                f"container {machine.name} has no console: it is {machine.weight}",
                hint="attach, logs and exec -it reach what runs in it; heavy machines have one",
            )
        return await weight.console(machine.id, force=force)

    async def resize(self, reference: str, rows: int, columns: int) -> None:
        """Tell its terminal the size."""
        machine = self._running(reference)
        await self._parts.weight(machine).resize(machine.id, rows, columns)
        self._parts.tell(machine, "resize", height=str(rows), width=str(columns))

    def tell(self, reference: str, action: str, **attributes: str) -> None:
        """Publish that something was done with it that left it as it is: `attach`, `detach`."""
        self._parts.tell(self.get(reference), action, **attributes)

    def logs(self, reference: str, query: LogQuery) -> AsyncGenerator[LogLine, None]:
        """Give what it wrote; with `follow`, until its run ends. The caller closes it."""
        machine = self.get(reference)
        if not log_config.is_readable(machine.host_config):
            kind = machine.host_config.log_config.type
            raise InvalidArgument(f'configured logging driver does not support reading: "{kind}"')
        path = self._parts.settings.layout.machine(machine.id) / "log"
        return logs.read(path, query, lambda: self._is_up(machine.id))

    def _is_up(self, machine_id: str) -> bool:
        machine = self._parts.records.get(machine_id)
        return machine is not None and (machine.is_up or machine.state is State.STARTING)

    async def stats(self, reference: str) -> Stats:
        """Measure what it uses. Raises `Conflict` if it does not run."""
        machine = self._running(reference)
        return await self._parts.weight(machine).stats(machine.id)

    async def memory(self, reference: str) -> int:
        """Give the bytes of the host's memory that its processes have, of what is shared a part.

        Raises `Conflict` if it does not run.
        """
        machine = self._running(reference)
        processes = await self._parts.weight(machine).processes(machine.id)
        return await asyncio.to_thread(usage.proportional, processes)

    async def top(
        self, reference: str, arguments: str
    ) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """Give its processes as ps(1) shows them: the titles, and a row each."""
        machine = self._running(reference)
        weight = self._parts.weight(machine)
        if isinstance(weight, Listing):
            return process_table.table(await weight.list_processes(machine.id), arguments)
        wanted = {str(pid) for pid in await weight.processes(machine.id)}
        try:
            listing = await run("ps", *shlex.split(arguments or "-ef"))
        except ValueError as error:
            raise InvalidArgument(f"invalid ps arguments '{arguments}': {error}") from error
        except HeftError as error:
            raise InvalidArgument(f"error running ps: {error}") from error
        return select_processes(listing.stdout.decode(errors="replace"), wanted)

    async def size(self, reference: str) -> tuple[int, int]:
        """Give the bytes of its writable layer, and of that and its image."""
        machine = self.get(reference)
        upper = self._parts.settings.layout.machine(machine.id) / "upper"
        written = await asyncio.to_thread(space.used, upper, disks=True)
        image = next((i for i in self._parts.images.list() if i.id == machine.image), None)
        return written, written + (image.size if image else 0)

    def _running(self, reference: str) -> Machine:
        machine = self.get(reference)
        if not machine.is_up:
            raise Conflict(f"container {machine.id} is not running")
        return machine

    async def close(self) -> None:
        """Stop watching all machines; they go on."""
        await asyncio.gather(*(life.close() for life in self._lives.values()))


def select_processes(
    listing: str, wanted: set[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Give the titles and the rows of some processes from what ps(1) printed."""
    lines = listing.splitlines()
    titles = tuple(lines[0].split()) if lines else ()
    if "PID" not in titles:
        raise InvalidArgument("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows = (tuple(line.split(None, len(titles) - 1)) for line in lines[1:])
    return titles, tuple(row for row in rows if len(row) > column and row[column] in wanted)
