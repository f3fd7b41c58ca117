"""Debian's ports: what it calls the platforms of OCI, and how its packages are set up for another.

Packages are configured by programs of their own, so the host must be able to execute these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from heft.errors import InvalidArgument, NotSupported
from heft.host import emulated, emulators
from heft.images import configs, platforms

if TYPE_CHECKING:
    from heft.host.apt_sources import Source

_PORTS = {
    "linux/386": "i386",
    "linux/amd64": "amd64",
    "linux/arm/v5": "armel",
    "linux/arm/v6": "armel",
    "linux/arm/v7": "armhf",
    "linux/arm64": "arm64",
    "linux/ppc64le": "ppc64el",
    "linux/riscv64": "riscv64",
    "linux/s390x": "s390x",
}
_USUAL_VARIANT = {"linux/arm": "linux/arm/v7", "linux/arm64/v8": "linux/arm64"}
_FIRST = {"riscv64": ("trixie", ("buster", "bullseye", "bookworm"))}
"""The first release of a port, and those before it."""


@dataclass(frozen=True, slots=True)
class Port:
    """The port to be made; without a name it is the host's own."""

    name: str = ""
    platform: str = ""
    runner: tuple[str, ...] = ()
    """What to put before the command that makes it."""

    @property
    def options(self) -> tuple[str, ...]:
        """Give what mmdebstrap is told; that it looks for emulators itself is not wanted."""
        if not self.name:
            return ()
        return (f"--architectures={self.name}", "--skip=check/qemu")

    def release(self, asked: str, own: str) -> str:
        """Give the release to make: the one asked for, or that of the host if there is one.

        Raises `InvalidArgument`.
        """
        first, earlier = _FIRST.get(self.name, ("", ()))
        if asked in earlier:
            raise InvalidArgument(
                f"Debian {asked} was not made for {self.name}",
                hint=f"{first} is the first release that is",
            )
        return asked or (first if own in earlier else own)

    def source(self, source: Source) -> Source:
        """Give a source of the host's as one for this port."""
        if not self.name:
            return source
        options = tuple(option for option in source.options if option[0] != "arch")
        return replace(source, options=options)


def choose(platform: str) -> Port:
    """Give the port for a platform; empty: the host's.

    Raises `InvalidArgument` for what is none, `NotSupported` for what cannot be executed here.
    """
    own = platforms.host_architecture()
    parts = configs.platform_parts(platform)
    named = "/".join(filter(None, parts))
    named = _USUAL_VARIANT.get(named, named)
    if named == f"linux/{own}":
        return Port()
    if named not in _PORTS:
        raise InvalidArgument(
            f"Debian is not made for {named}", hint=f"it is for: {', '.join(_PORTS)}"
        )
    architecture = parts[1]
    emulator = emulators.needed(architecture)
    if emulator is None:
        if not emulators.can_execute(architecture):
            raise NotSupported(
                f"this host executes no programs of {named}, which making its Debian takes",
                hint="make foreign (Debian: qemu-user-static)",
            )
        return Port(_PORTS[named], named)
    if not emulators.are_namespaced():
        raise NotSupported(
            f"no emulator for {named} is registered with the host's kernel, and before Linux 6.7 it"
            " has no place for one of Heft's",
            hint="systemctl restart systemd-binfmt, or apt-get install binfmt-support",
        )
    return Port(_PORTS[named], named, emulated.command(architecture, emulator))
