"""The command lines of QEMU (qemu(1), QEMU 7.2). Pure.

The machine is `microvm` with PCIe (others are in `boards`): no firmware to wait for, no legacy
devices, and room for more later. The devices of a template and of what is restored from it are the
same at the same addresses, however many of them the machine uses; what stands behind them differs.
Memory is one backend, so that a template's can be mapped privately by all machines made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heft.guest import architectures
from heft.guest.architectures import NATIVE
from heft.weights.heavy.boards import BOARDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.guest.shaping import Shape
    from heft.guest.shares import Served

PROGRAM = architectures.ALL[NATIVE].qemu
AGENT, CONTROL = "agent.sock", "control.sock"
"""Sockets in the directory of QEMU's own: the agent's stream, QMP."""
CONSOLE_SIZE = 1 << 16
"""Bytes of the kernel's console that are kept; a power of two."""
STAND_IN = 1 << 40
"""Bytes of the disks of a template: a guest restored of it does not ask again how large its are."""
STAND_IN_MAC = "02:48:45:46:54:00"
"""The card's address in a template; the agent gives it the machine's (agent/device.c)."""
_BASE, _UPPER, _PORTS, _CARD, _FIRST_SHARE, _MODULES = 2, 3, 4, 5, 8, 30
"""The slots of devices on the bus."""
DISKS = ("base", "upper")
"""The serial numbers of a machine's disks, and the ids of their devices."""
_BLOCKS = "logical_block_size=512,physical_block_size=512"

_FIXED = (
    *("loglevel=4", "panic=-1", "oops=panic", "mitigations=off", "cryptomgr.notests"),
    "net.ifnames=0",  # the machine's udev leaves eth0 its name
)


@dataclass(frozen=True, slots=True)
class Disks:
    """Open descriptors of the machine's disks."""

    base: int
    upper: int
    modules: int = -1
    """Of the kernel's modules, read only; -1: it has none."""


@dataclass(frozen=True, slots=True)
class Card:
    """A network card: an open tap device, and the address it has.

    Without a network there is one too, that leads nowhere: what is restored from a template is to
    do as much by itself as the card that the template knew.
    """

    tap: int
    mac: str = STAND_IN_MAC


def kernel_parameters(tsc_khz: int, architecture: str = NATIVE) -> str:
    """Give the kernel's command line.

    `tsc_early_khz`: a microvm has no clock against which a kernel could measure the frequency of
    its time stamp counter but the PIT, and where the host was busy at that instant the kernel gives
    up its only clock, and stands still.
    """
    board = BOARDS[architecture]
    clock: tuple[str, ...] = ()
    console = (f"console={board.console}", f"heft.console=/dev/{board.console}")
    if tsc_khz and architecture == NATIVE:
        clock = (f"tsc_early_khz={tsc_khz}", "tsc=reliable", "no_timer_check")
    return " ".join((*console, *_FIXED, *board.parameters, *clock, "heft.template"))


def template(
    shape: Shape, kernel: str, initramfs: str, memory: str, card: Card, tsc_khz: int
) -> list[str]:
    """Give the command that boots a guest to be kept as a template; its disks are stand-ins."""
    return [
        *_common(shape, memory, share=True),
        *_disks(shape, _stand_in("base", read_only=True), _stand_in("upper")),
        *_card(shape, card),
        *_boot(shape, kernel, initramfs, tsc_khz),
    ]


def cold(
    shape: Shape, kernel: str, initramfs: str, disks: Disks, card: Card, tsc_khz: int
) -> list[str]:
    """Give the command that boots a machine without a template."""
    return [
        *_common(shape, "", share=False),
        *_open(disks),
        *_disks(shape, _file("base", disks.base, read_only=True), _file("upper", disks.upper)),
        *_card(shape, card),
        *_modules(shape, disks.modules),
        *_boot(shape, kernel, initramfs, tsc_khz),
    ]


def restored(shape: Shape, memory: int, disks: Disks, card: Card) -> list[str]:
    """Give the command of a machine made from a template; `memory` is a descriptor of its memory.

    It waits for `migrate-incoming`.
    """
    return [
        *_common(shape, f"/proc/self/fd/{memory}", share=False),
        *_open(disks),
        *_disks(shape, _file("base", disks.base, read_only=True), _file("upper", disks.upper)),
        *_card(shape, card),
        *_modules(shape, disks.modules),
        *("-incoming", "defer"),
    ]


def shares(shape: Shape, served: Iterable[Served]) -> list[str]:
    """Give the devices by which the guest reaches its volumes: a template has none of them.

    They stand behind all of the template's, and are found by looking for them (agent/main.c).
    """
    words, board = [], BOARDS[shape.architecture]
    for slot, each in enumerate(served, _FIRST_SHARE):
        words += ["-fsdev", f"proxy,id={each.tag},sock_fd={each.connection}"]
        tags = (f"fsdev={each.tag}", f"mount_tag={each.tag}")
        words += ["-device", board.device("virtio-9p", slot, *tags)]
    return words


def _common(shape: Shape, memory: str, *, share: bool) -> list[str]:
    size = f"{shape.memory >> 20}M"
    backend = f"memory-backend-file,mem-path={memory}" if memory else "memory-backend-ram"
    tcg, board = shape.accelerator == "tcg", BOARDS[shape.architecture]
    program = architectures.ALL[shape.architecture].qemu
    return [
        *(program, "-name", "heft", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-machine", f"{board.machine},memory-backend=memory"),
        *("-accel", "tcg,tb-size=48" if tcg else "kvm", "-cpu", board.cpu if tcg else "host"),
        *("-m", size, "-smp", str(shape.cpus)),
        *("-object", f"{backend},id=memory,size={size},share={'on' if share else 'off'}"),
        *("-chardev", _socket("control", CONTROL), "-mon", "chardev=control,mode=control"),
        # The last of what the kernel says, however much it is.
        *("-chardev", f"ringbuf,id=console,size={CONSOLE_SIZE}", "-serial", "chardev:console"),
        # A guest that is over waits until it was seen why: its console is still there.
        *("-action", "reboot=shutdown,shutdown=pause,panic=pause"),
        *("-device", board.device("virtio-serial", _PORTS, "max_ports=2")),
        *("-chardev", _socket("agent", AGENT)),
        *("-device", "virtserialport,chardev=agent,name=heft.agent"),
    ]


def _socket(name: str, path: str) -> str:
    return f"socket,id={name},path={path},server=on,wait=off"


def _boot(shape: Shape, kernel: str, initramfs: str, tsc_khz: int) -> list[str]:
    parameters = kernel_parameters(tsc_khz, shape.architecture)
    return ["-kernel", kernel, "-initrd", initramfs, "-append", parameters]


def _stand_in(name: str, *, read_only: bool = False) -> str:
    mode = ",read-only=on" if read_only else ""
    return f"null-co,node-name={name},size={STAND_IN},read-zeroes=on{mode}"


def own_disk(name: str, descriptor_set: int, *, read_only: bool) -> dict[str, Any]:
    """Give the arguments of `blockdev-add` for a disk whose descriptor was handed over."""
    file = {
        "driver": "file",
        "filename": f"/dev/fdset/{descriptor_set}",
        "locking": "off" if read_only else "on",
    }
    return {"driver": "raw", "node-name": name, "read-only": read_only, "file": file}


def _file(name: str, descriptor: int, *, read_only: bool = False) -> str:
    mode = ",read-only=on" if read_only else ""
    path = f"/dev/fdset/{descriptor}"
    locks = "file.locking=off" if read_only else "file.locking=on"
    return f"raw,node-name={name}{mode},file.driver=file,file.filename={path},{locks}"


def _open(disks: Disks) -> list[str]:
    """Let QEMU use the descriptors: it could not open these files itself."""
    sets = (fd for fd in (disks.base, disks.upper, disks.modules) if fd >= 0)
    return [word for fd in sets for word in ("-add-fd", f"fd={fd},set={fd}")]


def _disks(shape: Shape, base: str, upper: str) -> list[str]:
    return [
        *("-blockdev", base, "-device", _disk(shape, "base", _BASE)),
        *("-blockdev", upper, "-device", _disk(shape, "upper", _UPPER)),
    ]


def _disk(shape: Shape, name: str, slot: int) -> str:
    words = (f"id={name}", f"drive={name}", f"serial={name}", _BLOCKS)
    return BOARDS[shape.architecture].device("virtio-blk", slot, *words)


def _modules(shape: Shape, descriptor: int) -> list[str]:
    """Give the disk of the kernel's modules, which no template has: the agent looks for it.

    It comes behind the devices that a template has, as channels are numbered in that order.
    """
    if descriptor < 0:
        return []
    file = _file("modules", descriptor, read_only=True)
    return ["-blockdev", file, "-device", _disk(shape, "modules", _MODULES)]


def _card(shape: Shape, card: Card) -> list[str]:
    device = BOARDS[shape.architecture].card(_CARD, "netdev=net", f"mac={card.mac}")
    return ["-netdev", f"tap,id=net,fd={card.tap}", "-device", device]
