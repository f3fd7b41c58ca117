"""Kernels from the distribution's own packages: fetched with apt, unpacked, never installed.

apt works with directories of Heft's own, so that the host's package lists stay as they are; where
packages come from, and which keys their lists must be signed with, is what the host says.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import HostError, NotFound
from heft.failures import translated
from heft.host.processes import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FETCH_SECONDS = 900.0
_CONFIGURATION = "".join(
    f"#clear {name};\n"
    for name in (
        "APT::Update::Pre-Invoke",
        "APT::Update::Post-Invoke",
        "APT::Update::Post-Invoke-Success",
    )
)
"""The host's own hooks are for the host's own lists (apt.conf(5)); read after its other files."""
_DEPENDS = re.compile(r"^\s*Depends: (linux-image-\S+)$", re.MULTILINE)
_VERSION = re.compile(r"^Version: (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What a kernel's package holds: `tree` has `boot/vmlinuz-RELEASE` and `lib/modules`."""

    package: str
    version: str
    tree: Path


async def fetch(
    place: Path, package: str, architecture: str, report: Callable[[str], object]
) -> Unpacked:
    """Fetch and unpack a kernel into a directory of the caller's, with all that comes on the way.

    `package` may be one that only names the newest (`linux-image-amd64`). Raises `NotFound` where
    the archives have none, `ToolFailed`, `HostError`.
    """
    options = _options(place, architecture)
    with translated(f"prepare {place}"):
        for name in ("lists/partial", "cache/archives/partial", "download", "tree"):
            (place / name).mkdir(parents=True)
        (place / "status").touch()
    with translated(f"prepare {place}"):
        (place / "apt.conf").write_text(_CONFIGURATION)
    environment = {**os.environ, "APT_CONFIG": str(place / "apt.conf")}
    report("Reading package lists")
    await run("apt-get", *options, "-q", "update", env=environment, seconds=FETCH_SECONDS)
    name, version = await _resolve(options, package)
    report(f"Downloading {name} {version}")
    await run(
        *("apt-get", *options, "-q", "download", f"{name}={version}"),
        cwd=place / "download",
        seconds=FETCH_SECONDS,
    )
    found = list((place / "download").glob("*.deb"))
    if len(found) != 1:
        raise HostError(f"apt has not downloaded {name}")
    report(f"Unpacking {name}")
    await run("dpkg-deb", "-x", str(found[0]), str(place / "tree"), seconds=FETCH_SECONDS)
    return Unpacked(name, version, place / "tree")


def _options(place: Path, architecture: str) -> list[str]:
    settings = {
        "Dir::State": place,
        "Dir::State::Lists": place / "lists",
        "Dir::State::Status": place / "status",
        "Dir::Cache": place / "cache",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


async def _resolve(options: list[str], package: str) -> tuple[str, str]:
    """Give the name and the version of the package that really holds the kernel."""
    version = ""
    for _ in range(2):
        done = await run("apt-cache", *options, "show", "--no-all-versions", package, check=False)
        text = done.stdout.decode(errors="replace")
        found = _VERSION.search(text)
        if done.status or found is None:
            raise NotFound(
                f"the package archives of this host have no {package}",
                hint="heft kit pull takes a kernel of your own too",
            )
        version = found[1]
        depends = await run("apt-cache", *options, "depends", package)
        further = _DEPENDS.search(depends.stdout.decode(errors="replace"))
        if further is None:
            break
        package = further[1]
    return package, version
