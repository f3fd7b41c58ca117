"""Network links and namespaces of this host, through ip(8)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from heft.errors import HostError
from heft.failures import translated
from heft.host import mounts, user_namespaces
from heft.host.processes import run

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMESPACES = Path("/run/netns")
"""Where ip-netns(8) keeps named network namespaces."""
_CONF = Path("/proc/sys/net/ipv4/conf")
"""One directory an interface of this process's network namespace (sysfs may be another's)."""


async def batch(lines: Iterable[str], *, namespace: str = "") -> None:
    """Do what the lines say, in their order, inside a namespace if one is named.

    Raises `ToolFailed` at the first that fails; those before it are done.
    """
    where = ("-n", namespace) if namespace else ()
    await run("ip", *where, "-batch", "-", stdin="\n".join((*lines, "")).encode())


def exists(interface: str) -> bool:
    """Say whether the interface is there."""
    return (_CONF / interface).is_dir()


async def ports_of(bridge: str) -> tuple[str, ...]:
    """Give the names of a bridge's ports."""
    shown = await run("ip", "-o", "link", "show", "master", bridge)
    lines = shown.stdout.decode().splitlines()
    return tuple(line.split(": ")[1].partition("@")[0] for line in lines)


def set_sysctl(name: str, value: str) -> None:
    """Set a kernel parameter of the network (`net/ipv4/…`, ip-sysctl.rst), if it is not so."""
    path = Path("/proc/sys") / name
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except OSError as error:
        raise HostError(f"cannot set {path} to {value}: {error.strerror}") from error


async def make_namespace(name: str, owner: Path) -> None:
    """Make a named namespace that belongs to the user namespace of the file `owner`."""
    with translated(f"make {NAMESPACES}"):
        NAMESPACES.mkdir(mode=0o755, parents=True, exist_ok=True)
    # As ip-netns(8) does, which would else hide under such a mount what is there already. Only a
    # mount can be shared; `ismount` does not see that one file system's directory is bound.
    try:
        mounts.share(NAMESPACES)
    except HostError:
        mounts.bind(NAMESPACES, NAMESPACES)
        mounts.share(NAMESPACES)
    await user_namespaces.make_network(owner, NAMESPACES / name)


def delete_namespace(name: str) -> None:
    """Let go of a named namespace; its links go with it. No harm if there is none."""
    path = NAMESPACES / name
    mounts.unmount(path)
    path.unlink(missing_ok=True)


def namespaces(prefix: str) -> tuple[str, ...]:
    """Give the names of the namespaces that begin so."""
    if not NAMESPACES.is_dir():
        return ()
    return tuple(name for name in os.listdir(NAMESPACES) if name.startswith(prefix))


def default_mtu() -> int:
    """Give the MTU of the interface that leads out of this host; 1500 where none does."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        interface, destination, _, _, _, _, _, mask, mtu = line.split()[:9]
        if destination == mask == "00000000":
            return int(mtu) or _mtu_of(interface)
    return 1500


def _mtu_of(interface: str) -> int:
    try:
        return int(Path(f"/sys/class/net/{interface}/mtu").read_text())
    except OSError:
        return 1500
