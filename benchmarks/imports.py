"""How long an image's tar takes to be an image."""

from benchmarks.bench import DOCKERD, HEFT, Bench
from benchmarks.engines import plain
from benchmarks.measure import Case, command, interleaved
from benchmarks.rows import Outcome, ratio

ROUNDS = 5


def measure(bench: Bench) -> Outcome:
    """Time the import of a Debian by the same client; the image goes after each."""
    cases = {
        name: Case(
            command((*client, "import", str(bench.tar), "import:latest"), plain()),
            command((*client, "rmi", "import:latest"), plain()),
        )
        for name, client in bench.clients.items()
    }
    found = interleaved(cases, bench.few(ROUNDS), warm_up=1)
    mib = bench.tar.stat().st_size / (1 << 20)
    what = f"import of the Debian tar ({mib:.0f} MiB), Heft ÷ dockerd"
    return Outcome((ratio(what, 1.0, found[HEFT], found[DOCKERD]),), {})
