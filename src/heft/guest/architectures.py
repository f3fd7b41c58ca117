"""Architectures that a guest can have, and what of Heft's is other for each. Pure.

They are named in the words of OCI. Guests of another than the host's are foreign: their code is
translated.
"""

from __future__ import annotations

from dataclasses import dataclass

from heft.errors import NotSupported

NATIVE = "amd64"
"""What a guest is where nothing else is said: the one whose kernels and clocks Heft can tune."""
_SAME_KERNEL = {"": NATIVE, "386": NATIVE}
"""What runs on the kernel of another."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """One architecture, in the words of OCI."""

    name: str
    kit: str
    """The guest kit of machines that ask for none."""
    agent: str
    """The file name of its guest agent."""
    qemu: str
    """The program that is its hardware."""
    needs: str = "make foreign"
    """What brings that, and what the agent is made with."""
    least: int = 128
    """MiB of memory; with less its kernel does not come up, or has nothing left for a workload."""
    step: int = 1
    """MiB that its memory comes in."""

    @property
    def debian(self) -> str:
        """What Debian calls it."""
        return _DEBIAN.get(self.name, self.name)


_DEBIAN = {"ppc64le": "ppc64el"}
"""What Debian calls those whose names differ."""

ALL = {
    each.name: each
    for each in (
        Architecture("amd64", "debian", "heft-agent", "qemu-system-x86_64"),
        Architecture("arm64", "debian-arm64", "heft-agent-arm64", "qemu-system-aarch64"),
        Architecture(
            *("ppc64le", "debian-ppc64el", "heft-agent-ppc64le", "qemu-system-ppc64"),
            "apt-get install qemu-system-ppc gcc-powerpc64le-linux-gnu libc6-dev-ppc64el-cross;"
            " make up",
            step=256,
        ),
        Architecture(
            *("riscv64", "debian-riscv64", "heft-agent-riscv64", "qemu-system-riscv64"),
            "apt-get install qemu-system-misc gcc-riscv64-linux-gnu libc6-dev-riscv64-cross;"
            " make up",
            least=160,
        ),
        Architecture("s390x", "debian-s390x", "heft-agent-s390x", "qemu-system-s390x"),
    )
}


def of_platform(platform: str) -> Architecture:
    """Give what a guest for `os/architecture[/variant]` has. Raises `NotSupported`."""
    named = (*platform.split("/"), "")[1]
    found = ALL.get(_SAME_KERNEL.get(named, named))
    if found is None:
        raise NotSupported(
            f"no machine with a kernel of its own can be of {platform}",
            hint=f"there are: {', '.join(f'linux/{name}' for name in ALL)}",
        )
    return found


def of_kit(name: str) -> Architecture:
    """Give what a kit of this name is for."""
    return next((each for each in ALL.values() if each.kit == name), ALL[NATIVE])
