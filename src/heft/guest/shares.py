"""Binds and volumes of a machine with a kernel of its own: shown to it by 9p, live.

The files are served by a program that does on the host what the guest's monitor, nobody on this
host, may not: it opens, makes and gives away files as the guest's users ask (`Server`). For a QEMU
that is its own virtfs-proxy-helper(1), else diod(8). It is the host's root, and believes what a
hostile guest tells it; so it runs secluded (`heft.host.secluded`), with nothing to reach but a tree
of this machine's own binds and volumes. Links and `..` lead nowhere else, no device works there,
and what is read-only is so before the guest is asked.

A server's files are all of one file system of the host: a guest tells files apart by their number
there, which two file systems both give. A server ends with its machine: it is in its control group,
and its only connection is the one that the guest's monitor has.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from heft.errors import NotSupported
from heft.faults import reach
from heft.guest import setup
from heft.guest.setup import Share
from heft.host import memory_files, mounts, secluded
from heft.host.secluded import Secluded
from heft.host.sources import open_source
from heft.host.threads import in_own_thread
from heft.model.machine import MountKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from heft.host.cgroups import Group
    from heft.model.machine import MountPoint
    from heft.weights.base import Launch

MOST = 16
"""File systems of the host that one machine can have parts of."""
_MAPPED = "cache=mmap,directio"
"""Kernels since 6.4 keep with the first alone what is read and written too, and know the second;
older ones leave out options that they do not know."""
_OPTIONS = f"msize=131072,{_MAPPED}"
"""Bytes of one request, which a guest must find in one piece for every directory that it reads;
files can be mapped for writing, and nothing else is kept (kernel documentation, filesystems/9p):
what another machine writes is there at once."""
CAPABILITIES = (
    *("chown", "dac_override", "fowner", "fsetid", "mknod", "setgid", "setuid"),
    *("setpcap", "sys_chroot"),
)
"""What the server wants, and the last two, which it drops once it is in its tree."""
_ROOT = "shares"
_BESIDE = "beside"
_WORKERS = 4
_KINDS = {
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "named pipe",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A program that serves what is at /shares, which it makes its root."""

    program: str
    arguments: tuple[str, ...]
    """The connection that it inherits, a descriptor, is put for `{}`."""
    tag: str
    """What a guest finds a share by: its number is put for `{}`."""
    first: int
    """The number of the first share."""
    options: str
    """Further options that a guest mounts it with."""
    beside: Path
    """A library that is loaded into it before all others."""

    def secluded(self, trees: Mapping[str, int], beside: int, connection: int) -> Secluded:
        """Give it with trees to serve, and the library as a detached mount."""
        words = tuple(word.format(connection) for word in self.arguments)
        program = ("env", "-i", f"LD_PRELOAD=/{_BESIDE}", self.program, *words)
        return Secluded(program, CAPABILITIES, {**trees, _BESIDE: beside}, (connection,))


PROXY = "/usr/lib/qemu/virtfs-proxy-helper"


def proxy(beside: Path) -> Server:
    """Give what speaks to a QEMU; `beside` is the library of agent/served."""
    words = ("--nodaemon", "--path", f"/{_ROOT}", "--fd", "{}")
    return Server(PROXY, words, tag="share{}", first=0, options=_OPTIONS, beside=beside)


def diod(beside: Path, first: int) -> Server:
    """Give what speaks 9p itself, to the guest, at ports of the host from `first` on (vsock(7)).

    `beside` is the library of agent/served for it, which makes /shares its root.
    """
    words = ("--foreground", "--no-auth", "--no-userdb", "--export", "/")
    workers = ("--nwthreads", str(_WORKERS))
    return Server(
        "/usr/sbin/diod",
        (*words, *workers, "--rfdno", "{}", "--wfdno", "{}"),
        tag="vsock:{}",
        first=first,
        options=f"msize=65536,{_MAPPED},aname=/,uname=root",
        beside=beside,
    )


@dataclass(frozen=True, slots=True)
class Served:
    """What the monitor of a guest is to export: a tag, and the connection to who serves it."""

    tag: str
    connection: int


@dataclass(frozen=True, slots=True)
class Shared:
    """All that a machine shares with the host."""

    served: tuple[Served, ...] = ()
    shares: Mapping[str, Share] = field(default_factory=dict)
    """By the target of the mount."""
    errors: int = -1
    """A descriptor of what the servers have said."""

    def complaint(self) -> str:
        """Give what they have said on their error output."""
        return memory_files.content(self.errors) if self.errors >= 0 else ""


@dataclass(frozen=True, slots=True)
class _Tree:
    point: MountPoint
    descriptor: int


def shared_points(launch: Launch) -> tuple[MountPoint, ...]:
    """Give the mounts whose files are the host's, but for those that Heft writes."""
    own = setup.generated_files(launch)
    return tuple(
        point
        for point in launch.mounts
        if point.kind is not MountKind.TMPFS and point.target not in own
    )


async def check_kinds(launch: Launch) -> None:
    """Raise `NotSupported` for binds of what leads nowhere in another kernel."""
    if points := shared_points(launch):
        await in_own_thread(lambda: _check_kinds(points))  # they may be where nothing answers


def _check_kinds(points: Iterable[MountPoint]) -> None:
    for point in points:
        with contextlib.suppress(OSError):  # what is not there is found where it is needed
            _check_kind(point, os.stat(point.source).st_mode)


def _check_kind(point: MountPoint, mode: int) -> None:
    if kind := _KINDS.get(stat.S_IFMT(mode)):
        raise NotSupported(
            f"{point.source}: a {kind} of the host's kernel leads nowhere in another kernel",
            hint="run it light, or share the directory or file that is behind it",
        )


@contextlib.asynccontextmanager
async def serve(launch: Launch, group: Group, server: Server) -> AsyncIterator[Shared]:
    """Serve what a machine shares, in its control group.

    The connections are to be handed on inside. Raises `StartFailed`, `NotSupported`, `HostError`.
    """
    points = shared_points(launch)
    if not points:
        yield Shared()
        return
    if not os.path.exists(server.program):
        raise NotSupported(
            f"{server.program} is not installed: it serves volumes and binds",
            hint="`heft doctor` says what to install",
        )
    if not server.beside.exists():
        raise NotSupported(f"there is no {server.beside}", hint="install Heft anew: make up")
    with contextlib.ExitStack() as opened:

        def hold(descriptor: int) -> int:
            opened.callback(os.close, descriptor)
            return descriptor

        errors = hold(memory_files.bounded())
        # What is shared may be on a file system that answers slowly.
        trees = await in_own_thread(lambda: [_Tree(each, hold(_open(each))) for each in points])
        served, shares = [], {}
        for number, alike in enumerate(_by_file_system(trees), server.first):
            tag = server.tag.format(number)
            ours, theirs = socket.socketpair()
            opened.enter_context(ours)
            beside = hold(mounts.detached(server.beside, read_only=True))
            with theirs:
                names = {f"{_ROOT}/{at}": tree.descriptor for at, tree in enumerate(alike)}
                await secluded.start(server.secluded(names, beside, theirs.fileno()), group, errors)
            served.append(Served(tag, ours.fileno()))
            for at, tree in enumerate(alike):
                shares[tree.point.target] = Share(tag, subpath=str(at), options=server.options)
        reach("heavy.shared")
        yield Shared(tuple(served), shares, errors)


def _by_file_system(trees: Iterable[_Tree]) -> Iterable[list[_Tree]]:
    groups: dict[int, list[_Tree]] = {}
    for tree in trees:
        groups.setdefault(os.fstat(tree.descriptor).st_dev, []).append(tree)
    if len(groups) > MOST:
        raise NotSupported(
            f"binds and volumes of {len(groups)} file systems of the host: a machine with a kernel"
            f" of its own can have parts of {MOST}"
        )
    return groups.values()


def _open(point: MountPoint) -> int:
    """Open what a mount shows as a mount that is nowhere yet; links in a volume stay inside it."""
    source = open_source(point.source, point.subpath)
    try:
        _check_kind(point, os.fstat(source).st_mode)
        return mounts.detached(
            Path(f"/proc/self/fd/{source}"),
            recursive=point.recursive,
            read_only=point.read_only,
            read_only_below=point.read_only_below,
        )
    finally:
        os.close(source)
