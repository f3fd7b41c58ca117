"""The smallest image that is of use: the distribution's static busybox, with all its applets.

The tar is the same whenever the program is: its times are those of the program's file, which the
distribution's package sets.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from heft.errors import HostError, NotSupported
from heft.host import elf
from heft.host.processes import run
from heft.images import configs, platforms
from heft.images.templates.base import Built, Option

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from heft.images.templates.base import Choices, Report

_BLOCK = 1 << 20
_DIRECTORIES = {
    "bin": 0o755,
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "sbin": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "usr": 0o755,
    "usr/bin": 0o755,
    "usr/sbin": 0o755,
    "var": 0o755,
    "var/log": 0o755,
    "var/spool": 0o755,
    "var/tmp": 0o1777,
}
_FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
        "bin:x:2:2:bin:/bin:/bin/false\n"
        "www-data:x:33:33:www-data:/var/www:/bin/false\n"
        "nobody:x:65534:65534:nobody:/home:/bin/false\n"
    ),
    "etc/group": (
        "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\nwheel:x:10:\n"
        "www-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n"
    ),
    "etc/shadow": "root:*:::::::\nnobody:*:::::::\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/hostname": "",
    "etc/hosts": "",
    "etc/resolv.conf": "",
}
_PRIVATE = frozenset({"etc/shadow"})


class Busybox:
    """Makes `busybox:latest`."""

    summary = "about 2 MB: the distribution's static busybox"
    options: tuple[Option, ...] = ()

    async def build(self, choices: Choices, workplace: Path, report: Report) -> Built:  # noqa: ARG002 - as templates are built
        """Put the program, its links and a few files into a tar."""
        program = _find()
        content = await asyncio.to_thread(program.read_bytes)
        _check(program, content)
        listed = await run(str(program), "--list-full")
        links = [line for line in listed.stdout.decode().split() if line != "linuxrc"]
        modified = int(program.stat().st_mtime)
        report(f"Packing {program} and {len(links)} links")
        tar = await asyncio.to_thread(_pack, content, links, modified)
        return Built(
            tar=_blocks(tar),
            changes=('CMD ["sh"]',),
            names=("busybox:latest",),
            comment=f"heft bootstrap busybox, of {program}",
            created=configs.text_of(modified * 10**9),
        )


def _find() -> Path:
    found = shutil.which("busybox", path="/bin:/usr/bin:/sbin:/usr/sbin:/usr/local/bin")
    if found is None:
        raise NotSupported("busybox is not installed", hint="apt install busybox-static")
    return Path(found)


def _check(program: Path, content: bytes) -> None:
    """Raise `NotSupported` unless the program runs here, and all by itself."""
    known = elf.read(content)
    if known is None or known.architecture != platforms.host_architecture():
        raise NotSupported(f"{program} is no program for this machine")
    if not known.static:
        raise NotSupported(f"{program} is not statically linked", hint="apt install busybox-static")


def _pack(content: bytes, links: list[str], modified: int) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as tar:

        def entry(path: str, kind: bytes, mode: int, data: bytes = b"", link: str = "") -> None:
            info = tarfile.TarInfo(path)
            info.type, info.mode, info.linkname = kind, mode, link
            info.size, info.mtime = len(data), modified
            info.uname = info.gname = "root"
            tar.addfile(info, io.BytesIO(data))

        for path, mode in _DIRECTORIES.items():
            entry(path, tarfile.DIRTYPE, mode)
        entry("bin/busybox", tarfile.REGTYPE, 0o755, content)
        for path, text in _FILES.items():
            entry(path, tarfile.REGTYPE, 0o640 if path in _PRIVATE else 0o644, text.encode())
        for path in sorted(set(links) - {"bin/busybox"}):
            if path.rpartition("/")[0] not in _DIRECTORIES:
                raise HostError(f"busybox wants a link at {path!r}, where no directory is")
            entry(path, tarfile.SYMTYPE, 0o777, link="/bin/busybox")
    return target.getvalue()


async def _blocks(tar: bytes) -> AsyncGenerator[bytes, None]:
    for at in range(0, len(tar), _BLOCK):
        yield tar[at : at + _BLOCK]
