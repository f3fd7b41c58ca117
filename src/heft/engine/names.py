"""Names: which are allowed, and one for a machine that was given none."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from heft.errors import Conflict, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Container

    from heft.engine.parts import Parts
    from heft.model.machine import Machine

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_HEX_ID = re.compile(r"[0-9a-f]{64}")

ADJECTIVES = (
    "able airy apt blithe bold brave bright brisk calm clear clever cool daring deft "
    "eager early easy even fair fast fine firm fond frank free fresh gentle glad grand "
    "happy hardy jolly keen kind light lively loyal lucid mellow merry mild modest neat "
    "nimble noble open patient plain polite proud pure quick quiet ready sage sharp "
    "silent simple sleek smart snug sober solid sound spry stable steady still strong "
    "subtle sunny sure swift tidy true vivid warm wise witty"
).split()
THINGS = (
    "anchor anvil arch axle barge basket beam bellows bolt bracket bridge buoy cable "
    "capstan cart chain chisel clamp cog compass crane cradle crate davit derrick dolly "
    "drum engine ferry flywheel forge frame furnace gantry gear girder grapnel hammer "
    "handle harness hinge hoist hook jack joist keel kiln ladder lathe lever lift link "
    "loom mallet mast mill mortar nail oar pallet pestle pin piston pivot plank plough "
    "pulley pump raft rafter rail ramp rope rudder sail scale shaft shovel sledge spade "
    "spindle spoke spring stilt strut tackle timber truss turbine valve vise wagon wedge "
    "wheel winch windlass yoke"
).split()


def check(name: str) -> str:
    """Give the name without Docker's leading slash; raise `InvalidArgument` for a bad one."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )
    return name.removeprefix("/")


def invent(taken: Container[str]) -> str:
    """Make a name that is not taken."""
    name = f"{secrets.choice(ADJECTIVES)}_{secrets.choice(THINGS)}"
    while name in taken:
        name = f"{name}{secrets.randbelow(10)}"
    return name


def new_id(taken: Container[str]) -> str:
    """Make an id of 64 hexadecimal digits; its first 12 are never all decimal.

    Tools cut ids to 12 digits, and some of them take all-decimal ones for numbers.
    """
    while True:
        candidate = secrets.token_hex(32)
        if candidate not in taken and not candidate[:12].isdecimal():
            return candidate


def is_full_id(reference: str) -> bool:
    """Say whether this is a whole id."""
    return bool(_HEX_ID.fullmatch(reference))


async def rename(parts: Parts, machine: Machine, name: str) -> None:
    """Give a machine another name, also on its network. Raises `Conflict` if it is taken."""
    if name == machine.name:
        raise Conflict("Renaming a container with the same name as its current name")
    renamed = parts.records.change(machine.id, name=name)
    if renamed.endpoint is not None:
        known = tuple(name if each == machine.name else each for each in renamed.endpoint.names)
        endpoint = await parts.networks.rename(renamed.endpoint, known)
        renamed = parts.records.change(machine.id, endpoint=endpoint)
    parts.tell(renamed, "rename", oldName=f"/{machine.name}")
