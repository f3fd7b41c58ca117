"""A Debian that boots as a whole system, with all that Heft and its tests need to run in it.

Made once, before the tests leave the host's network: the packages of the same Debian as this host
is. The sources, and the Python environment that the tests run in, come with every image of it, at
the places that they have here.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.harness import agent

SOURCES = Path(__file__).parents[2]
FURTHER = (
    *("systemd-sysv", "dbus", "udev", "libpam-systemd", "iputils-ping", "erofs-utils", "openssl"),
    *("xz-utils", "zstd"),
)
"""Packages besides those that Heft runs on."""
LEFT_OUT = ("man", "doc", "locale", "info")
"""Of /usr/share: nobody reads there."""
NOT_TAKEN = frozenset({".git", "node_modules", ".mypy_cache", ".ruff_cache", ".hypothesis"})
NO_LIBRARIES = frozenset({"mypy", "mypyc", "ruff", "schemathesis"})
"""What is large, and no test in there needs."""


def packages() -> list[str]:
    """Give the names of all packages to be in it."""
    lines = (SOURCES / "packaging" / "packages.run").read_text().splitlines()
    named = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    return sorted({*named, *FURTHER})


def suite() -> str:
    """Give the Debian that this host is."""
    lines = Path("/etc/os-release").read_text().splitlines()
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return fields["VERSION_CODENAME"].strip('"')


def path() -> Path:
    """Give where it is, or is to be, as a tar."""
    key = hashlib.sha256(" ".join([suite(), *packages()]).encode()).hexdigest()[:16]
    return agent.BUILDS / f"system-{key}.tar"


def image(place: Path, *, further: tuple[Path, ...] = ()) -> Path:
    """Make the tar of an image with the sources in it, and of `further` files and directories."""
    assert path().exists(), "packaging/test-environment.sh has not made it"
    target = place / "system.tar"
    shutil.copyfile(path(), target)
    with tarfile.open(target, "a") as tar:
        add_sources(tar, *further)
        # The sources may be in /tmp, which is emptied at the boot else (tmpfiles.d(5)).
        emptied = tarfile.TarInfo("etc/tmpfiles.d/tmp.conf")
        emptied.type, emptied.linkname = tarfile.SYMTYPE, "/dev/null"
        tar.addfile(emptied)
    return target


def add_sources(tar: tarfile.TarFile, *further: Path) -> None:
    """Add the sources, what tests need besides packages, and `further` files, at their places."""
    docker = shutil.which("docker")
    assert docker is not None
    tar.add(SOURCES, SOURCES, filter=_taken)
    for each in (agent.built(), *further):
        tar.add(each, each)
    tar.add(os.path.realpath(docker), "usr/local/bin/docker")


def _taken(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    path = Path("/", entry.name)
    is_build = path == agent.BUILDS
    is_library = path.parent.name == "site-packages" and path.name.split("-")[0] in NO_LIBRARIES
    return None if is_build or is_library or path.name in NOT_TAKEN else entry


def make() -> None:
    """Make the tar of its packages."""
    agent.BUILDS.mkdir(exist_ok=True)
    for old in agent.BUILDS.glob("system-*"):
        old.unlink()
    new = path().with_suffix(".new")
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT]
    command = [
        *("mmdebstrap", "--quiet", "--variant=minbase", "--format=tar"),
        *(f"--include={','.join(packages())}", "--aptopt=APT::Install-Recommends false"),
        *(*excluded, suite(), new),
    ]
    subprocess.run(command, check=True)
    new.rename(path())


def main() -> None:
    """Make it, if it is not there."""
    if not path().exists():
        sys.stderr.write("==> A Debian that boots, for the tests\n")
        make()


if __name__ == "__main__":
    main()
