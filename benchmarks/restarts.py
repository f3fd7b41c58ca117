"""How long a killed daemon's next one takes to know all that runs."""

import json
import time

from benchmarks import crowd
from benchmarks.bench import Bench
from benchmarks.engines import Engine, request
from benchmarks.measure import Sample, seconds
from benchmarks.rows import Outcome, Row, ms

ROUNDS = 5


def measure(bench: Bench) -> Outcome:
    """Kill Heft's daemon while machines run, and start the next."""
    machines = bench.options.restarted
    crowd.grow(bench.heft, machines)
    taken = answer_after_kill(bench.heft, machines, bench.few(ROUNDS))
    crowd.clear(bench.heft)
    what = f"a killed daemon's next one answers with {machines} machines running after"
    return Outcome((Row(what, 2000, "ms", taken.median, ms(taken)),), {})


def answer_after_kill(heft: Engine, machines: int, rounds: int) -> Sample:
    """Time a killed daemon's next one from its start until it lists all machines, in ms."""
    daemon = heft.daemon
    assert daemon is not None

    def come_back() -> None:
        daemon.start()
        status, body = request(daemon.socket, "GET", "/containers/json")
        assert status == 200, body
        assert len(json.loads(body)) == machines, f"{len(json.loads(body))} of {machines} run"

    times = []
    for _ in range(rounds):
        daemon.kill()
        times.append(seconds(come_back) * 1000)
        time.sleep(1)
    return Sample(tuple(times))
