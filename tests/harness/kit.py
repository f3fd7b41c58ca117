"""The guest kits of the tests: fetched once, before they leave the host's network."""

import asyncio
import os
import shutil
import sys

from heft.guest import architectures
from heft.guest.kits import DEFAULT, PROCESS, Kits
from tests.harness import agent

KITS = agent.BUILDS / "kits"


def link(source: str, target: str) -> None:
    """Let a file be in two places; it is copied where the second is on another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def main() -> None:
    """Make those that are not there."""
    kits = Kits(KITS, agent.built() / "heft-agent")
    kits.start()
    asyncio.run(_make(kits))


async def _make(kits: Kits) -> None:
    for name in (DEFAULT, PROCESS, *(each.kit for each in architectures.ALL.values())):
        await kits.ensure(name, lambda line: sys.stderr.write(f"{line}\n"))


if __name__ == "__main__":
    main()
