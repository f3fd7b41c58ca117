"""A domain as xl(1) is told of it (xl.cfg(5)). Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heft.host.grouping import Limits

LINE = "/dev/hvc0"
"""The guest's only line: the console that each domain has (console(7) of Xen's documentation)."""
DISKS = ("/dev/xvda", "/dev/xvdb", "/dev/xvdc")
EXTRA = (
    # What is said at level 0 alone comes by the line: a panic, after which it is of no other use.
    *("loglevel=1", "nosoftlockup", "panic=-1", "oops=panic", "net.ifnames=0"),
    f"heft.agent={LINE}",
)
_USUAL_SHARES, _USUAL_WEIGHT = 1024, 256
"""The usual part of a processor, in the words of control groups, and of Xen's scheduler."""
_MOST_WEIGHT = 65535


@dataclass(frozen=True, slots=True)
class Disk:
    """A block device of this host's, and what the guest has it as."""

    device: str
    name: str
    """As in `DISKS`."""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """A network card, whose other end is put into a bridge."""

    mac: str
    bridge: str
    interface: str
    """What that end is called."""


@dataclass(frozen=True, slots=True)
class Domain:
    """What a machine is to Xen."""

    machine: str
    """The machine's id."""
    kernel: str
    initramfs: str
    memory: int
    """Bytes, all of which it is given."""
    processors: int
    disks: tuple[Disk, ...]
    script: str
    """What is run for each of its devices (`heft.weights.medium.xen.hotplug`)."""
    card: Card | None = None
    limits: Limits | None = None

    @property
    def text(self) -> str:
        """The file that xl makes it of."""
        lines: dict[str, object] = {
            "name": name_of(self.machine),
            "uuid": uuid_of(self.machine),
            "type": "pv",
            "kernel": self.kernel,
            "ramdisk": self.initramfs,
            "extra": " ".join(EXTRA),
            "memory": self.memory >> 20,
            "vcpus": self.processors,
            "disk": [_disk(each, self.script) for each in self.disks],
            "vif": [] if self.card is None else [_card(self.card, self.script)],
            "on_poweroff": "destroy",
            "on_reboot": "destroy",
            "on_crash": "destroy",
        }
        if self.limits is not None:
            lines |= {"cap": cap(self.limits), "cpu_weight": weight(self.limits)}
            lines |= {"cpus": self.limits.cpus} if self.limits.cpus else {}
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())


def name_of(machine: str) -> str:
    """Give the name of a machine's domain."""
    return f"heft-{machine[:32]}"


def uuid_of(machine: str) -> str:
    """Give what its domain is known by from its first instant: of its id, 128 bits."""
    return "-".join((machine[:8], machine[8:12], machine[12:16], machine[16:20], machine[20:32]))


def cap(limits: Limits) -> int:
    """Give the most that it may use, in hundredths of a processor; 0 is no limit."""
    if not limits.cpu_quota:
        return 0
    return max(1, limits.cpu_quota * 100 // limits.cpu_period)


def weight(limits: Limits) -> int:
    """Give its part of the processors, as Xen's scheduler has it."""
    shares = limits.cpu_shares or _USUAL_SHARES
    return min(max(1, shares * _USUAL_WEIGHT // _USUAL_SHARES), _MOST_WEIGHT)


def _disk(disk: Disk, script: str) -> str:
    access = "ro" if disk.read_only else "rw"
    name = disk.name.rpartition("/")[2]
    return f"format=raw,vdev={name},access={access},script={script},target={disk.device}"


def _card(card: Card, script: str) -> str:
    return f"mac={card.mac},bridge={card.bridge},vifname={card.interface},script={script}"
