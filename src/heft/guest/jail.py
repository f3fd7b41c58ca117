"""What keeps the process of a guest from everything but its own files. Pure.

A guest's kernel is assumed to be hostile, and so is the process that runs it, once the guest has
got hold of it. So that process is an unprivileged user's, in namespaces of its own, with a root
directory in which there is nothing but the system's programs and libraries, read-only, and what the
guest was given, and with nothing of the daemon's environment: bubblewrap(1) makes the root and the
namespaces, setpriv(1) takes the privileges away. What needs rights that the user does not have
comes as open descriptors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SYSTEM = (
    *("--ro-bind", "/usr", "/usr"),
    *("--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"),
    *("--symlink", "usr/lib64", "/lib64", "--symlink", "usr/sbin", "/sbin"),
    *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),  # noqa: S108 - the jail's own
)
_ENVIRONMENT = (
    *("--clearenv", "--setenv", "PATH"),
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
)
"""The daemon's own may have the password of a proxy in it."""
_NAMESPACES = ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts")


@dataclass(frozen=True, slots=True)
class Jail:
    """Who a process is in its jail, and what it finds there."""

    uid: int
    gid: int
    directory: Path
    """A directory of the host that is its own to write, at `/run` there and its working one."""
    readable: tuple[tuple[Path, str], ...] = ()
    """Files of the host that it can read, and where it sees them."""
    writable: tuple[tuple[Path, str], ...] = ()
    """Files of the host that it can write besides."""
    devices: tuple[str, ...] = ()
    """Device nodes of the host that it sees."""
    groups: tuple[int, ...] = ()
    """Further groups that it is in, which may open them."""
    filter: int = -1
    """A descriptor of a filter of its system calls (seccomp(2)), which the program is born with."""
    scratch: bool = False
    """Whether it may write to its `/tmp`, which is memory of its own control group."""
    tied: bool = False
    """Whether it ends with who started it; else it goes on, as machines do."""


def command(jail: Jail, program: tuple[str, ...]) -> tuple[str, ...]:
    """Give the command line that runs a program in a jail.

    bwrap stays and waits for the program, whose parent it is, and ends when that has; the program
    is process 2 of a PID namespace whose first process ends everything with it.
    """
    seen: list[str] = []
    for source, target in jail.readable:
        seen += ["--ro-bind", str(source), target]
    for source, target in jail.writable:
        seen += ["--bind", str(source), target]
    for device in jail.devices:
        seen += ["--dev-bind", device, device]
    return (
        *("bwrap", "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"),
        *("--cap-add", "CAP_SETPCAP"),
        *_NAMESPACES,
        *_SYSTEM,
        *_ENVIRONMENT,
        *(("--chmod", "1777", "/tmp") if jail.scratch else ()),  # noqa: S108 - the jail's own
        *(("--seccomp", str(jail.filter)) if jail.filter >= 0 else ()),
        *(("--die-with-parent",) if jail.tied else ()),
        *("--bind", str(jail.directory), "/run", *seen, "--chdir", "/run", "--new-session", "--"),
        *("setpriv", "--reuid", str(jail.uid), "--regid", str(jail.gid)),
        *(("--groups", ",".join(map(str, jail.groups))) if jail.groups else ("--clear-groups",)),
        *("--inh-caps", "-all", "--bounding-set", "-all", "--no-new-privs", "--"),
        *program,
    )
