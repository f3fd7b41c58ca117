"""What a machine with a kernel of its own cannot have, or not yet, in clear words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.errors import NotSupported

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heft.weights.base import Launch, Namespaces, Resources, Security

_SPREADING = frozenset({"shared", "rshared", "slave", "rslave"})
INSTEAD = "run it light, or leave the option out"


def refuse(launch: Launch) -> None:
    """Raise `NotSupported` for the first thing asked for that such a machine cannot have.

    Users of the machine's own (`Launch.ids`) are no such thing: a guest's are nobody on the host.
    """
    for what in _refused(launch):
        raise NotSupported(
            f"{what}: a machine with a kernel of its own has nothing of the host's kernel to share"
            " or to set",
            hint=INSTEAD,
        )


def _refused(launch: Launch) -> Iterator[str]:
    """Give what is asked for of the host's kernel, as one would write it."""
    asked = _of_namespaces(launch.namespaces) | _of_security(launch.security)
    asked["bind-propagation shared or slave"] = any(
        point.propagation in _SPREADING for point in launch.mounts
    )
    return (what for what, is_asked in (asked | _of_limits(launch.resources)).items() if is_asked)


def _of_namespaces(spaces: Namespaces) -> dict[str, bool]:
    own_ipc = spaces.ipc in ("private", "none", "shareable") and not spaces.ipc_of
    return {
        "--network host or container:…": spaces.network not in ("private", "none"),
        "--pid host or container:…": spaces.pid != "private",
        "--ipc host or container:…": not own_ipc,
        "--uts host": spaces.uts != "private",
        "--cgroupns host": spaces.cgroup == "host",
    }


def _of_security(security: Security) -> dict[str, bool]:
    return {
        "--device of the host": bool(security.devices or security.device_rules),
        "--security-opt seccomp=…": security.seccomp not in ("default", "unconfined", ""),
        "--security-opt apparmor=…": security.apparmor not in ("", "unconfined"),
        "--security-opt label=…": any(label != "disable" for label in security.selinux),
    }


def _of_limits(limits: Resources) -> dict[str, bool]:
    throttles = (
        *(limits.blkio_device_read_bps, limits.blkio_device_write_bps),
        *(limits.blkio_device_read_iops, limits.blkio_device_write_iops),
    )
    return {
        "--oom-kill-disable": limits.oom_kill_disable,
        "--blkio-weight": bool(limits.blkio_weight or limits.blkio_weight_device),
        "--device-read-bps and the like, of devices of the host": any(throttles),
    }
