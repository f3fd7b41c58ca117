"""A light machine's files: `heft.weights.abilities.Filing`.

All work is done by a process of its own (`heft.files.child`), that the daemon pipes bytes through.
Where the machine runs it gets the root of its first process, in which everything is mounted as the
workload has it; else it joins layers, upper and volumes for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

import msgspec

from heft.errors import InvalidArgument, NotFound
from heft.files.looking import look
from heft.files.plan import Mount, Plan, Tree
from heft.files.streaming import Work
from heft.files.tasks import Task
from heft.model.files import Change, ChangeKind, FileStatus, check_changes, missing
from heft.model.machine import MountKind
from heft.weights.light import roots

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from heft.host.processes import ProcessId
    from heft.model.files import Landing
    from heft.weights.base import Launch

MODULE = "heft.weights.light.filing_child"
POINTS = (
    *("/dev", "/dev/console", "/dev/mqueue", "/dev/pts", "/dev/shm", "/etc"),  # noqa: S108 - the machine's
    *("/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/proc", "/sys", "/sys/fs"),
    "/sys/fs/cgroup",
)
"""What the runtime makes in a root to mount on, where the image has nothing there. Docker hides the
same in a layer of its own (moby, `initlayer`)."""


class Reach:
    """What a weight needs to reach its machines' files; `_workload` is the weight's own."""

    def _workload(self, machine_id: str) -> ProcessId | None:
        raise NotImplementedError

    async def file_status(self, launch: Launch, path: str) -> FileStatus:
        """Say what is at a path."""
        with self._tree(launch, writable=False) as tree:
            if tree.descriptor >= 0:
                return await asyncio.to_thread(_look, tree.descriptor, path, launch.name)
            plan = Plan(task=Task.STATUS, tree=tree, path=path)
            async with _work(plan, launch) as work:
                output = work.give()
                line = await output.line()
                async for _ in output.blocks():
                    pass
        return msgspec.json.decode(line, type=FileStatus)

    @contextlib.asynccontextmanager
    async def pack(
        self, launch: Launch, path: str
    ) -> AsyncIterator[tuple[FileStatus, AsyncIterator[bytes]]]:
        """Give what is at a path as a tar."""
        with self._tree(launch, writable=False) as tree:
            plan = Plan(task=Task.PACK, tree=tree, path=path)
            async with _work(plan, launch) as work:
                output = work.give()
                line = await output.line()
                yield msgspec.json.decode(line, type=FileStatus), output.blocks()

    async def unpack(
        self, launch: Launch, path: str, tar: AsyncIterator[bytes], landing: Landing
    ) -> None:
        """Put a tar into a directory."""
        with self._tree(launch, writable=True) as tree:
            plan = Plan(
                task=Task.UNPACK,
                tree=tree,
                path=path,
                same_kind=landing.same_kind,
                owner=landing.owner,
            )
            async with _work(plan, launch) as work:
                await work.take(tar)

    async def changes(self, launch: Launch) -> tuple[Change, ...]:
        """Give what the machine has changed of its image."""
        text, rows = bytearray(), 0
        async with self._given(launch, Task.CHANGES) as blocks:
            async for block in blocks:
                text += block
                rows += block.count(b"\n")
                check_changes(rows, len(text), launch.name)
        return await asyncio.to_thread(_changes, text)

    @contextlib.asynccontextmanager
    async def pack_layer(self, launch: Launch) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give its changes as the tar of a layer."""
        async with self._given(launch, Task.LAYER) as blocks:
            yield blocks

    @contextlib.asynccontextmanager
    async def pack_root(self, launch: Launch) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give its whole root without mounts, from the layers and the upper as they are."""
        async with self._given(launch, Task.ROOT) as blocks:
            yield blocks

    @contextlib.asynccontextmanager
    async def _given(self, launch: Launch, task: Task) -> AsyncIterator[AsyncIterator[bytes]]:
        plan = Plan(task=task, tree=_joined(launch, ()), skip=POINTS)
        async with _work(plan, launch) as work:
            yield work.give().blocks()

    @contextlib.contextmanager
    def _tree(self, launch: Launch, *, writable: bool) -> Iterator[Tree]:
        """Give the tree that the machine sees, or would see."""
        workload = self._workload(launch.id)
        opened = None if workload is None else open_root(workload, users=launch.ids is not None)
        if opened is None:
            yield _joined(launch, _mounts(launch), writable=writable)
            return
        root, users = opened
        try:
            yield Tree(descriptor=root, users=users, read_only=launch.root.read_only)
        finally:
            _close(opened)


def open_root(workload: ProcessId, *, users: bool) -> tuple[int, int] | None:
    """Open the root directory that a process sees and (with `users`) its user namespace.

    None if it has ended; -1 for the namespace that was not asked for.
    """
    opened = [-1, -1]
    try:
        place = f"/proc/{workload.pid}"
        opened[0] = os.open(f"{place}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if users:
            opened[1] = os.open(f"{place}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        if workload.is_alive():  # so they were this very process's
            return opened[0], opened[1]
    except (FileNotFoundError, ProcessLookupError):
        pass
    _close(opened)
    return None


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)


def _changes(text: bytearray) -> tuple[Change, ...]:
    lines = msgspec.json.Decoder(tuple[str, ChangeKind]).decode_lines(text)
    return tuple(Change(path, kind) for path, kind in lines)


def _look(root: int, path: str, name: str) -> FileStatus:
    try:
        return look(root, path)
    except FileNotFoundError:
        raise missing(path, name) from None
    except OSError as error:
        raise InvalidArgument(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _work(plan: Plan, launch: Launch) -> Work:
    passed = tuple(each for each in (plan.tree.descriptor, plan.tree.users) if each >= 0)
    if not roots.exists(launch.root):
        raise NotFound(f"container {launch.id} has no files any more")
    return Work(MODULE, plan, launch.name, descriptors=passed)


def _joined(launch: Launch, mounts: tuple[Mount, ...], *, writable: bool = False) -> Tree:
    root = launch.root
    return Tree(
        layers=tuple(map(str, root.layers)),
        upper=str(root.upper),
        disk=str(roots.bounded(root) or ""),
        disk_options=roots.DISK_OPTIONS,
        changed=roots.changed(root),
        options=roots.OVERLAY_OPTIONS,
        mounts=mounts,
        writable=writable,
        read_only=root.read_only,
    )


def _mounts(launch: Launch) -> tuple[Mount, ...]:
    """Give the mounts that there is anything in while it does not run."""
    return tuple(
        Mount(point.source, point.target, point.read_only)
        for point in launch.mounts
        if point.kind is not MountKind.TMPFS
    )
