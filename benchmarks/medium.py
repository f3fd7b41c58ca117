"""Medium machines: how fast they start and answer, compute, and what memory an idle one takes."""

import json
import time

from benchmarks.bench import HEFT, Bench
from benchmarks.engines import IMAGE, plain
from benchmarks.heavy import SETTLE_SECONDS, memory
from benchmarks.measure import Case, command, interleaved
from benchmarks.rows import Outcome, Row, ms
from benchmarks.shares import give_kit

NAME = "bench-medium"
MIB = 1 << 20


def measure(bench: Bench) -> Outcome:
    """Measure starts, then a machine that runs, then what a program in one computes."""
    give_kit(bench)
    heft = bench.heft
    run = (*bench.through, "run", "--rm", "--runtime", "medium", IMAGE, "true")
    starts = interleaved({HEFT: Case(command(run, plain()))}, bench.few(20))[HEFT]
    words = ("--weight", "medium", "--network", "none", IMAGE, "sleep", "1000000")
    heft.say(heft.run("--detach", "--name", NAME, *words))
    time.sleep(SETTLE_SECONDS)
    pss = memory(int(heft.say(heft.command("inspect", "-f", "{{.State.Pid}}", NAME))))
    execs = interleaved(
        {"exec": Case(command(heft.command("exec", NAME, "true"), heft.environment))}, bench.few(20)
    )["exec"]
    heft.do("rm", "--force", NAME)
    rate, native = computed(bench)
    rows = (
        Row("`docker run --rm --runtime medium IMAGE true`", 1800, "ms", starts.median, ms(starts)),
        Row("`heft exec MACHINE true` in a medium machine", 120, "ms", execs.median, ms(execs)),
        Row("memory of an idle medium machine of 256 MiB (PSS)", 50, "MiB", pss / MIB, ""),
        Row(
            "computing in a medium machine ÷ on the host (`heft weigh`)",
            0.95,
            "÷",
            rate / native,
            f"{rate:.0f} rounds/s",
            f"{native:.0f} rounds/s",
            at_least=True,
        ),
    )
    return Outcome(rows, {})


def computed(bench: Bench) -> tuple[float, float]:
    """Give the rounds a second of `heft weigh`'s loop in a medium machine, and on the host."""
    said = json.loads(bench.heft.do("weigh", "--quiet", "--json", IMAGE))
    found = {column["weight"]: column["values"] for column in said["columns"]}
    return found["medium"]["cpu"], found["native"]["cpu"]
