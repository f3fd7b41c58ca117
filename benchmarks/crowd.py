"""Many idle machines: what each costs, and what the daemon uses at rest."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench, say
from benchmarks.engines import IMAGE, Engine
from benchmarks.measure import processor_share, resident
from benchmarks.rows import Outcome, Row

IDLE = ("--detach", "--network", "none", IMAGE, "sleep", "1000000")
SETTLE_SECONDS = 5.0
REST_SECONDS = 20.0
AT_ONCE = 4
REMOVED_AT_ONCE = 250
"""Names on one command line."""


@dataclass(frozen=True)
class Cost:
    """Memory in MiB, processor time in percent of one processor."""

    machines: int
    each: float
    """Resident: the machine's monitor, and what the daemon grew by, without the workload."""
    each_shared: float
    """The same, proportional: what is shared is counted once."""
    daemon: float
    """The daemon (with its own helper, where it has one), resident, with all machines."""
    processor: float
    """The daemon at rest."""


def measure(bench: Bench) -> Outcome:
    """See what idle machines cost with each engine."""
    costs = []
    for engine in (bench.heft, bench.docker, bench.podman):
        say(f"{bench.options.machines} idle machines with {engine.name}")
        costs.append(cost(engine, bench.options.machines))
        clear(engine)
    heft, docker, podman = costs
    rows = (
        Row(
            "resident memory of an idle machine, all of Heft's processes for it",
            2.5,
            "MiB",
            heft.each,
            f"{heft.each:.1f} MiB (a page that many map counted once: {heft.each_shared:.1f})",
            f"dockerd {docker.each:.1f}, podman {podman.each:.1f} MiB",
        ),
        Row(
            f"the daemon at rest with {heft.machines} machines: memory",
            90,
            "MiB",
            heft.daemon,
            f"{heft.daemon:.0f} MiB",
            f"dockerd, containerd {docker.daemon:.0f} MiB",
        ),
        Row(
            f"the daemon at rest with {heft.machines} machines: processor",
            0.5,
            "%",
            heft.processor,
            f"{heft.processor:.2f} %",
            f"dockerd, containerd {docker.processor:.2f} %",
        ),
    )
    return Outcome(rows, {})


def family(engine: Engine) -> list[int]:
    """Give the daemon's process and its children that are no monitors (containerd)."""
    if engine.daemon is None:
        return []
    children = {engine.daemon.pid}
    monitors = set(engine.monitors())
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                stat = (entry / "stat").read_text().rpartition(") ")[2].split()
                own = os.readlink(entry / "exe").rpartition("/")[2] == "containerd"
                if own and int(stat[1]) == engine.daemon.pid and int(entry.name) not in monitors:
                    children.add(int(entry.name))
    return sorted(children)


def grow(engine: Engine, machines: int) -> None:
    """Start idle machines, some at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(engine.say, engine.run(*IDLE)) for _ in range(machines)]:
            done.result()


def cost(engine: Engine, machines: int) -> Cost:
    """Start idle machines and see what they and the daemon use."""
    before = resident(family(engine))
    grow(engine, machines)
    time.sleep(SETTLE_SECONDS)
    monitors = engine.monitors()
    if len(monitors) != machines:
        raise RuntimeError(f"{engine.name}: {len(monitors)} monitors of {machines} machines")
    daemon, watching = resident(family(engine)), resident(monitors)
    each = [
        (own + now - then) / machines
        for own, now, then in zip(watching, daemon, before, strict=True)
    ]
    share = processor_share(family(engine), REST_SECONDS) if engine.daemon else 0.0
    return Cost(machines, each[0], each[1], daemon[0], share)


def clear(engine: Engine) -> None:
    """Remove all machines."""
    names = engine.do("ps", "--all", "--quiet").split()
    for first in range(0, len(names), REMOVED_AT_ONCE):
        engine.do("rm", "--force", *names[first : first + REMOVED_AT_ONCE])
