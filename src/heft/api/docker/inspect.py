"""All there is to know of a machine, as `docker inspect` shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from heft.api import times
from heft.api.docker.places import mount_points, network_settings
from heft.api.docker.summary import state_name
from heft.model.machine import State

if TYPE_CHECKING:
    from pathlib import Path

    from heft.engine.guest_kits import Guest
    from heft.model.machine import Health, Machine


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the view needs to know beyond the machine itself."""

    directory: Path
    """Where the machine's own files are."""
    layers: tuple[Path, ...] = ()
    network_ids: dict[str, str] = field(default_factory=dict)
    execs: tuple[str, ...] = ()
    sizes: tuple[int, int] | None = None
    guest: Guest | None = None


def view(machine: Machine, around: Surroundings) -> dict[str, Any]:
    """Give the answer of `GET /containers/{id}/json`."""
    argv = machine.argv
    directory = around.directory
    host = machine.host_config
    keeps_log = host.log_config.type != "none"
    shown = {
        "Id": machine.id,
        "Created": times.text(machine.created),
        "Path": argv[0] if argv else "",
        "Args": list(argv[1:]),
        "State": _state(machine),
        "Image": machine.image,
        "ResolvConfPath": str(directory / "resolv.conf"),
        "HostnamePath": str(directory / "hostname"),
        "HostsPath": str(directory / "hosts"),
        "LogPath": str(directory / "log") if keeps_log else "",
        "Name": f"/{machine.name}",
        "RestartCount": machine.restart_count,
        "Driver": "overlay2",
        "Platform": machine.platform.partition("/")[0] or "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(around.execs) or None,
        "HostConfig": _host_config(machine),
        "GraphDriver": _graph_driver(directory, around.layers),
        "Mounts": mount_points(machine),
        "Config": _config(machine),
        "NetworkSettings": network_settings(machine, around.network_ids),
    }
    if around.sizes is not None:
        shown["SizeRw"], shown["SizeRootFs"] = around.sizes
    if (guest := around.guest) is not None:
        shown["Heft"] = {
            "Kit": guest.kit,
            "Accelerator": guest.accelerator,
            "AcceleratorReason": guest.why,
        }
    return shown


def _state(machine: Machine) -> dict[str, Any]:
    run, shown = machine.run, state_name(machine)
    state = {
        "Status": shown,
        "Running": shown in ("running", "paused", "restarting"),
        "Paused": shown == "paused",
        "Restarting": shown == "restarting",
        "OOMKilled": run.oom_killed,
        "Dead": machine.state is State.DEAD,
        "Pid": run.pid if machine.is_up else 0,
        "ExitCode": run.exit_code,
        "Error": run.error,
        "StartedAt": times.text(run.started),
        "FinishedAt": times.text(run.finished),
    }
    return state if run.health is None else {**state, "Health": _health(run.health)}


def _health(health: Health) -> dict[str, Any]:
    return {
        "Status": str(health.status),
        "FailingStreak": health.failing_streak,
        "Log": [
            {
                "Start": times.text(made.start),
                "End": times.text(made.end),
                "ExitCode": made.exit_code,
                "Output": made.output,
            }
            for made in health.log
        ],
    }


def _config(machine: Machine) -> dict[str, Any]:
    """Give the settings as Docker has them: what is not set is left out, or null."""
    shown: dict[str, Any] = msgspec.to_builtins(machine.config)
    for name in ("ExposedPorts", "Healthcheck", "StopSignal", "StopTimeout", "Shell"):
        if not shown[name]:
            del shown[name]
    shown.pop("NetworkDisabled")
    shown["Volumes"] = shown["Volumes"] or None
    shown["OnBuild"] = shown["OnBuild"] or None
    return shown


def _host_config(machine: Machine) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(machine.host_config)
    shown["ConsoleSize"] = shown["ConsoleSize"] or [0, 0]
    shown["Runtime"] = machine.weight
    shown["RestartPolicy"]["Name"] = shown["RestartPolicy"]["Name"] or "no"
    shown["LogConfig"]["Type"] = shown["LogConfig"]["Type"] or "json-file"
    for name in ("Binds", "VolumesFrom", "CapAdd", "CapDrop", "GroupAdd", "Links", "SecurityOpt"):
        shown[name] = shown[name] or None
    for name in ("Mounts", "Annotations", "Tmpfs", "StorageOpt", "Sysctls", "Init"):
        if not shown[name]:
            del shown[name]
    return shown


def _graph_driver(directory: Path, layers: tuple[Path, ...]) -> dict[str, Any]:
    upper = directory / "upper"
    return {
        "Name": "overlay2",
        "Data": {
            "LowerDir": ":".join(str(layer) for layer in reversed(layers)),
            "UpperDir": str(upper / "diff"),
            "WorkDir": str(upper / "work"),
        },
    }
