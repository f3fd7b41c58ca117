"""What a volume costs a heavy machine: its start, and how fast the files in it are.

They are compared with a container's start with a volume, and with the machine's own disk.
"""

import re
import shutil

from benchmarks.bench import DOCKERD, HEFT, Bench
from benchmarks.engines import IMAGE, Command, plain
from benchmarks.measure import Case, Sample, command, interleaved
from benchmarks.rows import Outcome, Row, ratio
from tests.harness import kit

NAME, VOLUME = "bench-share", "bench-share"
STARTS, ROUNDS = 20, 5
MOST_TIMES = 2.0
COUNT = 256
"""Blocks of 1 MiB."""
_SECONDS = re.compile(r"copied, ([0-9.e-]+) s")


def measure(bench: Bench) -> Outcome:
    """Measure starts in turns, then files in turns."""
    give_kit(bench)
    what = "`docker run --rm --runtime heavy -v VOLUME:/v IMAGE true` with Heft ÷ as a container"
    rows = [ratio(f"{what} with dockerd", MOST_TIMES, *starts(bench))]
    heavy = (*heavy_run(bench)[:-1], "sleep", "1000000")
    place = heavy.index(IMAGE)
    volume = ("--volume", f"{VOLUME}:/v")
    bench.heft.say((*heavy[:place], "--detach", "--name", NAME, *volume, *heavy[place:]))
    for what, bound, words in (
        ("written", 1.0, ("if=/dev/zero", "of={}/file", "conv=fsync")),
        ("read", 0.5, ("if={}/file", "of=/dev/null", "iflag=direct")),
    ):
        rows.append(rates(bench, what, bound, words))
    bench.heft.do("rm", "--force", NAME)
    bench.heft.do("volume", "rm", VOLUME)
    return Outcome(tuple(rows), {})


def give_kit(bench: Bench) -> None:
    """Let Heft have the kernel of its guests, which it cannot fetch from where it is."""
    kits = bench.heft.directory / "data/kits"
    shutil.rmtree(kits, ignore_errors=True)
    shutil.copytree(kit.KITS, kits, copy_function=kit.link)


def heavy_run(bench: Bench, *options: str) -> Command:
    """Give the command line of a heavy machine that does nothing."""
    words = ("--rm", "--weight", "heavy", "--network", "none", *options, IMAGE, "true")
    return bench.heft.run(*words)


def starts(bench: Bench) -> tuple[Sample, Sample]:
    """Time whole commands: a heavy machine's with Heft, a container's with dockerd."""
    words = ("run", "--rm", "--volume", f"{VOLUME}:/v")
    heavy = (*bench.through, *words, "--runtime", "heavy", IMAGE, "true")
    container = (*bench.clients[DOCKERD], *words, IMAGE, "true")
    cases = {
        HEFT: Case(command(heavy, plain())),
        DOCKERD: Case(command(container, bench.docker.environment)),
    }
    found = interleaved(cases, bench.few(STARTS))
    return found[HEFT], found[DOCKERD]


def rates(bench: Bench, what: str, bound: float, words: Command) -> Row:
    """Copy a file in the volume and one on the machine's own disk, in turns."""
    places: dict[str, list[float]] = {"/v": [], "/root": []}
    for _ in range(bench.few(ROUNDS)):
        for place, found in places.items():
            line = tuple(word.format(place) for word in words)
            found.append(rate(bench, ("dd", "bs=1M", f"count={COUNT}", *line)))
    shared, own = (Sample(tuple(found)) for found in places.values())
    return Row(
        f"{COUNT} MiB {what} in a heavy machine: bytes a second in a volume ÷ on its own disk",
        bound,
        "÷",
        shared.median / own.median,
        text(shared),
        f"own disk {text(own)}",
        at_least=True,
    )


def rate(bench: Bench, line: Command) -> float:
    """Give the MB/s that dd(1) says, in the machine's own time."""
    said = bench.heft.do("exec", NAME, "sh", "-c", f"LC_ALL=C {' '.join(line)} 2>&1")
    found = _SECONDS.search(said)
    if found is None:
        raise RuntimeError(f"{' '.join(line)}: {said}")
    return COUNT * (1 << 20) / float(found[1]) / 1e6


def text(sample: Sample) -> str:
    """Give the median, and of how many runs."""
    return f"{sample.median:.0f} MB/s ({len(sample.values)} runs)"
