"""A process with a root and namespaces of its own, in which it finds nothing but what it is given.

The namespaces are made by a thread for itself (unshare(2)): what it starts is born into them, and
they are gone with that process. So nothing is ever mounted where the host or another process could
see it, and nothing is left, whoever is killed when.

The process is the host's root, with the capabilities that it is given and no way to others: for
what works on files as whoever they belong to.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heft.failures import translated
from heft.host import denied_calls, mounts, processes, syscalls
from heft.host.syscalls import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    MNT_DETACH,
    MS_BIND,
    MS_NODEV,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    MS_SLAVE,
)
from heft.host.threads import in_own_thread

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping

    from heft.host.cgroups import Group

_EVERY = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
_PLACE = Path("/tmp")  # noqa: S108 - a directory that is there, to mount on in a namespace of one's own
_LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}


@dataclass(frozen=True, slots=True)
class Secluded:
    """What is to run, and what it gets."""

    program: tuple[str, ...]
    capabilities: tuple[str, ...]
    """Those that it has, as setpriv(1) writes them: `chown`."""
    trees: Mapping[str, int]
    """Detached mounts (`heft.host.mounts`), by where it sees them: `shares/0`. /usr is there."""
    passed: tuple[int, ...]
    """Descriptors that it inherits."""


async def start(secluded: Secluded, group: Group, errors: int) -> None:
    """Start it in a control group, whose end is its end; what it says goes to `errors`.

    Raises `HostError`, `NotSupported`; then it does not run.
    """
    born: list[subprocess.Popen[bytes]] = []
    try:
        # A thread that has left the host's namespaces is good for nothing else.
        await in_own_thread(lambda: _start(secluded, group, errors, born.append))
    except BaseException:
        for process in born:
            process.kill()
        raise
    finally:
        for process in born:
            processes.leave(process)


def _start(
    secluded: Secluded,
    group: Group,
    errors: int,
    born: Callable[[subprocess.Popen[bytes]], None],
) -> None:
    bounding = ",".join(("-all", *(f"+{name}" for name in secluded.capabilities)))
    command = ("setpriv", "--inh-caps", "-all", "--bounding-set", bounding, "--no-new-privs", "--")
    with contextlib.ExitStack() as opened:

        def hold(descriptor: int) -> int:
            opened.callback(os.close, descriptor)
            return descriptor

        denied_calls.load()
        trees = {"usr": hold(mounts.detached(Path("/usr"), read_only=True)), **secluded.trees}
        with translated(f"start {secluded.program[0]}"):
            nothing = hold(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            entries = [
                hold(os.open(directory / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
                for directory in group.directories()
            ]
            _seclude(trees)
        denied_calls.deny(denied_calls.OF_NO_FILE)
        process = processes.spawn(
            (*command, *secluded.program),
            stdin=nothing,
            stdout=nothing,
            stderr=errors,
            pass_fds=secluded.passed,
        )
        born(process)
        with translated(f"put {secluded.program[0]} into its control group"):
            for entry in entries:
                os.write(entry, str(process.pid).encode())


def _seclude(trees: Mapping[str, int]) -> None:
    """Leave the host's namespaces, and its tree for one of its own."""
    syscalls.checked(syscalls.libc.unshare(_EVERY))
    # What the host unmounts from now on goes here too, and nothing that is mounted here goes there.
    syscalls.mount(b"none", b"/", b"", MS_SLAVE | MS_REC, b"")
    mounts.mount("tmpfs", _PLACE, flags=MS_NOSUID | MS_NODEV, options=("mode=755", "size=1m"))
    for name, target in _LINKS.items():
        (_PLACE / name).symlink_to(target)
    for name, tree in trees.items():
        place = _PLACE / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if stat.S_ISDIR(os.fstat(tree).st_mode):
            place.mkdir()
        else:
            place.touch()
        mounts.attach(tree, place)
    read_only = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV
    syscalls.mount(b"none", os.fsencode(_PLACE), b"", read_only, b"")
    os.chdir(_PLACE)
    syscalls.checked(syscalls.libc.pivot_root(b".", b"."))
    syscalls.umount2(b".", MNT_DETACH)
    os.chdir("/")
