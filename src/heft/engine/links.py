"""Links: one machine knows another by a name, and by variables of its environment.

Docker's older way (docs.docker.com, "Legacy container links"), from before networks had names; the
names of the variables and lines are moby's (daemon/links).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import Conflict, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.engine.records import Records
    from heft.model.config import HostConfig
    from heft.model.machine import Machine

_NOT_TOLD = frozenset({"HOME", "PATH"})


@dataclass(frozen=True, slots=True)
class Link:
    """A machine that another knows by an alias."""

    alias: str
    target: Machine

    @property
    def address(self) -> str:
        """Give its address; empty while it has none."""
        return self.target.endpoint.address if self.target.endpoint is not None else ""


def read(text: str) -> tuple[str, str]:
    """Read `NAME[:ALIAS]`; give the reference and the alias. Raises `InvalidArgument`."""
    reference, colon, alias = text.partition(":")
    reference = reference.removeprefix("/")
    # What `inspect` shows, and clients send back: /server:/box/alias.
    alias = alias.rpartition("/")[2] if colon else reference
    if not reference or not alias or ":" in alias or any(c.isspace() for c in text):
        raise InvalidArgument(f"bad format for links: {text}")
    return reference, alias


def check(records: Records, host: HostConfig) -> None:
    """Raise for links that cannot be: `InvalidArgument`, and `NotFound` where there is nobody."""
    if not host.links:
        return
    if host.network_mode == "host":
        raise InvalidArgument(
            "conflicting options: host type networking can't be used with links."
            " This would result in undefined behavior"
        )
    if host.network_mode.startswith("container:"):
        raise InvalidArgument(
            "conflicting options: container type network can't be used with links."
            " This would result in undefined behavior"
        )
    for text in host.links:
        reference, _ = read(text)
        target = records.resolve(reference)
        if target.host_config.network_mode == "host":
            raise InvalidArgument(
                "conflicting options: cannot link to a container that uses the host's network"
            )


def of(records: Records, machine: Machine) -> tuple[Link, ...]:
    """Give its links to machines that are there."""
    found = []
    for text in machine.host_config.links:
        reference, alias = read(text)
        if (target := records.find(reference)) is not None:
            found.append(Link(alias, target))
    return tuple(found)


def check_running(records: Records, machine: Machine) -> None:
    """Raise `Conflict` where a machine that it links to does not run."""
    for text in machine.host_config.links:
        reference, alias = read(text)
        target = records.resolve(reference)
        if not target.is_up:
            raise Conflict(
                f"Cannot link to a non running container: /{target.name} AS /{machine.name}/{alias}"
            )


def host_lines(links: Iterable[Link]) -> str:
    """Give the lines of /etc/hosts."""
    lines = []
    for link in links:
        if link.address:
            names = dict.fromkeys((link.alias, link.target.config.hostname, link.target.name))
            lines.append(f"{link.address}\t{' '.join(names)}\n")
    return "".join(lines)


def environment(machine: Machine, links: Iterable[Link]) -> tuple[str, ...]:
    """Give the variables that tell a machine of its links."""
    return tuple(
        variable for link in links if link.address for variable in _variables(machine, link)
    )


def _variables(machine: Machine, link: Link) -> Iterable[str]:
    prefix, address = link.alias.upper().replace("-", "_"), link.address
    ports = sorted(_ports(link.target))
    if ports:
        number, protocol = ports[0]
        yield f"{prefix}_PORT={protocol}://{address}:{number}"
    for number, protocol in ports:
        name = f"{prefix}_PORT_{number}_{protocol.upper()}"
        yield f"{name}={protocol}://{address}:{number}"
        yield f"{name}_ADDR={address}"
        yield f"{name}_PORT={number}"
        yield f"{name}_PROTO={protocol}"
    yield f"{prefix}_NAME=/{machine.name}/{link.alias}"
    for variable in link.target.config.env:
        name, given, value = variable.partition("=")
        if given and name not in _NOT_TOLD:
            yield f"{prefix}_ENV_{name}={value}"


def _ports(machine: Machine) -> Iterable[tuple[int, str]]:
    for exposed in machine.config.exposed_ports:
        numbers, _, protocol = exposed.partition("/")
        first, _, last = numbers.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            for number in range(int(first), int(last or first) + 1):
                yield number, protocol or "tcp"
