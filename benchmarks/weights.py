"""A change of weight, and how long it takes to measure them all."""

import time

from benchmarks.bench import Bench
from benchmarks.engines import IMAGE
from benchmarks.measure import Sample
from benchmarks.rows import Outcome, Row, ms
from benchmarks.shares import give_kit

NAME = "bench-weight"
FILES, SIZE = 200, 250_000
"""50 MB."""


def measure(bench: Bench) -> Outcome:
    """Take one machine to and fro, then weigh its image."""
    give_kit(bench)
    heft = bench.heft
    write = f"for i in $(seq {FILES}); do head -c {SIZE} /dev/urandom > /srv/$i; done"
    heft.say(heft.run("--name", NAME, "--network", "none", IMAGE, "sh", "-c", write))
    taken: dict[str, list[float]] = {"heavy": [], "light": []}
    for _ in range(bench.few(5)):
        for weight, times in taken.items():
            begin = time.monotonic()
            heft.do("update", "--weight", weight, NAME)
            times.append((time.monotonic() - begin) * 1000)
    heft.do("rm", NAME)
    begin = time.monotonic()
    heft.do("weigh", "--quiet", IMAGE)
    weighed = time.monotonic() - begin
    changes = {weight: Sample(tuple(times)) for weight, times in taken.items()}
    rows = [
        Row(f"`heft update --weight {to}`, 50 MB written", 1000, "ms", one.median, ms(one))
        for to, one in changes.items()
    ]
    rows.append(Row("`heft weigh IMAGE`, whole", 60, "s", weighed, ""))
    return Outcome(tuple(rows), {})
