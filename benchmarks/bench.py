"""What all measurements share: the engines side by side, and how thoroughly to measure."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import engines
from benchmarks.engines import IMAGE, Command, Engine, docker_client

HEFT, DOCKERD = "docker → Heft", "docker → dockerd"
"""The same client, to either daemon."""


@dataclass(frozen=True)
class Bench:
    """Engines that have the image `IMAGE`; `directory` is on the same file system as their data."""

    heft: Engine
    docker: Engine
    podman: Engine
    directory: Path
    tar: Path
    group: str
    options: argparse.Namespace

    @property
    def through(self) -> Command:
        """Give the beginning of a command line of the docker client that speaks to Heft."""
        assert self.heft.daemon is not None
        return docker_client(self.heft.daemon.socket)

    @property
    def clients(self) -> dict[str, Command]:
        """Give the docker client's command lines, by whom they speak to."""
        return {HEFT: self.through, DOCKERD: self.docker.client}

    @property
    def rounds(self) -> int:
        """Give how often a whole command of some 100 ms is measured."""
        return int(self.options.rounds)

    def few(self, most: int) -> int:
        """Give how often what takes seconds is measured."""
        return min(most, self.rounds)


@contextmanager
def bench(directory: Path, tar: Path, options: argparse.Namespace) -> Iterator[Bench]:
    """Start the engines, in directories of their own, with the image."""
    group = f"/heft-bench-{os.getpid()}"
    with ExitStack() as stack:
        stack.callback(engines.remove_groups, group)
        heft = stack.enter_context(engines.heft(directory / "heft", options.prefix, group))
        docker = stack.enter_context(engines.dockerd(directory / "docker", group))
        podman = stack.enter_context(engines.podman(directory / "podman"))
        for engine in (heft, docker, podman):
            engine.do("import", str(tar), IMAGE)
        yield Bench(heft, docker, podman, directory, tar, group, options)


def say(what: str) -> None:
    """Tell what is being done."""
    print(f"==> {what}", file=sys.stderr, flush=True)
