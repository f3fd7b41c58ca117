"""Removing a run: whatever of it is there, in whatever state it was left.

Every step can be repeated, and comes in an order in which a kill in between leaves something that
the next attempt finds: processes, mounts, cgroups, and last the directory that names them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

from heft.errors import HostError
from heft.host import mounts, processes
from heft.host.cgroups import Group, Layout, children
from heft.weights.light import emulation, monitor, prepared_mounts
from heft.weights.light.record import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from heft.host.processes import ProcessId
    from heft.weights.light.threads import Threads

_END_SECONDS = 10.0


async def discard(run: RunDirectory, group: Group, threads: Threads) -> None:
    """End whatever still runs and remove every trace. Raises `HostError` if something resists."""
    there = run.path.exists()
    if not there and not group.exists():
        return
    record = run.read()
    if record is None and run.config.exists():
        await _kill_orphans((run.path,), threads)
    await group.end()
    if record is not None:
        await _end(record.monitor)
    await group.remove()
    if there:
        await threads.run(lambda: _dismantle(run))


async def sweep(
    runs: Path, layout: Layout, parent: str, known: frozenset[str], threads: Threads
) -> None:
    """Discard all runs under a directory, and groups under a parent, that are not `known`."""
    unknown = [
        RunDirectory(entry)
        for entry in (runs.iterdir() if runs.is_dir() else ())
        if entry.name not in known and entry.is_dir()
    ]
    if unknown:
        await _kill_orphans([run.path for run in unknown], threads)
    for run in unknown:
        path = run.cgroup() or os.path.join("/", parent, run.path.name)
        await discard(run, Group(layout, path), threads)
    for name in children(layout, parent) - known:
        group = Group(layout, os.path.join("/", parent, name))
        await group.end()
        await group.remove()


async def _kill_orphans(directories: Iterable[Path], threads: Threads) -> None:
    """Kill the monitors of runs that nobody wrote down, before they make anything more."""
    directories = tuple(directories)
    for process in await threads.run(lambda: monitor.orphans(directories)):
        await _end(process, at_once=True)


async def _end(process: ProcessId, *, at_once: bool = False) -> None:
    """Wait for the end of a monitor, which follows that of its workload; kill it if it lingers."""
    pidfd = process.open()
    if pidfd is None:
        return
    try:
        if not at_once:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await processes.ended(pidfd)
        processes.send_signal(pidfd, signal.SIGKILL)
        await processes.ended(pidfd)
        processes.reap_child(pidfd)
    finally:
        os.close(pidfd)


def _dismantle(run: RunDirectory) -> None:
    """Unmount the root, then remove the directory; never the other way round."""
    while os.path.ismount(run.rootfs):
        mounts.unmount(run.rootfs)
    try:
        # It must be empty by now: what is in it otherwise is the machine's own.
        with contextlib.suppress(FileNotFoundError):
            run.rootfs.rmdir()
    except OSError as error:
        raise HostError(f"cannot remove {run.rootfs}: {error.strerror}") from error
    emulation.end(run)
    prepared_mounts.clear(run)
    run.remove()
