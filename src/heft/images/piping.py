"""Bytes into a child process: the daemon only passes them on, and never waits for the child."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from heft.host.descriptors import writable
from heft.host.processes import own_program, reap, spawn
from heft.images import verdict

if TYPE_CHECKING:
    from collections.abc import Callable

Source = AsyncIterator[bytes] | Path
"""What to take in: a stream, or a file that is all there."""

TELL_BYTES = 1 << 20
"""How far a stream gets between two times that it is told of."""
PIPE_SIZE = 1 << 20
"""Bytes on their way (pipe(7); what a user without privileges may have)."""


async def run_child(
    module: str,
    *arguments: str,
    source: Source,
    what: str,
    told: Callable[[int], None],
) -> dict[str, Any]:
    """Run `python -m MODULE` on bytes; give its verdict's result.

    `told` is called with the bytes passed on so far. Raises what the verdict says, with `what` in
    front. However this ends, the child has ended.
    """
    command = own_program(module, *arguments)
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(tempfile.TemporaryFile())
        if isinstance(source, Path):
            file = stack.enter_context(source.open("rb"))
            child = spawn(command, stdin=file.fileno(), stdout=output.fileno())
            await reap(child)
        else:
            await _pipe(command, source, output, told)
        output.seek(0)
        return verdict.read(output.read(), what)


async def _pipe(
    command: tuple[str, ...],
    source: AsyncIterator[bytes],
    output: IO[bytes],
    told: Callable[[int], None],
) -> None:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        with contextlib.suppress(PermissionError):
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        child = spawn(command, stdin=reading, stdout=output.fileno())
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    try:
        await feed(source, writing, told)
    except BaseException:
        # Killed first: an end of file could pass for the end of the stream.
        child.kill()
        raise
    finally:
        os.close(writing)
        await reap(child)


async def feed(source: AsyncIterator[bytes], descriptor: int, told: Callable[[int], None]) -> None:
    """Write a stream to a pipe; it ends early, without an error, if the reader does."""
    os.set_blocking(descriptor, False)
    passed = last = 0
    try:
        async for block in source:
            left = memoryview(block)
            while left:
                try:
                    left = left[os.write(descriptor, left) :]
                except BlockingIOError:
                    await writable(descriptor)
            passed += len(block)
            if passed - last >= TELL_BYTES:
                told(last := passed)
        told(passed)
    except BrokenPipeError:
        return  # the child has ended, and will say why
