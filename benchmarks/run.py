"""Measure everything, side by side, and write docs/performance.md.

    sudo make bench                             all of it, some sixteen minutes
    sudo make bench ARGS="--only execs copies"  some of it, not written down
    sudo make bench ARGS="--rounds 5"           a quick look, not written down

It needs root, runs in network and mount namespaces of its own, and leaves nothing behind.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import (
    copies,
    crowd,
    execs,
    facts,
    heavy,
    imports,
    listing,
    many,
    medium,
    output,
    plain,
    registry,
    report,
    restarts,
    shares,
    starts,
    virsh,
    weights,
)
from benchmarks.bench import Bench, bench, say
from benchmarks.disk import disk
from benchmarks.rows import Outcome, Row
from tests.harness import kit
from tests.harness.isolation import isolate

if TYPE_CHECKING:
    from benchmarks.measure import Sample

ROUNDS = 40
DOCS = Path(__file__).parents[1] / "docs"

GROUPS: dict[str, Callable[[Bench], Outcome]] = {
    "starts": starts.measure,
    "execs": execs.measure,
    "listing": listing.measure,
    "many": many.measure,
    "idle": crowd.measure,
    "restarts": restarts.measure,
    "imports": imports.measure,
    "copies": copies.measure,
    "registry": registry.measure,
    "output": output.measure,
    "heavy": heavy.measure,
    "medium": medium.measure,
    "virsh": virsh.measure,
    "plain": plain.measure,
    "shares": shares.measure,
    "weights": weights.measure,
}
"""In the order of the page."""


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__.partition("\n")[0])
    result.add_argument(
        "--only",
        nargs="+",
        choices=GROUPS,
        default=list(GROUPS),
        metavar="GROUP",
        help=f"of {', '.join(GROUPS)}",
    )
    result.add_argument("--rounds", type=int, default=ROUNDS, help="of whole commands, at most")
    result.add_argument("--machines", type=int, default=100, help="that idle at the same time")
    result.add_argument("--restarted", type=int, default=200, help="that run over a restart")
    result.add_argument("--prefix", type=Path, default=Path("/opt/heft"), help="of the Heft to use")
    result.add_argument("--tar", type=Path, help="the image, in place of a new Debian")
    return result


def debian(directory: Path) -> Path:
    """Make a Debian image's tar from the distribution's packages."""
    tar = directory / "debian.tar"
    say("making a Debian tar with mmdebstrap")
    subprocess.run(("mmdebstrap", "--quiet", "--variant=minbase", "bookworm", str(tar)), check=True)
    return tar


def measure(options: argparse.Namespace, directory: Path, tar: Path) -> Outcome:
    """Measure what is asked for, one group after another."""
    rows: list[Row] = []
    commands: dict[str, Sample] = {}
    with disk(directory) as place, bench(place, tar, options) as engines:
        for name, group in GROUPS.items():
            if name in options.only:
                say(name)
                begin = time.monotonic()
                found = group(engines)
                say(f"{name}: {time.monotonic() - begin:.0f} s")
                rows += found.rows
                commands |= found.commands
    return Outcome(tuple(rows), commands)


def main() -> None:
    options = parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="heft-bench-", dir="/var/tmp") as name:
        directory = Path(name)
        tar = options.tar or debian(directory)
        if {"heavy", "medium", "virsh", "plain", "shares", "weights"} & set(options.only):
            kit.main()  # from the host's network
        isolate()
        found = measure(options, directory, tar)
    page = report.text(found, facts.machine(), facts.versions(options.prefix / "bin/heft"))
    if options.rounds >= ROUNDS and set(options.only) == set(GROUPS):
        report.write(DOCS, page, report.chart(found))
    print(page)


if __name__ == "__main__":
    main()
