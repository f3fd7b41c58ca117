"""A machine in one row of `docker ps`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heft import durations
from heft.api import times
from heft.api.docker.places import mount_points, networks
from heft.model.machine import State

if TYPE_CHECKING:
    from heft.model.machine import Machine

_SHOWN = {State.CREATING: "created", State.DEAD: "dead", State.REMOVING: "removing"}

_HEALTHS = {
    "starting": " (health: starting)",
    "healthy": " (healthy)",
    "unhealthy": " (unhealthy)",
}


def state_name(machine: Machine) -> str:
    """Give the state as Docker names it; a machine that starts is what it was before."""
    if machine.state is State.STARTING:
        if machine.restart_count:
            return "restarting"
        return "exited" if machine.run.finished else "created"
    return str(_SHOWN.get(machine.state, machine.state))


def health_name(machine: Machine) -> str:
    """Give the health as Docker names it."""
    health = machine.run.health
    return "none" if health is None else str(health.status)


def status(machine: Machine, now: int) -> str:
    """Say what the machine does, and since when (moby, container/state.go, `String`)."""
    run, state = machine.run, state_name(machine)
    if state in ("running", "paused"):
        also = " (Paused)" if state == "paused" else _HEALTHS.get(health_name(machine), "")
        return f"Up {durations.roughly((now - run.started) / times.SECOND)}{also}"
    if state == "removing":
        return "Removal In Progress"
    if state == "dead":
        return "Dead"
    if state != "restarting" and not run.started:
        return "Created"
    since_end = durations.roughly((now - run.finished) / times.SECOND)
    if state == "restarting":
        return f"Restarting ({run.exit_code}) {since_end} ago"
    return f"Exited ({run.exit_code}) {since_end} ago" if run.finished else ""


def command(machine: Machine) -> str:
    """Give the argument vector as one line, arguments with spaces in quotes."""
    first, *rest = machine.argv or ("",)
    return " ".join([first, *(f"'{part}'" if " " in part else part for part in rest)])


def ports(machine: Machine) -> list[dict[str, Any]]:
    """Give the ports that are published or only exposed, while the machine is up."""
    if not machine.is_up:
        return []
    published = machine.endpoint.ports if machine.endpoint else ()
    rows: list[dict[str, Any]] = [
        {
            "IP": port.host_address,
            "PrivatePort": port.machine_port,
            "PublicPort": port.host_port,
            "Type": str(port.protocol),
        }
        for port in published
    ]
    taken = {(port.machine_port, str(port.protocol)) for port in published}
    for exposed in sorted(machine.config.exposed_ports):
        number, protocol = split_port(exposed)
        if (number, protocol) not in taken:
            rows.append({"PrivatePort": number, "Type": protocol})
    return rows


def split_port(exposed: str) -> tuple[int, str]:
    """Read `80/tcp`; of a range, the first."""
    number, _, protocol = exposed.partition("/")
    first = number.partition("-")[0]
    return int(first) if first.isdecimal() else 0, protocol or "tcp"


def row(
    machine: Machine,
    *,
    now: int,
    image: str,
    network_ids: dict[str, str],
    sizes: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Give the machine's row; `image` is how it is called now, `sizes` are upper and all."""
    shown = {
        "Id": machine.id,
        "Names": [f"/{machine.name}"],
        "Image": image,
        "ImageID": machine.image,
        "Command": command(machine),
        "Created": machine.created // times.SECOND,
        "Ports": ports(machine),
        "Labels": machine.config.labels,
        "State": state_name(machine),
        "Weight": machine.weight,
        "Status": status(machine, now),
        "HostConfig": {"NetworkMode": machine.host_config.network_mode},
        "NetworkSettings": {"Networks": networks(machine, network_ids)},
        "Mounts": mount_points(machine),
    }
    if sizes is not None:
        shown["SizeRw"], shown["SizeRootFs"] = sizes
    return shown
