"""The most memory that Heft's daemon and its children take while something goes on."""

import contextlib
import threading
from pathlib import Path
from typing import Self

from benchmarks.rows import Row

BETWEEN_SECONDS = 0.1
BOUND = 150.0
"""MiB of the daemon."""


class Peak:
    """The daemon's own, which the kernel keeps (proc(5), VmHWM), and its children's, looked at."""

    def __init__(self, daemon: int) -> None:
        self._daemon = daemon
        self._children = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        Path(f"/proc/{self._daemon}/clear_refs").write_text("5")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(BETWEEN_SECONDS):
            self._children = max(self._children, sum(map(_proportional, _children(self._daemon))))

    def row(self, during: str) -> Row:
        """Give the page's line."""
        value = _field(Path(f"/proc/{self._daemon}/status"), "VmHWM")
        shown = f"{value:.0f} MiB; its children {self._children:.0f} MiB more (PSS)"
        return Row(f"peak of the daemon's resident memory {during}", BOUND, "MiB", value, shown)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def _proportional(pid: int) -> float:
    with contextlib.suppress(OSError):
        return _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss")
    return 0.0


def _field(path: Path, wanted: str) -> float:
    """Give a field that is in KiB, in MiB; nothing of a process that is just ending."""
    for line in path.read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == wanted:
            return int(rest.split()[0]) / 1024
    return 0.0
