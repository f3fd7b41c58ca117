"""How fast what a machine writes gets to the client that is attached to it."""

import os
import subprocess
import time

from benchmarks.bench import DOCKERD, HEFT, Bench
from benchmarks.engines import IMAGE, Command, plain
from benchmarks.measure import Sample
from benchmarks.rows import Outcome, Row

ROUNDS = 3
SIZE = 1 << 30
"""Bytes, in lines of 80; they go into the log too, as they do without any option."""
SCRIPT = f"yes {'0123456789' * 8} | cut -c 1-79 | head -c {SIZE}"
_BLOCK = 1 << 20


def measure(bench: Bench) -> Outcome:
    """Measure both daemons in turns, with the same client."""
    run = ("run", "--rm", "--network", "none", IMAGE, "sh", "-c", SCRIPT)
    rates: dict[str, list[float]] = {name: [] for name in bench.clients}
    for _ in range(bench.few(ROUNDS)):
        for name, client in bench.clients.items():
            rates[name].append(rate((*client, *run)))
    heft, docker = (Sample(tuple(rates[name])) for name in (HEFT, DOCKERD))
    row = Row(
        "1 GiB from a machine's standard output to `docker run`: bytes a second, Heft ÷ dockerd",
        1.0,
        "÷",
        heft.median / docker.median,
        text(heft),
        text(docker),
        at_least=True,
    )
    return Outcome((row,), {})


def rate(command: Command) -> float:
    """Give the MB/s from the first byte of what a command writes to the last."""
    process = subprocess.Popen(command, env=plain(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    reading, block = process.stdout.fileno(), bytearray(_BLOCK)
    first = count = os.readv(reading, [block])
    begin = time.perf_counter()
    total = 0
    while count:
        total += count
        count = os.readv(reading, [block])
    seconds = time.perf_counter() - begin
    if process.wait() or total != SIZE:
        raise RuntimeError(f"{' '.join(command)}: {total} of {SIZE} bytes")
    return (total - first) / seconds / 1e6


def text(sample: Sample) -> str:
    """Give the median, and of how many runs."""
    return f"{sample.median:.0f} MB/s ({len(sample.values)} runs)"
