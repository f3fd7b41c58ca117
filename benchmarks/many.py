"""A thousand machines from one image, as an API client in one process gets them."""

import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks import api, crowd
from benchmarks.bench import Bench, say
from benchmarks.rows import Outcome, Row

MACHINES = 1000
CONNECTIONS = 4
"""That the client has open at a time, each with one request after another."""


def measure(bench: Bench) -> Outcome:
    """Time `MACHINES` times what `run -d --network none` asks for: create and start."""
    taken = thousand(bench)
    crowd.clear(bench.heft)
    what = f"{MACHINES} machines `run -d --network none` by one API client"
    shown = f"{taken:.1f} s, {taken / MACHINES * 1000:.1f} ms each (once)"
    return Outcome((Row(what, 20, "s", taken, shown),), {})


def thousand(bench: Bench) -> float:
    """Give the seconds."""
    say(f"{MACHINES} machines")
    begin = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        done = [
            pool.submit(api.run_many, bench.heft, MACHINES // CONNECTIONS)
            for _ in range(CONNECTIONS)
        ]
        for each in done:
            each.result()
    return time.perf_counter() - begin
