"""How long `cp` takes: one large file and many small ones, each way."""

import itertools
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import DOCKERD, HEFT, Bench
from benchmarks.engines import IMAGE, Command, plain
from benchmarks.measure import Case, command, interleaved
from benchmarks.rows import Outcome, ms, ratio

ROUNDS = 8
LARGE = 200_000_000
"""Bytes of the one large file."""
SMALL = 20_000
"""Files of 1 KiB, a hundred a directory."""
NAME = "bench-copies"
OWN = "heft"

_numbers = itertools.count()


def measure(bench: Bench) -> Outcome:
    """Time every copy into a directory that is there, client and all.

    Nothing is removed on the way, and what a copy wrote is on the disk before the next begins: a
    removal and a write go on behind what comes after them. What a copy takes of the host's memory
    was touched shortly before: a virtual host gets it at the first touch from its own hypervisor,
    which takes longer than the copy, and is no engine's doing.
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
        for way in ("in", "out"):
            found = interleaved(copies(bench, source, place, way), bench.few(ROUNDS), warm_up=1)
            title = f"`heft cp` of {what}, {way} ÷ `docker cp` with dockerd"
            row = ratio(title, 0.8, found[OWN], found[DOCKERD])
            rows.append(replace(row, heft=f"{row.heft}; `docker cp` {ms(found[HEFT])}"))
    for engine in (bench.heft, bench.docker):
        engine.do("rm", "--force", NAME)
    return Outcome(tuple(rows), {})


def copies(bench: Bench, source: Path, place: Path, way: str) -> dict[str, Case]:
    """Give the copies by each client, every time to another directory."""
    clients = {**bench.clients, OWN: bench.heft.client}
    environments = {OWN: bench.heft.environment}
    cases = {}
    for name, client in clients.items():
        told = environments.get(name, plain())
        if way == "in":
            make = (*client, "exec", NAME, "mkdir")
            copy, target = (*client, "cp", str(source)), f"{NAME}:/in"
        else:
            make = ("mkdir",)
            copy, target = (*client, "cp", f"{NAME}:/{source.name}"), f"{place}/out"
        cases[name] = fresh(copy, make, target, told, place)
    return cases


def fresh(
    copy: Command, make: Command, target: str, environment: Mapping[str, str], place: Path
) -> Case:
    """Give a copy into a directory that `make` made before."""
    directory = target.partition(":")[2] or target
    number = next(_numbers)

    def made() -> None:
        nonlocal number
        number = next(_numbers)
        command((*make, f"{directory}-{number}"), environment)()
        os.sync()
        touch(place, 2 * LARGE)

    def copied() -> None:
        command((*copy, f"{target}-{number}"), environment)()

    return Case(copied, before=made)


def touch(place: Path, size: int) -> None:
    """Have so many bytes of the host's memory: what a file took, which never came to the disk."""
    path, block = place / "touched", bytes(1 << 18)
    with path.open("wb", buffering=0) as file:
        for _ in range(size // len(block)):
            file.write(block)
    path.unlink()


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
