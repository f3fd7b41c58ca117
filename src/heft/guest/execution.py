"""A further process in a guest."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from heft.errors import StartFailed
from heft.guest.output import Output
from heft.guest.protocol import Tag
from heft.guest.session import GuestSession
from heft.guest.setup import start_further
from heft.guest.streams import Inflow, Outflow
from heft.model.machine import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from heft.guest.agent import Agent
    from heft.weights.base import ExecRequest, Session

KILLED = 128 + signal.SIGKILL


class GuestExecution:
    """`heft.weights.base.Execution` in a guest; `ended` is its run's to call."""

    def __init__(
        self, agent: Agent, request: ExecRequest, gone: Callable[[GuestExecution], None]
    ) -> None:
        self.id = request.id
        self.pid = 0
        self.session: Session | None = None
        self._agent = agent
        self._gone = gone
        self._request = request
        self._streams: dict[Tag, Inflow | Outflow] = {}
        self._output: Output | None = None
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._leaving: asyncio.Task[None] | None = None
        if request.attach:
            self._connect()

    def _connect(self) -> None:
        process, channel = self._request.process, self._agent.link.free_channel
        inflows = {Stream.STDOUT: Inflow(channel())}
        self._streams[Tag.STDOUT] = inflows[Stream.STDOUT]
        if not process.tty:
            self._streams[Tag.STDERR] = inflows[Stream.STDERR] = Inflow(channel())
        stdin = Outflow(channel()) if process.stdin else None
        if stdin is not None:
            self._streams[Tag.STDIN] = stdin
        self._output = Output(inflows)
        # Its input ends with its client's: no second one could come.
        session = GuestSession(
            stdin, ends_stdin=not process.tty, closed=self._output.sessions.discard
        )
        self._output.join(session)
        self.session = session

    async def start(self) -> None:
        """Start it. Raises `StartFailed`; then nothing is left of it."""
        channels = {tag: stream.number for tag, stream in self._streams.items()}
        fields = start_further(
            self.id, self._request.process, channels, privileged=self._request.privileged
        )
        try:
            self.pid = await self._agent.start(fields, self._streams.values())
        except BaseException as error:
            if not isinstance(error, StartFailed):
                # It may run: the answer was lost, or is not waited for any more.
                self.kill()
                self._agent.disown(self.id)
            await self.close()
            raise

    async def wait(self) -> int:
        """Give its exit code, when it has ended."""
        return await asyncio.shield(self._exit)

    async def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal the size."""
        await self._agent.resize(self.id, rows, columns)

    def kill(self) -> None:
        """Send SIGKILL to it and to its process group, which is of a session of its own."""
        if not self._exit.done():
            self._agent.signal_soon(self.id, signal.SIGKILL, group=True)

    def ended(self, code: int) -> None:
        """Take it that it has ended; the guest forgets it when all its output has come."""
        if not self._exit.done():
            self._exit.set_result(code)
            self._leaving = asyncio.create_task(self._leave())

    async def _leave(self) -> None:
        if self._output is not None:
            await self._output.done()
        self._remove_streams()
        self._agent.forget(self.id)
        self._gone(self)

    def _remove_streams(self) -> None:
        for stream in self._streams.values():
            self._agent.link.remove(stream)

    async def close(self) -> None:
        """Stop watching; the process is not touched. Harmless when repeated."""
        if self._leaving is not None:
            self._leaving.cancel()
        if self._output is not None:
            await self._output.close()
        self._remove_streams()
        self._gone(self)
        if not self._exit.done():
            self._exit.cancel()
