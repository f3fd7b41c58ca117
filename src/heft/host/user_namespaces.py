"""User namespaces that are there before anything runs in them (user_namespaces(7)).

A namespace lives as long as a process in it, or a file that it is mounted on: a pin. One that is
pinned is what idmapped mounts are made with and what owns a machine's network namespace, and the
machine's own processes join it later. A process of many threads cannot make one, so a small program
does (unshare(1)), and is done away with when the pin is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from heft.errors import HostError
from heft.failures import translated
from heft.host import mounts
from heft.host.descriptors import readable
from heft.host.processes import reap, spawn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_SECONDS = 10.0
_MOST_SAID = 4096
_UNSHARE = ("unshare", "--user", "cat")
"""cat(1) answers when unshare(1) has done its part, and ends with its input."""


async def make(pin: Path, users: str, groups: str) -> None:
    """Make a user namespace, pinned at a path. Raises `HostError`.

    `users` and `groups` are its ids, as the kernel reads them in `uid_map` and `gid_map`.
    """
    remove(pin)
    async with _held(_UNSHARE) as process:
        with translated("map the ids of a user namespace"):
            (process / "uid_map").write_text(users)
            (process / "gid_map").write_text(groups)
        keep(process / "ns/user", pin)


async def make_network(owner: Path, pin: Path) -> None:
    """Make a network namespace that belongs to a pinned user namespace, pinned at a path itself."""
    remove(pin)
    command = ("nsenter", f"--user={owner}", "unshare", "--net", "cat")
    async with _held(command) as process:
        keep(process / "ns/net", pin)


def keep(namespace: Path, pin: Path) -> None:
    """Pin a namespace that there is a file of. Raises `HostError`."""
    with translated(f"keep a namespace at {pin}"):
        pin.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        pin.touch(mode=0o444)
    mounts.bind(namespace, pin, recursive=False)


def remove(pin: Path) -> None:
    """Let go of a pinned namespace; it is gone when no process is in it. Harmless when repeated."""
    if os.path.lexists(pin):
        mounts.unmount(pin)
        pin.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def _held(command: Sequence[str]) -> AsyncIterator[Path]:
    """Start a program that makes a namespace and waits; give its directory under /proc."""
    with contextlib.ExitStack() as stack:
        reading, ours = _pipe(stack)
        answers, writing = _pipe(stack)
        said = stack.enter_context(FileIO(os.memfd_create("stderr"), "r"))
        os.set_blocking(answers.fileno(), False)
        ours.write(b"\n")
        process = spawn(
            command, stdin=reading.fileno(), stdout=writing.fileno(), stderr=said.fileno()
        )
        writing.close()
        try:
            async with asyncio.timeout(_SECONDS):
                await readable(answers.fileno())
            if not answers.read(1):
                raise _refused(os.pread(said.fileno(), _MOST_SAID, 0))
            yield Path(f"/proc/{process.pid}")
        finally:
            ours.close()  # the end of its input, and so its own
            await asyncio.shield(reap(process))


def _pipe(stack: contextlib.ExitStack) -> tuple[FileIO, FileIO]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    return (
        stack.enter_context(FileIO(reading, "r")),
        stack.enter_context(FileIO(writing, "w")),
    )


def _refused(said: bytes) -> HostError:
    return HostError(
        f"cannot make a namespace: {said.decode(errors='replace').strip()}",
        hint="see sysctl user.max_user_namespaces and user.max_net_namespaces",
    )
