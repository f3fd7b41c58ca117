"""Timing: interleaved, warmed up, and told by medians."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

Action = Callable[[], None]


@dataclass(frozen=True)
class Sample:
    """What was measured, in one unit, many times."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        if len(self.values) < 2:
            return self.values[0], self.values[0]
        low, _, high = quantiles(self.values, n=4)
        return low, high


@dataclass(frozen=True)
class Case:
    """One thing to time. What `before` and `after` do is not timed."""

    action: Action
    after: Action = lambda: None
    before: Action = lambda: None


def command(argv: tuple[str, ...], environment: Mapping[str, str]) -> Action:
    """Give the running of a program; one that fails ends the benchmark with what it said."""

    def run() -> None:
        with tempfile.TemporaryFile() as said:
            code = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env=dict(environment),
            ).wait()
            if code:
                said.seek(0)
                raise RuntimeError(f"{' '.join(argv)}: {said.read().decode()}")

    return run


def seconds(action: Action) -> float:
    """Time one action."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def interleaved(cases: Mapping[str, Case], rounds: int, warm_up: int = 2) -> dict[str, Sample]:
    """Time all cases in turns, each round beginning with another; in milliseconds."""
    names = list(cases)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-warm_up, rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            cases[name].before()
            taken = seconds(cases[name].action) * 1000
            cases[name].after()
            if number >= 0:
                times[name].append(taken)
    return {name: Sample(tuple(values)) for name, values in times.items()}


def resident(pids: list[int]) -> tuple[float, float]:
    """Give the resident and the proportional memory of processes, in MiB (proc(5))."""
    rss = pss = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "Rss":
                rss += int(rest.split()[0])
            elif name == "Pss":
                pss += int(rest.split()[0])
    return rss / 1024, pss / 1024


def processor_share(pids: list[int], over: float) -> float:
    """Give the share of one processor that processes use at rest, in percent."""

    def used() -> int:
        total = 0
        for pid in pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total

    before = used()
    time.sleep(over)
    return (used() - before) / CLOCK_TICKS / over * 100


CLOCK_TICKS = 100
"""USER_HZ, as all architectures of Debian have it (proc(5))."""
