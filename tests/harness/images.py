"""A small real image: the distribution's static busybox, with its applets."""

import functools
import io
import subprocess
import tarfile
from pathlib import Path

BUSYBOX = "busybox"
BINARY = "/bin/busybox"

FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
    "user:x:1000:1000:user:/home/user:/bin/sh\n",
    "etc/group": "root:x:0:\nusers:x:100:user\nuser:x:1000:\nnogroup:x:65534:\n",
}
DIRECTORIES = ("bin", "dev", "etc", "home/user", "proc", "root", "sys", "tmp", "usr/bin", "var")


@functools.cache
def busybox_tar(mark: str = "", program: str | Path = BINARY) -> bytes:
    """Give a root file system as a tar; another `mark` or `program`, another image."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for path in DIRECTORIES:
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if path == "tmp" else 0o755
            tar.addfile(entry)
        tar.add(program, "bin/busybox")
        for path, text in {**FILES, "etc/mark": mark}.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
        for name in _applets():
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "/bin/busybox"
            tar.addfile(entry)
    return target.getvalue()


def _applets() -> list[str]:
    listing = subprocess.run([BINARY, "--list"], capture_output=True, text=True, check=True)
    return [name for name in listing.stdout.split() if name != "busybox"]
