"""Measure everything, side by side, and write docs/performance.md.

    sudo make bench                      all of it, some five minutes
    sudo make bench ARGS="--rounds 5"    a quick look, not written down

It needs root, runs in network and mount namespaces of its own, and leaves nothing behind.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import crowd, engines, facts, report, starts
from benchmarks.engines import IMAGE, Engine, docker_client, plain
from benchmarks.measure import Case, Sample, command, interleaved
from benchmarks.rows import Results
from tests.harness.isolation import isolate

ROUNDS = 40
IMPORT_ROUNDS = 5
RESTART_ROUNDS = 5
DOCS = Path(__file__).parents[1] / "docs"


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__.partition("\n")[0])
    result.add_argument("--rounds", type=int, default=ROUNDS)
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


def import_everywhere(tar: Path, heft: Engine, docker: Engine, podman: Engine) -> None:
    for engine in (heft, docker, podman):
        engine.do("import", str(tar), IMAGE)


def imports(tar: Path, heft: Engine, docker: Engine, rounds: int) -> dict[str, Sample]:
    """Time the import of a tar by the same client; the image goes after each."""
    assert heft.daemon is not None
    clients = {
        "docker → Heft": docker_client(heft.daemon.socket),
        "docker → dockerd": docker.client,
    }
    cases = {
        name: Case(
            command((*client, "import", str(tar), "import:latest"), plain()),
            command((*client, "rmi", "import:latest"), plain()),
        )
        for name, client in clients.items()
    }
    return interleaved(cases, rounds, warm_up=1)


def measure(options: argparse.Namespace, directory: Path, tar: Path) -> Results:
    cgroup = f"/heft-bench-{os.getpid()}"
    with ExitStack() as stack:
        stack.callback(engines.remove_groups, cgroup)
        heft = stack.enter_context(engines.heft(directory / "heft", options.prefix, cgroup))
        docker = stack.enter_context(engines.dockerd(directory / "docker", cgroup))
        podman = stack.enter_context(engines.podman(directory / "podman", cgroup))
        say(f"imports, {IMPORT_ROUNDS} rounds")
        imported = imports(tar, heft, docker, min(IMPORT_ROUNDS, options.rounds))
        import_everywhere(tar, heft, docker, podman)
        say(f"starts, {options.rounds} rounds")
        whole = starts.whole(heft, docker, podman, options.rounds)
        starts.make_bundle(directory / "bundle", tar, cgroup)
        shares = starts.shares(heft, directory / "bundle", options.rounds)
        first = starts.first_request(heft, directory, options.rounds)
        costs = []
        for engine in (heft, docker, podman):
            say(f"{options.machines} idle machines with {engine.name}")
            costs.append(crowd.cost(engine, options.machines))
            if engine is not heft:
                crowd.clear(engine)
        say(f"restarts with {options.restarted} machines")
        crowd.grow(heft, max(options.restarted - options.machines, 0))
        running = max(options.restarted, options.machines)
        restart = starts.answer_after_kill(heft, running, RESTART_ROUNDS)
        crowd.clear(heft)
        return Results(
            whole=whole,
            shares=shares,
            first_request=first,
            imports=imported,
            heft=costs[0],
            docker=costs[1],
            podman=costs[2],
            restart=restart,
            restarted=running,
            tar_mib=tar.stat().st_size / (1 << 20),
        )


def say(what: str) -> None:
    print(f"==> {what}", file=sys.stderr, flush=True)


def main() -> None:
    options = parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="heft-bench-", dir="/var/tmp") as name:
        directory = Path(name)
        tar = options.tar or debian(directory)
        isolate()
        found = measure(options, directory, tar)
        machine, versions = facts.machine(), facts.versions(options.prefix / "bin/heft")
        if options.rounds < ROUNDS:
            print(report.text(report.rows(found), machine, versions, options.rounds))
        else:
            print(report.write(DOCS, found, machine, versions, options.rounds))


if __name__ == "__main__":
    main()
