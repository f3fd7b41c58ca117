"""Many machines started some at a time, and the list of many more."""

import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks import api, crowd
from benchmarks.bench import DOCKERD, HEFT, Bench
from benchmarks.engines import plain
from benchmarks.measure import Case, Sample, command, interleaved
from benchmarks.rows import Outcome, Row, ms, ratio

LISTED, RUNNING = 500, 100
AT_ONCE = 8


def measure(bench: Bench) -> Outcome:
    """Make the machines with both daemons, start some, list all in turns."""
    starting = {}
    for name, engine in ((HEFT, bench.heft), (DOCKERD, bench.docker)):
        made = api.create_many(engine, LISTED, AT_ONCE)
        begin = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda one, to=engine: api.start(to, one), made[:RUNNING]))
        starting[name] = Sample(((time.perf_counter() - begin) * 1000,))
    commands = {
        f"{name}, ps -a of {LISTED}": ((*client, "ps", "--all"), plain())
        for name, client in bench.clients.items()
    }
    own = f"heft, ps -a of {LISTED}"
    commands[own] = (bench.heft.command("ps", "--all"), bench.heft.environment)
    found = interleaved({name: Case(command(*it)) for name, it in commands.items()}, bench.rounds)
    for engine in (bench.heft, bench.docker):
        crowd.clear(engine)
    listed = f"of {LISTED} machines, {RUNNING} running"
    through, other = (found[f"{name}, ps -a of {LISTED}"] for name in (HEFT, DOCKERD))
    rows = (
        ratio(f"`docker ps -a` {listed}, Heft ÷ dockerd", 1.0, through, other),
        Row(f"`heft ps -a` {listed}", 30, "ms", found[own].median, ms(found[own])),
        ratio(
            f"{RUNNING} machines started {AT_ONCE} at a time, Heft ÷ dockerd",
            0.3,
            starting[HEFT],
            starting[DOCKERD],
        ),
    )
    return Outcome(rows, found)
