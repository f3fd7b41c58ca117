"""Starts the process that works on a machine's files, and passes bytes to it and from it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import subprocess
import tempfile
from typing import TYPE_CHECKING

import msgspec

from heft.errors import Forbidden, HostError, NotFound
from heft.host.descriptors import readable
from heft.host.processes import own_program, reap, spawn
from heft.images import piping, verdict
from heft.model.files import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from typing import Self

    from heft.files.plan import Plan

log = logging.getLogger(__name__)

BLOCK = 1 << 20
_KINDS = {**verdict.KINDS, "missing": NotFound, "forbidden": Forbidden}


class Work:
    """The process, from its start to its end: an async context manager that leaves none behind.

    `name` is the machine's, for errors.
    """

    def __init__(
        self, module: str, plan: Plan, name: str, *, descriptors: Sequence[int] = ()
    ) -> None:
        self._module = module
        self._plan = plan
        self._name = name
        self._descriptors = descriptors
        self._stack = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._reaped = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._end()
        finally:
            self._stack.close()

    async def take(self, source: AsyncIterator[bytes]) -> None:
        """Let it take a stream. Raises what it failed with."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        _widen(writing)
        try:
            self._start(stdin=reading)
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        try:
            await piping.feed(source, writing, lambda _: None)
        except BaseException:
            # Stopped first: an end of file could pass for the end of the stream.
            self._stop()
            raise
        finally:
            os.close(writing)
        await self._finish()

    def give(self) -> Output:
        """Let it give a stream."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        self._stack.callback(os.close, reading)
        _widen(writing)
        try:
            self._start(stdout=writing)
        finally:
            os.close(writing)
        return Output(reading, self._finish)

    def _start(self, *, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL) -> None:
        text = msgspec.json.encode(self._plan).decode()
        command = own_program(self._module, text)
        self._ending = tempfile.TemporaryFile()  # noqa: SIM115 - the stack closes it
        self._stack.enter_context(self._ending)
        self._process = spawn(
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=self._ending.fileno(),
            pass_fds=self._descriptors,
        )

    def _stop(self) -> None:
        if self._process is not None and not self._reaped:
            self._process.terminate()

    async def _finish(self) -> None:
        """Wait for its end. Raises what it failed with."""
        assert self._process is not None
        await reap(self._process)
        self._reaped = True
        self._ending.seek(0)
        said = self._ending.read()
        try:
            ending = msgspec.json.decode(said, type=dict[str, str])
        except msgspec.MsgspecError as error:
            log.warning("files of %s: %s", self._name, said.decode(errors="replace"))
            raise HostError(
                f"the process that works on the files of {self._name} was killed"
            ) from error
        if not ending:
            return
        kind, message = ending["error"], ending["message"]
        if kind == "missing":
            raise missing(self._plan.path, self._name)
        raise _KINDS[kind](message)

    async def _end(self) -> None:
        """End it if it has not: it takes back what it had begun."""
        if self._process is None or self._reaped:
            return
        self._stop()
        await asyncio.shield(reap(self._process))
        self._reaped = True


class Output:
    """What comes out of the process."""

    def __init__(self, descriptor: int, finish: Callable[[], Awaitable[None]]) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._finish = finish
        self._ahead = b""

    async def line(self) -> bytes:
        """Give the first line. Raises what the process failed with if there is none."""
        while b"\n" not in self._ahead:
            block = await self._block()
            if not block:
                await self._finish()
                raise HostError("the process that works on files said nothing")
            self._ahead += block
        line, _, self._ahead = self._ahead.partition(b"\n")
        return line

    async def blocks(self) -> AsyncIterator[bytes]:
        """Give the rest; at the end, raises what the process failed with."""
        ahead, self._ahead = self._ahead, b""
        if ahead:
            yield ahead
        while block := await self._block():
            yield block
        await self._finish()

    async def _block(self) -> bytes:
        while True:
            try:
                return os.read(self._descriptor, BLOCK)
            except BlockingIOError:
                await readable(self._descriptor)


def _widen(descriptor: int) -> None:
    with contextlib.suppress(PermissionError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, piping.PIPE_SIZE)
