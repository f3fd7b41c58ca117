"""Which machines a list shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from heft.api import filters as f
from heft.api import times
from heft.api.docker.places import network_name
from heft.api.docker.summary import health_name, split_port, state_name
from heft.errors import HeftError, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from heft.api.filters import Filters
    from heft.model.image import Image
    from heft.model.machine import Machine

KNOWN = frozenset(
    (
        "ancestor annotation before exited expose health id is-task isolation label label! name"
        " network publish since status volume"
    ).split()
)
PRUNE_KNOWN = frozenset({"until", "label", "label!"})
STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
HEALTHS = ("none", "starting", "healthy", "unhealthy")
UP = ("running", "paused", "restarting")


class Lookup(Protocol):
    """Finds what filters name."""

    def machine(self, reference: str) -> Machine:
        """Give a machine; `NotFound` if there is none."""

    def image(self, reference: str) -> Image:
        """Give an image; `NotFound` if there is none."""

    def network_id(self, name: str) -> str:
        """Give the id of the network with this name; empty if there is none."""


def select(
    machines: Sequence[Machine], wanted: Filters, lookup: Lookup, *, every: bool, limit: int
) -> list[Machine]:
    """Give the machines, which come newest first, that a list shows.

    Without `every`, a `limit` or a filter by status, only those that are up.
    """
    _check(wanted)
    shown = [machine for machine in machines if _fits(machine, wanted)] if wanted else [*machines]
    if not every and limit <= 0 and "status" not in wanted:
        shown = [machine for machine in shown if state_name(machine) in UP]
    for name in ("before", "since"):
        for reference in wanted.get(name, []):
            created = lookup.machine(reference).created
            shown = [m for m in shown if m.created != created]
            shown = [m for m in shown if (m.created < created) == (name == "before")]
    if ancestors := wanted.get("ancestor"):
        shown = _descendants(shown, ancestors, lookup)
    if networks := wanted.get("network"):
        shown = [machine for machine in shown if _is_on(machine, networks, lookup)]
    return shown[:limit] if limit > 0 else shown


def _check(wanted: Filters) -> None:
    f.one_of(wanted, "status", STATES)
    f.one_of(wanted, "health", HEALTHS)
    f.flag(wanted, "is-task")
    for code in wanted.get("exited", []):
        if not code.removeprefix("-").isdecimal():
            raise InvalidArgument(f"invalid filter 'exited={code}'")
    for name in ("publish", "expose"):
        for port in wanted.get(name, []):
            _port_range(port)


def _fits(machine: Machine, wanted: Filters) -> bool:
    state = state_name(machine)
    ran = machine.run.started > 0 and state not in UP
    return (
        f.matches(wanted, "id", machine.id)
        and f.matches(wanted, "name", machine.name, f"/{machine.name}")
        and f.labels_fit(machine.config.labels, wanted)
        and f.has_labels(machine.host_config.annotations, wanted.get("annotation", []))
        and state in wanted.get("status", [state])
        and ("health" not in wanted or health_name(machine) in wanted["health"])
        and not f.flag(wanted, "is-task")
        and ("exited" not in wanted or (ran and str(machine.run.exit_code) in wanted["exited"]))
        and ("volume" not in wanted or _mounts(machine, wanted["volume"]))
        and _has_port(_exposed(machine), wanted.get("expose"))
        and _has_port(_published(machine), wanted.get("publish"))
    )


def _mounts(machine: Machine, wanted: Iterable[str]) -> bool:
    places = {place for mount in machine.mounts for place in (mount.volume, mount.target)}
    return any(each in places for each in wanted)


def _exposed(machine: Machine) -> set[tuple[int, str]]:
    return {split_port(port) for port in machine.config.exposed_ports}


def _published(machine: Machine) -> set[tuple[int, str]]:
    if machine.endpoint is not None:
        return {(port.machine_port, str(port.protocol)) for port in machine.endpoint.ports}
    return {split_port(port) for port in machine.host_config.port_bindings}


def _has_port(ports: set[tuple[int, str]], wanted: Iterable[str] | None) -> bool:
    if wanted is None:
        return True
    ranges = [_port_range(each) for each in wanted]
    return any(
        first <= number <= last and protocol == kind
        for number, protocol in ports
        for first, last, kind in ranges
    )


def _port_range(given: str) -> tuple[int, int, str]:
    """Read `80`, `80/udp`, `8000-8010/tcp`."""
    numbers, _, protocol = given.partition("/")
    first, _, last = numbers.partition("-")
    if not first.isdecimal() or not (last or first).isdecimal():
        raise InvalidArgument(f"invalid port in a filter: {given!r}")
    return int(first), int(last or first), protocol or "tcp"


def _descendants(machines: list[Machine], ancestors: list[str], lookup: Lookup) -> list[Machine]:
    """Give the machines whose image is one of these, or was built upon one."""
    layers = []
    for reference in ancestors:
        try:
            image = lookup.image(reference)
        except HeftError:
            continue
        layers.append((image.id, tuple(layer.diff_id for layer in image.layers)))
    return [
        machine
        for machine in machines
        if any(
            machine.image == image_id or (below and machine.layers[: len(below)] == below)
            for image_id, below in layers
        )
    ]


def _is_on(machine: Machine, wanted: list[str], lookup: Lookup) -> bool:
    name = network_name(machine)
    network_id = lookup.network_id(name) if name else ""
    return any(each in (name, network_id) for each in wanted)


def kept_from_prune(machine: Machine, wanted: Filters, now: int) -> bool:
    """Say whether a prune leaves the machine alone."""
    until = wanted.get("until", [])
    return (
        bool(until) and machine.created >= min(times.parse(each, now=now) for each in until)
    ) or (not f.labels_fit(machine.config.labels, wanted))
