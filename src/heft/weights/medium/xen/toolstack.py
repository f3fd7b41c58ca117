"""Xen's own tools, xl(1) and xenstore-read(1): what they are asked, and what they say."""

from __future__ import annotations

import re
from dataclasses import dataclass

from heft.errors import HostError, ToolFailed
from heft.host.processes import run

_TTY = re.compile(r"/dev/pts/\d+")
_REASON = re.compile(r"has shut down, reason code (\d+)")
_ERROR = re.compile(r"^libxl: error: \S+?:\d+:\w+: ?(?:Domain \d+: ?)?(.+)$", re.MULTILINE)
"""One of libxl's errors, without the place in its source."""
_SCRIPT = "script: "
"""Begins what a script of a disk or a card has said of itself (libxl)."""
_CRASHED = 3
"""SHUTDOWN_crash (xen/include/public/sched.h)."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A domain that there is."""

    number: int
    uuid: str
    memory: int
    """Bytes that it was given."""
    is_paused: bool
    """As each is while it is made."""
    nanoseconds: int
    """Of processor time that it has used."""


async def info() -> dict[str, str]:
    """Give what `xl info` says of the host. Raises `HostError`, `NotSupported`."""
    return pairs((await run("xl", "info")).stdout.decode(errors="replace"))


def pairs(said: str) -> dict[str, str]:
    """Read lines of `name : value`. Pure."""
    split = (line.partition(":") for line in said.splitlines())
    return {name.strip(): value.strip() for name, colon, value in split if colon}


async def find(uuid: str) -> Listed | None:
    """Give the domain with a UUID. Raises `HostError`, `NotSupported`."""
    said = (await run("xl", "list", "-v")).stdout.decode(errors="replace")
    return next((each for each in listed(said) if each.uuid == uuid), None)


def listed(said: str) -> tuple[Listed, ...]:
    """Read `xl list -v`: name, number, MiB, processors, state, seconds, UUID, … Pure.

    One that is half made has no name yet, and one that is being taken down has none any more.
    """
    found = []
    for line in said.splitlines()[1:]:
        match = re.search(r"\s(\d+)\s+(\d+)\s+\d+\s+(\S{6})\s+(\d+\.\d)\s+([0-9a-f-]{36})\b", line)
        if match:
            nanoseconds = int(match[4].replace(".", "")) * 100_000_000
            memory = int(match[2]) << 20
            found.append(Listed(int(match[1]), match[5], memory, "p" in match[3], nanoseconds))
    return tuple(found)


async def destroy(domain: Listed) -> None:
    """End a domain; no harm if it ends by itself meanwhile. Raises `HostError`."""
    try:
        await run("xl", "destroy", str(domain.number))
    except ToolFailed:
        if await find(domain.uuid) is not None:
            raise


async def terminal(domain: Listed) -> str:
    """Give the path of the terminal that a domain's console is on. Raises `HostError`."""
    path = f"/local/domain/{domain.number}/console/tty"
    found = (await run("xenstore-read", path)).stdout.decode(errors="replace").strip()
    if not _TTY.fullmatch(found):
        raise HostError(f"the console of domain {domain.number} is on no terminal: {found!r}")
    return found


async def schedule(domain: Listed, *, cap: int, weight: int, cpus: str) -> None:
    """Hold a domain to a part of the processors. Raises `HostError`."""
    command = f"sched-{(await info()).get('xen_scheduler', 'credit2')}"
    number = str(domain.number)
    await run("xl", command, "-d", number, "-w", str(weight), "-c", str(cap))
    await run("xl", "vcpu-pin", number, "all", cpus or "all")


def why(said: str) -> str:
    """Say why a domain is over, from what `xl create -F` has said. Pure."""
    if reasons := _REASON.findall(said):
        crashed = int(reasons[-1]) == _CRASHED
        return "the guest's kernel crashed" if crashed else "the guest went down by itself"
    if "has been destroyed" in said:
        return "its domain was destroyed"
    if errors := _ERROR.findall(said):
        first = next((each for each in errors if each.startswith(_SCRIPT)), errors[0])
        return f"Xen could not make its domain: {first}"  # the others follow from it
    return "its domain has ended"
