"""One run of a guest, as this daemon watches it, whatever the guest's kernel runs on.

The weight starts the guest, says how to connect to its agent, and tells when its monitor has ended.
In the run's directory there are `tokens` (for the next session) and `marks` (how far the log goes).
The workload's end is kept by the guest until the guest itself ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import signal
import time
from typing import TYPE_CHECKING, ParamSpec

from heft.errors import HeftError, HostError, NotFound, StartFailed
from heft.faults import reach
from heft.guest import journal, setup
from heft.guest.agent import Agent
from heft.guest.execution import GuestExecution
from heft.guest.link import Link
from heft.guest.output import Output
from heft.guest.protocol import Event, Phase, Tag
from heft.guest.recorder import Recorder
from heft.guest.session import GuestSession
from heft.guest.setup import STDERR, STDIN, STDOUT, WORKLOAD
from heft.guest.streams import Inflow, Outflow
from heft.guest.tokens import Tokens
from heft.guest.transfers import Transfers
from heft.model.machine import Stream
from heft.weights.base import Exit, Started

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from heft.guest.agent import GuestStats
    from heft.guest.records import Message, Record
    from heft.guest.setup import Surroundings
    from heft.guest.wire import Connection
    from heft.weights.base import ExecRequest, Launch, Session

log = logging.getLogger(__name__)

P = ParamSpec("P")

ANSWER_SECONDS = 60.0
"""How long a guest that was just started may take until its agent answers."""
ADOPT_SECONDS = 2.0
"""How long a daemon that starts waits for a guest that runs; it asks on after that."""
STALL_SECONDS = 10.0
"""How long the end of a workload may be held up by a session that nobody reads."""
HELD_SECONDS = 2.0
"""How long that of one which is killed."""
LAST_SECONDS = 2.0
"""How long what a guest has said before it ended may take to arrive."""
KILLED = 128 + signal.SIGKILL
_MOST_CODE = 255
_LONG_AGO = 10**18
"""2001, in nanoseconds: no run has ended before."""


class GuestRun:
    """A run of a guest. All methods raise `HeftError`s only."""

    def __init__(
        self, launch: Launch, connect: Callable[[], Awaitable[Connection]], monitor: int
    ) -> None:
        self.launch = launch
        self.link = Link(connect, Tokens(launch.run / "tokens"), launch.id)
        self.agent = Agent(self.link)
        self.transfers = Transfers(self.link)
        self.executions: dict[str, GuestExecution] = {}
        self.is_frozen = False
        self._adopted = False
        self._monitor = monitor
        self._recorder = Recorder(launch.log.path, launch.run / "marks")
        self._output: Output | None = None
        self._stdin: Outflow | None = None
        self._status: Exit | None = None
        """How it ends, once it is over; it ends when its output was passed on."""
        self._seen = asyncio.Event()
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self.link.on_event = self._on_event
        self.link.on_welcome = self._on_welcome

    # Its beginning

    async def begin(self, given: Surroundings, seconds: float = ANSWER_SECONDS) -> None:
        """Make the guest the machine, up to the instruction before the workload's first.

        Raises `StartFailed`, and `HostError` if the agent does not answer within a time.
        """
        self._recorder.begin()
        streams = self._make_streams(0, 0)
        machine, workload = setup.setup(self.launch, given), setup.start_workload(self.launch)
        steps = [
            asyncio.ensure_future(step)
            for step in (
                self.link.open(seconds),
                self.agent.set_up(machine),
                self.agent.start(workload, streams),
            )
        ]
        # All are sent at once; the guest does them in this order.
        try:
            for step in steps:
                await step
        finally:
            for step in steps:
                step.cancel()
            await asyncio.gather(*steps, return_exceptions=True)

    async def serve(self, given: Surroundings, seconds: float = ANSWER_SECONDS) -> None:
        """Make the guest the machine without its workload: for work on its files."""
        await asyncio.gather(
            self.link.open(seconds), self.agent.set_up(setup.setup(self.launch, given))
        )

    async def go(self) -> Started:
        """Let the workload run. Raises `StartFailed`."""
        self._recorder.note_released()
        reach("guest.released")
        await self.agent.go(WORKLOAD)
        return Started(self._monitor)

    async def adopt(self, seconds: float = ADOPT_SECONDS) -> Exit | Started | None:
        """Take over what an earlier daemon started; None if the workload was never let go.

        A guest that does not answer within a time is taken to run, and asked on.
        """
        mark = self._recorder.resume()
        if not mark.released:
            return None
        self._adopted = True
        for stream in self._make_streams(mark.stdout, mark.stderr):
            self.link.add(stream, lasting=True)
        if mark.fed and self._stdin is not None:
            self._stdin.end()  # whoever was attached went with the daemon
        await self.link.resume(seconds)
        return Started(self._monitor) if self._status is None else await self.wait()

    def _make_streams(self, out: int, err: int) -> list[Inflow | Outflow]:
        process, log_ = self.launch.process, self.launch.log
        inflows = {Stream.STDOUT: Inflow(STDOUT, out)}
        if not process.tty:
            inflows[Stream.STDERR] = Inflow(STDERR, err)
        entries = None
        if log_.journal:
            common = journal.common_fields(self.launch.id, self.launch.name, log_.tag)
            entries = journal.Journal(common)
        self._output = Output(inflows, self._recorder, entries)
        if process.stdin:
            self._stdin = Outflow(STDIN)
            return [*inflows.values(), self._stdin]
        return [*inflows.values()]

    # Its end

    async def wait(self) -> Exit:
        """Return when the run has ended."""
        return await asyncio.shield(self._exit)

    async def over(self) -> None:
        """Return when the workload has ended; what it said may still be on its way."""
        await self._seen.wait()

    @property
    def has_ended(self) -> bool:
        """Say whether it has ended."""
        return self._exit.done()

    def monitor_ended(self, why: str, *, oom_killed: bool = False) -> None:
        """Take it that the guest is no more; what it said before still counts.

        `why` is told if it had not said how the workload ended.
        """
        self._spawn(self._conclude(Exit(KILLED, oom_killed=oom_killed, error=why)))

    async def _conclude(self, otherwise: Exit) -> None:
        await self.link.ended(LAST_SECONDS)
        self._over(otherwise)
        await self.link.close("it has ended")

    def _exited(self, record: Record) -> None:
        now, finished = time.time_ns(), record.number(Tag.FINISHED)
        ended = Exit(
            min(record.number(Tag.EXIT_CODE), _MOST_CODE),
            oom_killed=record.flag(Tag.OOM),
            finished=finished if _LONG_AGO < finished < now else now,
        )
        self._over(ended)

    def _over(self, ended: Exit) -> None:
        if self._status is None:
            self._status = ended
            self._seen.set()
            self._spawn(self._finish(ended))

    async def _finish(self, ended: Exit) -> None:
        """Let the run end when all output was passed on."""
        await self._passed_on(STALL_SECONDS)
        for execution in tuple(self.executions.values()):
            execution.ended(KILLED)
        if not self._exit.done():
            self._exit.set_result(ended)

    async def _passed_on(self, patience: float) -> None:
        """Return when all output was passed on; who does not read for so long is let go of."""
        while self._output is not None and not self._output.is_over:
            await self._output.done(patience)
            for session in tuple(self._output.sessions):
                if session.is_stalled(patience):
                    log.warning(
                        "machine %s: a client that does not read is cut off", self.launch.id
                    )
                    session.cut()

    # While it runs

    async def signal(self, number: int) -> None:
        """Send a signal to the workload; no harm if it has ended. SIGKILL reaches a frozen one."""
        if number == signal.SIGKILL:
            self._spawn(self._passed_on(HELD_SECONDS))
        with contextlib.suppress(NotFound):
            await self._of_workload(self.agent.signal, WORKLOAD, number)
            if number == signal.SIGKILL and self.is_frozen:
                await self.freeze(frozen=False)

    async def _of_workload(
        self, ask: Callable[P, Awaitable[None]], *words: P.args, **options: P.kwargs
    ) -> None:
        """Ask something of the workload. Raises `NotFound` where it has ended, also meanwhile."""
        if self._status is None:
            try:
                return await ask(*words, **options)
            except HostError:
                # The guest goes with its workload, and the answer with the guest.
                if self._status is None:
                    raise
        raise NotFound(f"container {self.launch.id} is not running")

    async def attach(self) -> Session:
        """Open a session on the workload's streams."""
        process = self.launch.process
        ends_stdin = process.stdin_once and not process.tty
        assert self._output is not None
        session = GuestSession(
            self._stdin, ends_stdin=ends_stdin, closed=self._output.sessions.discard
        )
        if ends_stdin and self._stdin is not None:
            self._recorder.note_fed()
        self._output.join(session)
        return session

    async def resize(self, rows: int, columns: int) -> None:
        """Tell the workload's terminal the size."""
        await self.agent.resize(WORKLOAD, rows, columns)

    async def exec(self, request: ExecRequest) -> GuestExecution:
        """Run a further process. Raises `StartFailed`."""
        if self._status is not None:
            raise NotFound(f"container {self.launch.id} is not running")
        if self.launch.init_system:
            request = dataclasses.replace(request, privileged=True)
        execution = GuestExecution(self.agent, request, self._forget)
        self.executions[request.id] = execution
        await execution.start()
        return execution

    async def freeze(self, *, frozen: bool) -> None:
        """Stop every process of the workload in its tracks, or let them go on.

        Raises `NotFound` if it has ended.
        """
        await self._of_workload(self.agent.freeze, frozen=frozen)
        self.is_frozen = frozen

    async def tell_files(self) -> None:
        """Give it the generated files as they are now."""
        await self.agent.write_files(setup.files(setup.generated_contents(self.launch)))

    async def stats(self) -> GuestStats:
        """Measure what the guest uses, as it sees it."""
        return await self.agent.stats()

    async def reopen_log(self) -> None:
        """Go on in a new file at the log's path."""
        if self._output is not None:
            await self._output.reopen_log()

    # What the agent tells

    def _on_event(self, message: Message) -> bool:
        if message.operation == Event.EXITED:
            return self._on_exit(message.record)
        return message.operation == Event.OVER and self.transfers.over(message.record)

    def _on_exit(self, record: Record) -> bool:
        process = record.text(Tag.ID)
        if process == WORKLOAD:
            known = self._output is not None and self._status is None
            if known:
                self._exited(record)
            return known
        execution = self.executions.get(process)
        if execution is None:
            return False
        execution.ended(min(record.number(Tag.EXIT_CODE), _MOST_CODE))
        return True

    def _on_welcome(self, state: Record) -> None:
        """See what has happened meanwhile; let go of what nobody here knows."""
        self.is_frozen = state.flag(Tag.FROZEN)
        there = {process.text(Tag.ID): process for process in state.records(Tag.PROCESS)}
        for execution in tuple(self.executions.values()):
            if execution.pid and execution.id not in there:
                execution.ended(KILLED)
        for identity, process in there.items():
            has_ended = process.number(Tag.PHASE) == Phase.EXITED
            if has_ended:
                self._on_exit(process)
            if identity == WORKLOAD or identity in self.executions:
                continue
            if has_ended:
                self.agent.forget(identity)
            else:
                self.agent.disown(identity)
        if self._adopted:
            self._check_workload(there.get(WORKLOAD))

    def _check_workload(self, found: Record | None) -> None:
        """See to it that a workload that was taken over runs."""
        if found is None:
            self._over(Exit(KILLED, error="its guest knows nothing of its workload"))
        elif found.number(Tag.PHASE) == Phase.HELD:
            self._spawn(self._go_on())

    async def _go_on(self) -> None:
        """Finish what an earlier daemon was about to do."""
        try:
            await self.agent.go(WORKLOAD)
        except StartFailed as error:
            self._over(Exit(error.exit_code, error=error.message))

    def _forget(self, execution: GuestExecution) -> None:
        if self.executions.get(execution.id) is execution:
            del self.executions[execution.id]

    # Letting go

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except HeftError:
            log.exception("machine %s: its end could not be dealt with", self.launch.id)

    async def close(self) -> None:
        """Stop watching, without touching the guest; harmless when repeated.

        Sessions of a run that is over stay open: what came before is still to be read.
        """
        for task in tuple(self._tasks):
            task.cancel()
        for execution in tuple(self.executions.values()):
            await execution.close()
        if self._output is not None:
            if not self.has_ended:
                for session in tuple(self._output.sessions):
                    session.cut()
            await self._output.close()
        await self.link.close()
        self._recorder.close()
        if not self._exit.done():
            self._exit.cancel()
