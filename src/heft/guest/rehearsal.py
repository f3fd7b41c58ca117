"""What a guest rehearses while it waits to become a machine: a machine of nobody's. Pure.

Under software translation most of a start is the kernel's code that is translated as it is first
met. A guest that has once set a machine up and taken it down again has met it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from heft.guest import setup
from heft.guest.protocol import Tag
from heft.model.network import Endpoint, Plug
from heft.weights.base import Process

if TYPE_CHECKING:
    from pathlib import Path

    from heft.guest.records import Fields
    from heft.guest.setup import Surroundings
    from heft.weights.base import Launch

PROGRAM = "/heft-rehearsal"
"""Where the agent shows itself to the machine that it rehearses (agent/rehearse.h)."""
_MAC = "02:48:45:46:54:01"
_ADDRESS, _GATEWAY, _PREFIX = "192.0.2.2", "192.0.2.1", 24
"""Of a network that is nowhere (RFC 5737)."""


def machine(like: Launch, identity: str, run: Path) -> Launch:
    """Give a machine with the base of another, and nothing else of it; its upper is in `run`.

    Its network card leads nowhere.
    """
    endpoint = Endpoint(
        id=identity,
        network="",
        network_id="",
        plug=Plug.TAP,
        mac=_MAC,
        address=_ADDRESS,
        prefix=_PREFIX,
        gateway=_GATEWAY,
    )
    return dataclasses.replace(
        like,
        id=identity,
        name="rehearsal",
        hostname="rehearsal",
        domainname="",
        run=run,
        root=dataclasses.replace(like.root, upper=run, read_only=False, size=0),
        process=Process((PROGRAM,), capabilities=like.process.capabilities),
        init=False,
        mounts=(),
        endpoint=endpoint,
        resources=dataclasses.replace(like.resources, pids_limit=0),
        sysctls={},
        annotations={},
    )


def fields(launch: Launch, given: Surroundings) -> Fields:
    """Give REHEARSE."""
    return setup.setup(launch, given).record(Tag.PROCESS, setup.start_workload(launch))
