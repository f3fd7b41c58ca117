"""Which kernel parameters (`--sysctl`) a machine may have of its own. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from heft.errors import InvalidArgument

if TYPE_CHECKING:
    from heft.model.config import HostConfig

_OF_IPC = re.compile(r"kernel\.(sem|shm.*|msg.*)|fs\.mqueue\..*")
"""Of an IPC namespace: ipc_namespaces(7)."""
_NAME = re.compile(r"[A-Za-z0-9_-]+([./][A-Za-z0-9_:@-]+)+")
"""As sysctl(8) takes them; what is between the dots is a name in a directory of /proc/sys."""
_MOST_VALUE = 4096
"""Bytes: no kernel reads a longer one (PAGE_SIZE, proc(5))."""


def check(host: HostConfig, *, own_kernel: bool) -> None:
    """Raise `InvalidArgument` for what would be the host's, or is none.

    Where the kernel is the host's, only those of a namespace that the machine has to itself are let
    through. All of a kernel of its own are the machine's: one that this kernel does not know is
    told when it starts.
    """
    for name, value in host.sysctls.items():
        if not own_kernel:
            _check_namespaced(name, host)
        elif not _NAME.fullmatch(name):
            raise InvalidArgument(
                f'invalid sysctl: "{name}" is no name of one', hint="vm.swappiness"
            )
        if "\0" in value or len(value.encode()) >= _MOST_VALUE:
            raise InvalidArgument(f'invalid sysctl: the value of "{name}" holds NUL or is too long')


def _check_namespaced(name: str, host: HostConfig) -> None:
    if _OF_IPC.fullmatch(name) and host.ipc_mode != "host":
        return
    if name.startswith("net.") and host.network_mode != "host":
        return
    raise InvalidArgument(
        f'invalid sysctl: "{name}" is not in a separate kernel namespace',
        hint="the machine would change the host's own; --weight heavy gives it a kernel of its own",
    )
