"""The initial file system of a guest: the agent, and the modules it has to load. Pure.

`/init` is the agent, `/modules` holds the modules, `/modules.list` says in which order they are
loaded: lines `early NAME.ko` and `transport NAME.ko` (docs/agent-protocol.md).
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from heft.guest import cpio, modules

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

EARLY = (
    *("virtio_ring", "virtio", "virtio_blk", "virtio_net", "virtio_console"),
    *("crc32c_generic", "erofs", "overlay", "ext4"),
)
"""What a guest needs besides the way to its devices; what these need comes with them."""
OPTIONAL = ("crc32c_intel", "9pnet", "9pnet_virtio", "9p", "loop")
"""What it is better with, where its kernel has them: faster checksums of ext4 (these are preferred
as soon as they are there, so they come first; the agent leaves them where code is translated),
volumes, and file systems in files."""
OF_PROCESS = ("erofs", "overlay", "ext4", "vmw_vsock_virtio_transport", "9pnet_fd", "9p")
"""What a guest needs whose kernel is a process: its disks and cards are drivers of that, and its
agent's line and its volumes come by vsock(7)."""
PROCESS = "virtio_uml"
"""What is part of such a kernel, and of no other."""
OF_DOMAIN = ("xen_blkfront", "xen_netfront", "crc32c_generic", "erofs", "overlay", "ext4", "loop")
"""What a paravirtual domain of Xen needs."""
TRANSPORT = ("virtio_pci", "virtio_mmio")
LARGEST = 6 << 20
"""Bytes as it is; a larger one is packed. Others are not: a guest would take longer to begin."""
_CONSOLE = (5, 1)
"""Major and minor number of /dev/console (the kernel's admin-guide/devices.txt)."""


def wanted(
    find: Callable[[str], modules.Module | None], builtin: Collection[str], *, is_domain: bool
) -> tuple[tuple[modules.Module, ...], tuple[modules.Module, ...]]:
    """Give the modules that are loaded early, and for the transport.

    Raises `MissingModule` or `ValueError` for modules that do not fit.
    """
    if PROCESS in builtin:
        return modules.in_order((*_found(find), *OF_PROCESS), find, builtin), ()
    if is_domain:
        return modules.in_order(OF_DOMAIN, find, builtin), ()
    early = modules.in_order((*_found(find), *EARLY), find, builtin)
    known = {module.name for module in early}
    return early, modules.in_order(TRANSPORT, find, {*builtin, *known})


def _found(find: Callable[[str], modules.Module | None]) -> list[str]:
    return [name for name in OPTIONAL if find(name) is not None]


def build(
    agent: bytes,
    early: Collection[modules.Module] = (),
    late: Collection[modules.Module] = (),
) -> bytes:
    """Give the archive; the same, to the byte, of the same content.

    Packed by gzip where it is large: modules of riscv64 are for the most part tables of symbols. A
    kernel unpacks that (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst).
    """
    lines = [f"early {module.name}.ko\n" for module in early]
    lines += [f"transport {module.name}.ko\n" for module in late]
    archive = cpio.archive(
        [
            cpio.file("init", agent, 0o755),
            *(cpio.directory(name) for name in ("dev", "modules", "proc", "sys")),
            cpio.character_device("dev/console", *_CONSOLE),
            *(cpio.file(f"modules/{each.name}.ko", each.content) for each in (*early, *late)),
            cpio.file("modules.list", "".join(lines).encode()),
        ]
    )
    return archive if len(archive) <= LARGEST else gzip.compress(archive, mtime=0)
