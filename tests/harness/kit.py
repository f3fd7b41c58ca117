"""The guest kits of the tests: fetched once, before they leave the host's network."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

from heft.guest import architectures
from heft.guest.kits import DEFAULT, PROCESS, XEN, Kits
from tests.harness import agent
from tests.harness.foreign import ARCHITECTURES

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


def xen() -> Path:
    """Give the one of domains, made if it is not there."""
    kits = Kits(KITS, agent.built() / "heft-agent")
    made = asyncio.run(kits.ensure(XEN, lambda line: sys.stderr.write(f"{line}\n")))
    return made.directory


async def _make(kits: Kits) -> None:
    foreign = (architectures.ALL[each].kit for each in ARCHITECTURES)
    for name in (DEFAULT, PROCESS, *foreign):
        await kits.ensure(name, lambda line: sys.stderr.write(f"{line}\n"))


if __name__ == "__main__":
    main()
