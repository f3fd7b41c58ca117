"""Kernels from the distribution's own packages: fetched with apt, unpacked, never installed.

apt works with directories, a configuration and a list of sources of Heft's own, so that the host's
package lists stay as they are. Which of the host's sources are of Debian's archive, which keys its
lists must be signed with, and through which proxy, is what the host says (`apt_sources`). apt and
what it starts to download end with the daemon.
"""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heft.errors import HostError, NotFound, ToolFailed
from heft.failures import translated
from heft.guest import apt_sources, module_disk, module_tree
from heft.host.processes import Completed, run

if TYPE_CHECKING:
    from collections.abc import Callable

FETCH_SECONDS = 900.0
USER_MODE = "user-mode-linux"
"""The package of a kernel that is a program; its files have other places."""
_PROGRAM, _ITS_MODULES = "usr/bin/linux.uml", "usr/lib/uml/modules"
_ETC = Path("/etc/apt")
_HOOK = re.compile(r"^[\w:-]*::(?:Pre|Post)-Invoke\b")
"""The host's own hooks are for the host's own lists (apt.conf(5))."""
_DEPENDS = re.compile(r"^\s*Depends: (linux-image-\S+)$", re.MULTILINE)
_MISSED = re.compile(r"^W: Failed to fetch (.+)$", re.MULTILINE)
_VERSION = re.compile(r"^Version: (\S+)$", re.MULTILINE)
_TIED = ("setpriv", "--pdeathsig", "KILL")
_UNPACK = " | ".join(
    f"{' '.join(_TIED)} {command}" for command in ('dpkg-deb --fsys-tarfile "$0"', 'tar -x -C "$@"')
)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What is needed of a kernel's package: its kernel file and the directory of its modules."""

    package: str
    version: str
    kernel: Path
    modules: Path


async def fetch(
    place: Path, package: str, architecture: str, report: Callable[[str], object]
) -> Fetched:
    """Fetch an architecture's kernel to a directory that is made, with all that comes by the way.

    `package` may be one that only names the newest (`linux-image-amd64`). Raises `NotFound` where
    the archives have none, `ToolFailed`, `HostError`, also where they cannot be reached.
    """
    apt = await _Apt.prepared(place, architecture)
    report("Reading package lists")
    missed = await apt.update()
    try:
        name, version = await _resolve(apt, package)
    except NotFound as error:
        if not missed:
            raise
        raise HostError(
            f"no {package} was found, and package lists could not be fetched: {missed}",
            hint="mend the network, the proxy or the package sources of this host",
        ) from error
    report(f"Downloading {name} {version}")
    await apt.run("apt-get", "-q", "download", f"{name}={version}", cwd=place / "download")
    found = list((place / "download").glob("*.deb"))
    if len(found) != 1:
        raise HostError(f"apt has not downloaded {name}")
    report(f"Unpacking {name}")
    return await _unpacked(found[0], place / "tree", name, version)


@dataclass(frozen=True, slots=True)
class _Apt:
    """apt with a configuration of its own."""

    environment: dict[str, str]

    @classmethod
    async def prepared(cls, place: Path, architecture: str) -> _Apt:
        """Make the directories and the configuration. Raises `NotFound`, `HostError`."""
        host = await run("apt-config", "dump")
        sources = await asyncio.to_thread(_sources)
        if not sources:
            raise NotFound(
                "no package source of this host is of Debian's archive",
                hint="heft kit pull --kernel takes a kernel of your own",
            )
        configuration = _configuration(host.stdout.decode(errors="replace"), place, architecture)
        with translated(f"prepare {place}"):
            place.mkdir(mode=0o755)
            for name in ("lists/partial", "cache/archives/partial", "download", "tree", "none"):
                (place / name).mkdir(parents=True)
            (place / "status").touch()
            (place / "archive.sources").write_text(sources)
            (place / "apt.conf").write_text(configuration)
            user = await run("id", "-u", "_apt", check=False)
            if not user.status:
                os.chown(place / "download", int(user.stdout), -1)
        return cls({**os.environ, "APT_CONFIG": str(place / "apt.conf"), "LC_ALL": "C.UTF-8"})

    async def update(self) -> str:
        """Fetch the package lists; say why one is missing (that is no error to apt)."""
        done = await self._done("apt-get", "-q", "update")
        missed = _MISSED.search(done.stderr.decode(errors="replace"))
        return " ".join(missed[1].split()) if missed else ""

    async def run(self, *command: str, cwd: Path | None = None, check: bool = True) -> str:
        """Run one of its programs; give what it says, empty where it fails and may."""
        done = await self._done(*command, cwd=cwd, check=check)
        return "" if done.status else done.stdout.decode(errors="replace")

    async def _done(self, *command: str, cwd: Path | None = None, check: bool = True) -> Completed:
        return await _tied(*command, env=self.environment, cwd=cwd, check=check)


async def _tied(
    *command: str,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
) -> Completed:
    """Run a program that ends with the daemon; where it fails, the error has its name."""
    done = await run(*_TIED, *command, env=env, cwd=cwd, check=False, seconds=FETCH_SECONDS)
    if check and done.status:
        raise ToolFailed(command, done.status, done.stderr.decode(errors="replace"))
    return done


def _sources() -> str:
    """Give the host's sources of the archive. Raises `HostError`."""
    parts = sorted((_ETC / "sources.list.d").glob("*"))
    lists = [_ETC / "sources.list", *(path for path in parts if path.suffix == ".list")]
    with translated("read the package sources of this host"):
        return apt_sources.of_archive(
            [path.read_text(errors="replace") for path in lists if path.is_file()],
            [path.read_text(errors="replace") for path in parts if path.suffix == ".sources"],
        )


def _configuration(host: str, place: Path, architecture: str) -> str:
    """Give the host's settings without its hooks, and what is other here.

    The file of `APT_CONFIG` is read before the host's own (apt.conf(5)), which are not read then.
    """
    kept = [line for line in host.splitlines() if not _HOOK.match(line)]
    settings = {
        "Dir::Etc::Main": "/dev/null",
        "Dir::Etc::Parts": place / "none",
        "Dir::Etc::SourceList": place / "archive.sources",
        "Dir::Etc::SourceParts": place / "none",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": place / "none",
        "Dir::State": place,
        "Dir::State::Lists": place / "lists",
        "Dir::State::Status": place / "status",
        "Dir::Cache": place / "cache",
        "APT::Architecture": architecture,
        "APT::Get::AllowUnauthenticated": "false",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::Languages": "none",
    }
    cleared = (
        "APT::Architectures",
        "Acquire::Languages",
        "Acquire::IndexTargets::deb::Contents-deb",
    )
    return "\n".join(
        (
            *kept,
            *(f"#clear {name};" for name in cleared),
            *(f'{name} "{value}";' for name, value in settings.items()),
            f'APT::Architectures:: "{architecture}";\n',
        )
    )


async def _resolve(apt: _Apt, package: str) -> tuple[str, str]:
    """Give the name and the version of the package that really holds the kernel."""
    version = ""
    for _ in range(2):
        text = await apt.run("apt-cache", "show", "--no-all-versions", package, check=False)
        found = _VERSION.search(text)
        if found is None:
            raise NotFound(
                f"the package archives of this host have no {package}",
                hint="heft kit pull --kernel takes a kernel of your own too",
            )
        version = found[1]
        further = _DEPENDS.search(await apt.run("apt-cache", "depends", package))
        if further is None:
            break
        package = further[1]
    return package, version


async def _unpacked(archive: Path, tree: Path, package: str, version: str) -> Fetched:
    """Unpack the kernel and its modules, without those of hardware that no guest has."""
    left_out = (f"--exclude=*/kernel/{name}" for name in module_disk.HARDWARE)
    wanted = ("--wildcards", "./boot/vmlinu[xz]-*", "./*lib/modules/*")
    if package == USER_MODE:
        wanted = ("--wildcards", f"./{_PROGRAM}", f"./{_ITS_MODULES}/*")
    await _tied(
        *("bash", "-o", "pipefail", "-c", _UNPACK, str(archive), str(tree)),
        *("--no-same-owner", *left_out, *wanted),
    )
    if package == USER_MODE:
        return _program(tree, version)
    kernels = list((tree / "boot").glob("vmlinu[xz]-*"))
    if len(kernels) != 1:
        raise HostError(f"{package} holds {len(kernels)} kernels, not one")
    modules = module_tree.place(tree, kernels[0].name.partition("-")[2])
    if modules is None:
        raise HostError(f"{package} has no modules for {kernels[0].name}")
    return Fetched(package, version, kernels[0], modules)


def _program(tree: Path, version: str) -> Fetched:
    """Give a kernel that is a program; its modules go to where those of others are."""
    releases = list((tree / _ITS_MODULES).glob("*"))
    if len(releases) != 1 or not (tree / _PROGRAM).is_file():
        raise HostError(f"{USER_MODE} does not hold one kernel with its modules")
    modules = tree / "lib/modules" / releases[0].name
    with translated(f"unpack {USER_MODE}"):
        modules.parent.mkdir(parents=True)
        releases[0].rename(modules)
    return Fetched(USER_MODE, version, tree / _PROGRAM, modules)
