"""Heavy machines: how fast they start and answer, and what memory an idle one takes."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.bench import DOCKERD, HEFT, Bench
from benchmarks.engines import IMAGE, Command, plain
from benchmarks.measure import Case, Sample, command, interleaved
from benchmarks.rows import Outcome, Row, ms, ratio
from benchmarks.shares import give_kit, heavy_run
from heft.host import usage

NAME = "bench-heavy"
TOGETHER = 20
SETTLE_SECONDS = 3.0
PAUSE_SECONDS = 2.0
"""Before each start, as a person makes: then a guest waits (docs/weights.md)."""
MIB = 1 << 20


def measure(bench: Bench) -> Outcome:
    """Measure starts in turns with dockerd's, then machines that run."""
    give_kit(bench)
    heft = bench.heft
    found, starts = started(bench)
    cold = interleaved(
        {"cold": Case(command(heavy_run(bench, "--boot", "cold"), heft.environment))}, bench.few(5)
    )["cold"]
    heft.say(idle(bench, NAME))
    time.sleep(SETTLE_SECONDS)
    pid = int(heft.say(heft.command("inspect", "-f", "{{.State.Pid}}", NAME)))
    alone = memory(pid)
    execs = interleaved(
        {"exec": Case(command(heft.command("exec", NAME, "true"), heft.environment))}, bench.rounds
    )["exec"]
    time.sleep(SETTLE_SECONDS)
    worked = memory(pid)
    heft.do("rm", "--force", NAME)
    rows = (
        *starts,
        Row("`heft run --boot cold` of the same, whole", 3000, "ms", cold.median, ms(cold)),
        Row("`heft exec MACHINE true` in a heavy machine", 60, "ms", execs.median, ms(execs)),
        *together(bench),
        Row("memory of one that is alone (PSS)", 90, "MiB", alone / MIB, ""),
        Row(
            "memory of that one when it has run these commands (PSS)", 100, "MiB", worked / MIB, ""
        ),
    )
    return Outcome(rows, found)


def started(bench: Bench) -> tuple[dict[str, Sample], tuple[Row, ...]]:
    """Measure starts as they come every few seconds, then one right after the other."""
    words = ("run", "--rm", "--runtime", "heavy", IMAGE, "true")
    docker, heft = bench.docker, bench.heft
    cases = {
        f"{HEFT}, heavy": ((*bench.through, *words), plain()),
        f"{DOCKERD}, container": (docker.run("--rm", IMAGE, "true"), docker.environment),
        "heft, heavy": (heft.run("--weight", "heavy", "--rm", IMAGE, "true"), heft.environment),
    }

    found = interleaved(
        {name: Case(command(*case), before=pause) for name, case in cases.items()}, bench.few(20)
    )
    in_a_row = interleaved(
        {name: Case(command(*case)) for name, case in cases.items()}, bench.few(20)
    )
    what = (
        "`docker run --rm --runtime heavy IMAGE true` with Heft ÷ `docker run --rm IMAGE true` with"
        " dockerd"
    )
    one, other = f"{HEFT}, heavy", f"{DOCKERD}, container"
    return found, (
        ratio(f"{what}, {PAUSE_SECONDS:g} s after the last", 1.3, found[one], found[other]),
        ratio(f"{what}, one right after the other", 2.0, in_a_row[one], in_a_row[other]),
    )


def pause() -> None:
    """Let a guest be made ready, beside nothing that is measured."""
    time.sleep(PAUSE_SECONDS)


def idle(bench: Bench, name: str) -> Command:
    """Give the command line that starts a machine which only waits."""
    words = ("--weight", "heavy", "--network", "none", IMAGE, "sleep", "1000000")
    return bench.heft.run("--detach", "--name", name, *words)


def together(bench: Bench) -> tuple[Row, Row]:
    """Start many at once, and wait until all have answered; then see what memory each takes."""
    heft, names = bench.heft, [f"{NAME}-{number}" for number in range(TOGETHER)]
    begin = time.monotonic()
    with ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(lambda name: heft.say(idle(bench, name)), names))
        list(pool.map(lambda name: heft.do("exec", name, "true"), names))
    took = Sample(((time.monotonic() - begin) * 1000,))
    time.sleep(SETTLE_SECONDS)
    pids = heft.say(heft.command("inspect", "-f", "{{.State.Pid}}", *names)).split()
    pss = sum(memory(int(pid)) for pid in pids) / TOGETHER
    heft.do("rm", "--force", *names)
    return (
        Row(
            f"{TOGETHER} heavy machines started together, until all have answered",
            12_000,
            "ms",
            took.median,
            ms(took),
        ),
        Row(
            f"memory of an idle heavy machine of 256 MiB, one of {TOGETHER} (PSS)",
            60,
            "MiB",
            pss / MIB,
            "",
        ),
    )


def memory(pid: int) -> int:
    """Give the bytes of memory of a process and all below it, each shared page by its part."""
    return usage.proportional(_family(pid))


def _family(pid: int) -> list[int]:
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in below for each in _family(int(child)))]
