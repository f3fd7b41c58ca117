"""The command line of User Mode Linux (the kernel's Documentation/virt/uml). Pure.

Everything that it is given comes as a file of its jail, as a descriptor, or by its vsock device.
This is `heft-vsock` (agent/vsock/), which starts the kernel and has the other ends: a pair of named
pipes, which keep what is said while no daemon listens, and what serves volumes. A small library
is loaded into the kernel (agent/uml/).
"""

from __future__ import annotations

from dataclasses import dataclass

KERNEL, INITRAMFS, VSOCK, BESIDE = "/kernel", "/initramfs", "/vsock", "/beside.so"
BASE, UPPER, MODULES = "/base", "/upper", "/modules"
"""Where it sees its files."""
LINE_PORT, SHARES_PORT = 1, 2
"""The port of the host (vsock(7)) at which its agent finds the daemon, and the first of those
at which it finds its volumes."""
DISKS = ("/dev/ubda", "/dev/ubdb", "/dev/ubdc")
MTU = 1500
_OWN = "/tmp"  # noqa: S108 - of its jail
"""Where it makes its files, its memory among them: what they take is of its own control group."""
_SOCKET = f"{_OWN}/vsock"
_VSOCK_DEVICE = 19
"""The kernel's linux/virtio_ids.h."""
_FIXED = (
    *("loglevel=4", "panic=-1", "oops=panic", "noreboot", "cryptomgr.notests"),
    # It can miss what happens in the instant in which it goes to sleep (os_idle_sleep lets only the
    # timer wake it up again): with a tick that is made good within 10 ms.
    "nohz=off",
    *(
        "con=null",
        "ssl=null",
        "net.ifnames=0",
        f"heft.agent=vsock:{LINE_PORT}",
        f"uml_dir={_OWN}",
        "umid=guest",
    ),
)
DENIED = (
    *("acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "delete_module"),
    *("fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module"),
    *("io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp"),
    *("kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mbind", "migrate_pages"),
    *("mount", "mount_setattr", "move_mount", "move_pages", "mq_open", "msgget"),
    *("name_to_handle_at", "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open"),
    *("pivot_root", "process_madvise", "process_vm_readv", "process_vm_writev", "quotactl"),
    *("quotactl_fd", "reboot", "request_key", "semget", "set_mempolicy", "setdomainname"),
    *("sethostname", "setns", "settimeofday", "shmget", "swapoff", "swapon", "syslog", "umount2"),
    *("unshare", "userfaultfd", "vmsplice"),
)
"""System calls that it does not need: a guest that has got hold of it makes any it likes."""


@dataclass(frozen=True, slots=True)
class Plugs:
    """Descriptors that it inherits."""

    heard: int
    """What the daemon says."""
    said: int
    console: int
    card: int = -1
    """Of a tap device; -1: it has no card."""
    mac: str = ""
    served: tuple[int, ...] = ()
    """Connections to who serves its volumes."""


def command(memory: int, plugs: Plugs, *, modules: bool) -> tuple[str, ...]:
    """Give the command of a machine with so many bytes of memory."""
    card: tuple[str, ...] = ()
    if plugs.card >= 0:
        card = (f"vec0:transport=fd,fd={plugs.card},vec=0,mtu={MTU},mac={plugs.mac}",)
    return (
        *(VSOCK, _SOCKET, f"{LINE_PORT}={plugs.heard},{plugs.said}"),
        *(f"{port}={each},{each}" for port, each in enumerate(plugs.served, SHARES_PORT)),
        "--",
        *("env", "-i", f"LD_PRELOAD={BESIDE}", f"TMPDIR={_OWN}", f"HOME={_OWN}"),
        *(KERNEL, f"mem={memory >> 20}M"),
        *(f"initrd={INITRAMFS}", f"ubd0r={BASE}", f"ubd1={UPPER}"),
        *((f"ubd2r={MODULES}",) if modules else ()),
        *(f"virtio_uml.device={_SOCKET}:{_VSOCK_DEVICE}", f"con0=null,fd:{plugs.console}"),
        *card,
        *_FIXED,
    )
