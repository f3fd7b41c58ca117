"""How long `cp` takes: one large file and many small ones, each way."""

import itertools
import os
from pathlib import Path

from benchmarks.bench import DOCKERD, HEFT, Bench
from benchmarks.engines import IMAGE, Command, plain
from benchmarks.measure import Action, Case, command, interleaved
from benchmarks.rows import Outcome, ratio

ROUNDS = 5
LARGE = 200_000_000
"""Bytes of the one large file."""
SMALL = 20_000
"""Files of 1 KiB, a hundred a directory."""
NAME = "bench-copies"

_numbers = itertools.count()


def measure(bench: Bench) -> Outcome:
    """Time every copy, client and all, beside dockerd with the same client.

    Nothing is removed on the way, as a removal of many files goes on behind what comes after it.
    """
    place = bench.directory / "copies"
    place.mkdir()
    sources = {"a file of 200 MB": large(place), f"{SMALL:,} small files": small(place)}
    idle = ("--detach", "--name", NAME, "--network", "none", IMAGE, "sleep", "1000000")
    for engine in (bench.heft, bench.docker):
        engine.say(engine.run(*idle))
        for source in sources.values():
            engine.do("cp", str(source), f"{NAME}:/")
    rows = []
    for what, source in sources.items():
        for way, actions in (("in", into(bench, source)), ("out", out(bench, source, place))):
            found = interleaved(actions, bench.few(ROUNDS), warm_up=1)
            title = f"`docker cp` of {what}, {way}, Heft ÷ dockerd"
            rows.append(ratio(title, 0.8, found[HEFT], found[DOCKERD]))
    for engine in (bench.heft, bench.docker):
        engine.do("rm", "--force", NAME)
    return Outcome(tuple(rows), {})


def into(bench: Bench, source: Path) -> dict[str, Case]:
    """Give the copies into the machine, each to a new name there."""
    return {
        name: Case(fresh((*client, "cp", str(source)), f"{NAME}:/in"))
        for name, client in bench.clients.items()
    }


def out(bench: Bench, source: Path, place: Path) -> dict[str, Case]:
    """Give the copies out of the machine, each to a new name here."""
    return {
        name: Case(fresh((*client, "cp", f"{NAME}:/{source.name}"), f"{place}/out"))
        for name, client in bench.clients.items()
    }


def fresh(words: Command, target: str) -> Action:
    """Give the running of a command whose last word is another each time."""

    def copy() -> None:
        command((*words, f"{target}-{next(_numbers)}"), plain())()

    return copy


def large(place: Path) -> Path:
    """Make the large file."""
    path = place / "large"
    with path.open("wb") as file:
        for _ in range(LARGE // 1_000_000):
            file.write(os.urandom(1_000_000))
    return path


def small(place: Path) -> Path:
    """Make the directory of small files."""
    path, content = place / "small", os.urandom(1024)
    for number in range(SMALL):
        directory = path / str(number // 100)
        if number % 100 == 0:
            directory.mkdir(parents=True)
        (directory / str(number)).write_bytes(content)
    return path
