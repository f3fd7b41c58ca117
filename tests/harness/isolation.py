"""Give the test process network and mount namespaces of its own (unshare(2)).

Bridges, rules and mounts that a test makes are then invisible to the host, and go when the test
process ends, however it ends.
"""

import ctypes
import os
import subprocess
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18

CGROUP_PARENT = f"/heft-test-{os.getpid()}"
"""Every daemon and weight under test keeps its cgroups here, apart from those of other runs."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def isolate() -> None:
    """Leave the host's network and mount namespaces; needs root, and one thread only."""
    _check(_libc.unshare(CLONE_NEWNS | CLONE_NEWNET))
    _check(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    Path("/run/netns").mkdir(exist_ok=True)
    _check(_libc.mount(b"tmpfs", b"/run/netns", b"tmpfs", 0, b"mode=755"))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
