"""Whether KVM really runs code here: a guest of three instructions.

/dev/kvm can exist, open, and make a virtual machine, and still never run one. The guest here is in
real mode; that a stock kernel boots is only known by booting one, which is the heavy weight's own
probe. Numbers and layouts are those of linux/kvm.h and asm/kvm.h of x86.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import struct
from typing import TYPE_CHECKING

from heft.doctor.check import State, lacking, there
from heft.doctor.child import Refused, attempt

if TYPE_CHECKING:
    from heft.doctor.check import Finding, Host

_GET_API_VERSION, _CREATE_VM, _GET_VCPU_MMAP_SIZE = 0xAE00, 0xAE01, 0xAE04
_CREATE_VCPU, _RUN = 0xAE41, 0xAE80
_SET_USER_MEMORY_REGION = 0x4020AE46
_SET_REGS, _GET_SREGS, _SET_SREGS = 0x4090AE82, 0x8138AE83, 0x4138AE84
_API_VERSION = 12
_SREGS_SIZE = 312
_CODE_SEGMENT_BASE, _CODE_SEGMENT_SELECTOR = 0, 12
_EXIT_REASON, _EXIT_DATA = 8, 32
_EXIT_IO, _EXIT_HLT = 2, 5

_MEMORY = 4096
_PORT = 0x10
_WORD = 42
_PROGRAM = bytes((0xB0, _WORD, 0xE6, _PORT, 0xF4))
"""mov $42, %al; out %al, $0x10; hlt."""


def probe(host: Host) -> Finding:
    """Open KVM, and on x86 have it run a guest that says 42; say what machines found of it."""
    found = attempt(lambda: _run(host))
    return chosen(host, found) if found.state is State.THERE else found


def chosen(host: Host, found: Finding) -> Finding:
    """Say what heavy machines run on where KVM runs code: what these do themselves, in short.

    Their QEMU is nobody's process, so that the device must be open to it; and how it went when a
    guest was booted is kept (`heft.weights.heavy.accelerators`).
    """
    device = os.stat(host.path("/dev/kvm"))
    to_group = device.st_gid and device.st_mode & 0o060 == 0o060
    if not to_group and device.st_mode & 0o006 != 0o006:
        return lacking("machines are translated (tcg): /dev/kvm is root's alone")
    tried = _tried(host)
    if any(each.get("accelerator") == "kvm" for each in tried):
        return there("machines run on it (kvm): a guest has booted on it")
    if tried:
        return lacking(f"machines are translated (tcg): {tried[0].get('why')}")
    return there(f"{found.detail}; the first machine tries it")


def _tried(host: Host) -> list[dict[str, str]]:
    """Read how guests have booted on this kernel of the host, by kit."""
    try:
        kept = json.loads(host.text(f"{host.data}/templates/kvm.json")).values()
        return [each for each in kept if each.get("release") == host.release]
    except (ValueError, AttributeError):
        return []


def _run(host: Host) -> str:
    kvm = os.open(host.path("/dev/kvm"), os.O_RDWR | os.O_CLOEXEC)
    version = fcntl.ioctl(kvm, _GET_API_VERSION, 0)
    if version != _API_VERSION:
        raise Refused(f"its interface is version {version}, not {_API_VERSION}")
    machine = fcntl.ioctl(kvm, _CREATE_VM, 0)
    if host.machine != "x86_64":
        return f"makes a machine (running one is not tried on {host.machine})"
    memory = mmap.mmap(-1, _MEMORY)
    memory[: len(_PROGRAM)] = _PROGRAM
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(machine, _SET_USER_MEMORY_REGION, struct.pack("IIQQQ", 0, 0, 0, _MEMORY, address))
    processor = fcntl.ioctl(machine, _CREATE_VCPU, 0)
    shared = mmap.mmap(processor, fcntl.ioctl(kvm, _GET_VCPU_MMAP_SIZE, 0))
    special = bytearray(_SREGS_SIZE)
    fcntl.ioctl(processor, _GET_SREGS, special)
    struct.pack_into("Q", special, _CODE_SEGMENT_BASE, 0)
    struct.pack_into("H", special, _CODE_SEGMENT_SELECTOR, 0)
    fcntl.ioctl(processor, _SET_SREGS, special)
    # Sixteen registers, the instruction pointer, and flags, of which bit 1 is always set.
    fcntl.ioctl(processor, _SET_REGS, struct.pack("18Q", *[0] * 17, 0x2))
    return _ran(processor, shared)


def _ran(processor: int, shared: mmap.mmap) -> str:
    fcntl.ioctl(processor, _RUN, 0)
    (reason,) = struct.unpack_from("I", shared, _EXIT_REASON)
    if reason != _EXIT_IO:
        raise Refused(f"a guest's first instructions ended with exit {reason}")
    direction, size, port, _, offset = struct.unpack_from("BBHIQ", shared, _EXIT_DATA)
    if (direction, size, port, shared[offset]) != (1, 1, _PORT, _WORD):
        raise Refused("a guest's first instructions came out wrong")
    fcntl.ioctl(processor, _RUN, 0)
    (reason,) = struct.unpack_from("I", shared, _EXIT_REASON)
    if reason != _EXIT_HLT:
        raise Refused(f"a guest could not halt: exit {reason}")
    return "ran a guest of three instructions (whether a kernel boots on it, only booting one says)"
