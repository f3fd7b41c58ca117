"""A program whose standard output is a tar, and whose standard error says how far it is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from typing import TYPE_CHECKING

from heft.errors import ToolFailed
from heft.host.processes import reap, spawn

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

BLOCK = 1 << 18
LAST_LINES = 20
"""Lines of the error output that are told if the program fails."""
STOP_SECONDS = 10.0


async def tar_of(
    command: Sequence[str],
    *,
    stdin: bytes,
    directory: Path,
    environment: Mapping[str, str],
    line: Callable[[str], None],
    runner: Sequence[str] = (),
) -> AsyncGenerator[bytes, None]:
    """Run a program; give what it writes, and `line` its messages. Raises `ToolFailed`.

    With a `runner` it is run by that one, which has the same streams and ends with its status.
    Closed early, it ends the program and all that the program started. It ends with the daemon too.
    """
    feed = os.memfd_create("stdin")
    out, out_end = os.pipe2(os.O_CLOEXEC)
    err, err_end = os.pipe2(os.O_CLOEXEC)
    try:
        os.write(feed, stdin)
        os.lseek(feed, 0, os.SEEK_SET)
        child = spawn(
            ["setpriv", "--pdeathsig", "TERM", *runner, *command],
            stdin=feed,
            stdout=out_end,
            stderr=err_end,
            env=environment,
            cwd=directory,
            new_session=True,
        )
    except BaseException:
        os.close(out)
        os.close(err)
        raise
    finally:
        for descriptor in (feed, out_end, err_end):
            os.close(descriptor)
    last: deque[str] = deque(maxlen=LAST_LINES)
    listening = asyncio.create_task(_listen(err, last, line))
    try:
        async for block in _blocks(out):
            yield block
        status = await reap(child)
        await listening
    finally:
        os.close(out)
        await _stop(child)
        listening.cancel()
        await asyncio.wait({listening})
        os.close(err)
    if status:
        # The distribution's tools mark what they failed of; the rest is what they went through.
        errors = [text for text in last if text.startswith("E: ")] or last
        raise ToolFailed(tuple(command), status, "\n".join(errors))


async def _listen(descriptor: int, last: deque[str], line: Callable[[str], None]) -> None:
    rest = b""
    async for block in _blocks(descriptor):
        *lines, rest = (rest + block).replace(b"\r", b"\n").split(b"\n")
        for each in lines:
            text = each.decode(errors="replace").strip()
            if text:
                last.append(text)
                line(text)


async def _blocks(descriptor: int) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    os.set_blocking(descriptor, False)
    while True:
        try:
            block = os.read(descriptor, BLOCK)
        except BlockingIOError:
            readable = asyncio.Event()
            loop.add_reader(descriptor, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(descriptor)
            continue
        if not block:
            return
        yield block


async def _stop(child: subprocess.Popen[bytes]) -> None:
    """End the program and what it has started: its process group, which is its own."""
    if child.returncode is not None:
        return
    _signal_group(child, signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await reap(child)
    except TimeoutError:
        pass  # it was killed, and has been waited for
    finally:
        _signal_group(child, signal.SIGKILL)


def _signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)
