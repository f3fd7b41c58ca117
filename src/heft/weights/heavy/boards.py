"""The hardware that QEMU has for each architecture, as far as it differs. Pure.

Devices have slots, the same on every bus: of PCI, or of the channels of s390x.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Board:
    """What is of an architecture: the machine, the processor that is translated, the console."""

    machine: str
    cpu: str
    console: str
    parameters: tuple[str, ...] = ()
    """Of its kernel."""
    bus: str = "pci"
    """Or `ccw`."""
    rescans: bool = True
    """Whether its kernel finds devices that were not there when it was booted."""
    lends_console: bool = True
    """Whether QEMU lets its console lead elsewhere while it runs."""

    def device(self, kind: str, slot: int, *options: str) -> str:
        """Give a virtio device (`virtio-blk`) in a slot, 1 to 31, as `-device` takes it."""
        if self.bus == "ccw":
            return ",".join((f"{kind}-ccw,devno=fe.0.{slot:04x}", *options))
        return ",".join((f"{kind}-pci,addr={slot:x},disable-legacy=on", *options))

    def card(self, slot: int, *options: str) -> str:
        """Give a network card, without the firmware to boot from it."""
        no_firmware = ("romfile=",) if self.bus == "pci" else ()
        return self.device("virtio-net", slot, *no_firmware, *options)


BOARDS = {
    "amd64": Board(
        "microvm,acpi=on,pcie=on,rtc=on,usb=off",
        "max",
        "ttyS0",
        # After a panic too: the usual ways end in a firmware that knows nothing to boot.
        ("reboot=t",),
    ),
    # The architecture's own algorithm of pointer authentication takes half of the time translated.
    "arm64": Board(
        "virt,gic-version=3,usb=off", "max,pauth-impdef=on", "ttyAMA0", lends_console=False
    ),
    # Without the workarounds that a processor of that kind would need, and QEMU does not have.
    "ppc64le": Board(
        "pseries,x-vof=on,usb=off,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off",
        "power9",
        "hvc0",
        rescans=False,  # what is on its bus is written in a tree of devices
        lends_console=False,
    ),
    "riscv64": Board("virt,usb=off", "rv64", "ttyS0"),
    "s390x": Board("s390-ccw-virtio", "max", "ttysclp0", bus="ccw", lends_console=False),
}
