"""Debian from its packages, made with mmdebstrap(1) from the archives that the host uses."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from heft.errors import InvalidArgument, NotSupported
from heft.host import apt_sources, usage
from heft.images.templates import debian_ports
from heft.images.templates.base import Built, Option
from heft.images.templates.tool import tar_of

if TYPE_CHECKING:
    from heft.images.templates.base import Choices, Report
    from heft.images.templates.debian_ports import Port

APT = Path("/etc/apt")
OS_RELEASE = Path("/etc/os-release")
VARIANTS = ("essential", "apt", "required", "minbase", "buildd", "important", "standard")

_RELEASE = re.compile(r"[a-z][a-z0-9.-]*")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(?::[a-z0-9-]+)?(?:=[A-Za-z0-9.+~:-]+)?")
_MIRROR = re.compile(r"(?:https?|ftp|file|copy|mirror)[:+][^\s\[\]]+")
_HIDDEN = re.compile(
    r"I: (?:removing|automatically|chroot|using|finding|success|reading|running --|skipping)"
)
_MERGED = Path("/usr/share/mmdebstrap/hooks/maybe-merged-usr")
"""Makes /usr the one place of programs by links. Else the package `usrmerge` does, which brings
along all of Perl: 48 MB that nothing else in a small Debian has a use for."""
_SMALL = frozenset({"essential", "apt", "required", "minbase"})
_ROOM = 1 << 30
"""Bytes that a small set takes at most while it is made: some 120 MB of files, and the packages."""
_HOOKS = (
    # mmdebstrap copies the host's; machines get their own.
    ': > "$1/etc/hostname"; : > "$1/etc/resolv.conf"; chmod 644 "$1/etc/resolv.conf"'
    ' "$1/etc/hostname"',
)


class Debian:
    """Makes `debian:RELEASE`."""

    summary = "Debian from its packages, by mmdebstrap, from the archives that this host uses"
    options = (
        Option("release", "the release's code name (default: this host's)", positional=True),
        Option("variant", f"the package set: {', '.join(VARIANTS)} (default: minbase)"),
        Option("include", "packages to add, separated by commas", many=True),
        Option("mirror", "an archive to use in place of the host's", many=True),
        Option("platform", "the platform, as linux/arm64 (default: this host's)"),
    )

    async def build(self, choices: Choices, workplace: Path, report: Report) -> Built:
        """Start mmdebstrap; the packages are fetched while the tar is waited for."""
        if shutil.which("mmdebstrap") is None:
            raise NotSupported("mmdebstrap is not installed", hint="apt install mmdebstrap")
        port = await asyncio.to_thread(debian_ports.choose, choices.text("platform"))
        host = await asyncio.to_thread(_os_release)
        release = port.release(choices.text("release"), host.get("VERSION_CODENAME", ""))
        archives = await asyncio.to_thread(_archives, choices, host, release, port)
        variant = choices.text("variant", "minbase")
        packages = choices.texts("include")
        _check(release, variant, packages)
        report(f"Making Debian {release} ({', '.join(filter(None, (variant, port.name)))})")

        def line(text: str) -> None:
            if text.startswith("I: ") and not _HIDDEN.match(text):
                report(text[3].upper() + text[4:])

        tar = tar_of(
            _command(release, variant, packages, port),
            stdin=archives.encode(),
            directory=workplace,
            environment={**os.environ, "TMPDIR": str(workplace)},
            line=line,
            runner=(*port.runner, *_place(workplace, variant, packages)),
        )
        return Built(
            tar=tar,
            changes=('CMD ["bash"]',),
            names=tuple(
                "-".join(filter(None, (f"debian:{tag}", port.name))) for tag in (release, "latest")
            ),
            comment=f"heft bootstrap debian {release}, variant {variant}",
            platform=port.platform,
        )


def _command(release: str, variant: str, packages: tuple[str, ...], port: Port) -> tuple[str, ...]:
    included = (f"--include={','.join(packages)}",) if packages else ()
    hooks = [f"--customize-hook={hook}" for hook in _HOOKS]
    if _MERGED.is_dir():
        hooks.append(f"--hook-dir={_MERGED}")
    return (
        "mmdebstrap",
        "--mode=root",
        "--format=tar",
        f"--variant={variant}",
        *port.options,
        *included,
        *hooks,
        release,
        "-",
        "-",
    )


def _place(workplace: Path, variant: str, packages: tuple[str, ...]) -> tuple[str, ...]:
    """Give what has a command make its files in memory, where they are few and there is enough.

    dpkg waits for the disk at every package. The tmpfs is in a mount namespace of the command's
    own, and goes with it; where none can be mounted, the workplace is used as it is.
    """
    if variant not in _SMALL or packages or usage.available_memory() < 3 * _ROOM:
        return ()
    mount = f'mount -t tmpfs -o size={_ROOM},mode=755 heft-bootstrap "$0"; cd "$0"; exec "$@"'
    return ("unshare", "--mount", "--propagation", "slave", "sh", "-c", mount, str(workplace))


def _check(release: str, variant: str, packages: tuple[str, ...]) -> None:
    if not _RELEASE.fullmatch(release):
        raise InvalidArgument(f"invalid release {release!r}", hint="give a code name: bookworm")
    if variant not in VARIANTS:
        raise InvalidArgument(
            f"unknown variant {variant!r}", hint=f"there are: {', '.join(VARIANTS)}"
        )
    for package in packages:
        if not _PACKAGE.fullmatch(package):
            raise InvalidArgument(f"invalid name of a package: {package!r}")


def _os_release() -> dict[str, str]:
    """Read what this host is (os-release(5))."""
    lines = OS_RELEASE.read_text().splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name: value.strip("\"'") for name, _, value in pairs}


def _archives(choices: Choices, host: dict[str, str], release: str, port: Port) -> str:
    """Give the sources.list that the packages come from, and that the image will have."""
    if mirrors := choices.texts("mirror"):
        for mirror in mirrors:
            if not _MIRROR.fullmatch(mirror):
                raise InvalidArgument(f"invalid mirror {mirror!r}: an address is needed")
        return "".join(f"deb {mirror} {release} main\n" for mirror in mirrors)
    if host.get("ID") != "debian":
        raise NotSupported(
            f"this host is {host.get('ID', 'unknown')}, and has no archives of Debian",
            hint="name one with --mirror, and a release",
        )
    found = apt_sources.for_release(
        apt_sources.of_host(APT), host.get("VERSION_CODENAME", ""), release
    )
    if not found:
        raise NotSupported(
            f"the apt sources of this host have no archive of {host.get('PRETTY_NAME', 'Debian')}",
            hint="name one with --mirror",
        )
    return "".join(f"{port.source(source).line()}\n" for source in found)
