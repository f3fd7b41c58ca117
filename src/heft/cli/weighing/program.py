"""What measures: a small program that the daemon has, run here, or given to a machine.

It and what it says are described in agent/weigh.c.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile
import tempfile
import time

from heft.cli.failures import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from heft.cli.client import Client
    from heft.cli.weighing.figures import Column

NAME = ".heft-weigh"
"""Its name at the root of a machine."""
FIRST, IDLE = "first", "idle"


def fetch(client: Client, platform: str = "") -> bytes:
    """Give the program for a platform. Raises `Refusal` where there is none."""
    return client.open("GET", "/heft/v1/probe", {"platform": platform}).read()


def packed(program: bytes) -> bytes:
    """Give it as a tar."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        entry = tarfile.TarInfo(NAME)
        entry.size, entry.mode = len(program), 0o755
        tar.addfile(entry, io.BytesIO(program))
    return target.getvalue()


class Results:
    """Takes what it says, line by line, as values of a column."""

    def __init__(self, column: Column) -> None:
        self._column = column
        self._held = b""
        self.first = 0.0
        """When it said its first word (time.monotonic); 0: it has not yet."""
        self.idle = False

    def take(self, data: bytes) -> None:
        """Take a piece of output."""
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            name, _, number = line.strip().decode(errors="replace").partition(" ")
            if name == FIRST:
                self.first = time.monotonic()
            elif name == IDLE:
                self.idle = True
            else:
                with contextlib.suppress(ValueError):
                    self._column.values[name] = float(number)


@contextlib.contextmanager
def here(program: bytes) -> Iterator[str]:
    """Give the path of the program on this host."""
    with tempfile.TemporaryDirectory(prefix="heft-weigh-") as directory:
        path = os.path.join(directory, "heft-weigh")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700), "wb") as file:
            file.write(program)
        yield path


@contextlib.contextmanager
def sink(path: str, address: str) -> Iterator[tuple[str, str] | None]:
    """Take what is sent to an address of this host; give it and a port, None if it is not ours."""
    with _running([path, "sink", address], stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        port = process.stdout.readline().decode().strip()
        yield (address, port) if port else None


def natively(path: str, column: Column, to: tuple[str, str] | None) -> None:
    """Measure this host itself; files are in /var/tmp."""
    results = Results(column)
    begun = time.monotonic()
    with _running([path, "measure", "/var/tmp", *(to or ())], stdin=subprocess.PIPE) as process:  # noqa: S108
        assert process.stdout is not None
        while not results.idle:
            data = os.read(process.stdout.fileno(), 4096)
            if not data:
                raise Failure("the program that measures this host was ended")
            results.take(data)
            if results.first and "warm" not in column.values:
                column.values["warm"] = results.first - begun
                column.values["memory"] = _memory(process.pid)


def _memory(pid: int) -> int:
    """Give the bytes of memory that a process has, of what is shared its part (proc(5))."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))


@contextlib.contextmanager
def _running(
    command: list[str], *, stdin: int = subprocess.DEVNULL, stderr: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
