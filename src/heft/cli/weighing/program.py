"""What measures: a small program that the daemon has, run here, or given to a machine.

It and what it says are described in agent/weigh.c.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile
import time

from heft.cli.failures import Failure
from heft.cli.frames import write_all

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
def here(program: bytes) -> Iterator[int]:
    """Give the program on this host: a file in memory, which goes with who has it open."""
    file = os.memfd_create(NAME)
    try:
        write_all(file, program)
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def sink(program: int, address: str) -> Iterator[tuple[str, str] | None]:
    """Take what is sent to an address of this host; give it and a port, None if it is not ours."""
    with _running(program, "sink", address, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        port = process.stdout.readline().decode().strip()
        yield (address, port) if port else None


def natively(program: int, column: Column, to: tuple[str, str] | None) -> None:
    """Measure this host itself; files are in /var/tmp."""
    results = Results(column)
    begun = time.monotonic()
    words = ("measure", "/var/tmp", *(to or ()))  # noqa: S108 - files there have no names
    with _running(program, *words, stdin=subprocess.PIPE) as process:
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
    program: int, *words: str, stdin: int = subprocess.DEVNULL, stderr: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [f"/proc/self/fd/{program}", *words],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        pass_fds=[program],
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
