"""What a machine with a kernel of its own cannot have, or not yet, in clear words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heft.weights.base import Launch, Namespaces, Resources, Security

_SPREADING = frozenset({"shared", "rshared", "slave", "rslave"})
INSTEAD = "leave it out, or --weight light"


def refuse(launch: Launch) -> None:
    """Raise `InvalidArgument` for the first thing asked for that such a machine cannot have.

    Users of the machine's own (`Launch.ids`) are no such thing: a guest's are nobody on the host.
    """
    for what in _refused(launch):
        raise InvalidArgument(
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
    return {
        "--network host": spaces.network == "host",
        "--network container:…": spaces.network not in ("private", "none", "host"),
        "--pid host": spaces.pid == "host",
        "--pid container:…": spaces.pid not in ("private", "host"),
        "--ipc host": spaces.ipc == "host",
        "--ipc container:…": bool(spaces.ipc_of)
        or spaces.ipc not in ("private", "none", "shareable", "host"),
        "--uts host": spaces.uts != "private",
        "--cgroupns host": spaces.cgroup == "host",
    }


def _of_security(security: Security) -> dict[str, bool]:
    return {
        "--device": bool(security.devices),
        "--device-cgroup-rule": bool(security.device_rules),
        "--security-opt seccomp=…": security.seccomp not in ("default", "unconfined", ""),
        "--security-opt apparmor=…": security.apparmor not in ("", "unconfined"),
        "--security-opt label=…": any(label != "disable" for label in security.selinux),
    }


def _of_limits(limits: Resources) -> dict[str, bool]:
    return {
        "--oom-kill-disable": limits.oom_kill_disable,
        "--blkio-weight": bool(limits.blkio_weight),
        "--blkio-weight-device": bool(limits.blkio_weight_device),
        "--device-read-bps": bool(limits.blkio_device_read_bps),
        "--device-write-bps": bool(limits.blkio_device_write_bps),
        "--device-read-iops": bool(limits.blkio_device_read_iops),
        "--device-write-iops": bool(limits.blkio_device_write_iops),
    }
