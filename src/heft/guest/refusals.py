"""What a machine with a kernel of its own cannot have, or not yet, in clear words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.errors import NotSupported
from heft.guest import setup
from heft.model.machine import MountKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heft.weights.base import Launch

INSTEAD = "run it light, or leave the option out"


def refuse(launch: Launch) -> None:
    """Raise `NotSupported` for the first thing asked for that such a machine cannot have."""
    for what in _refused(launch):
        raise NotSupported(
            f"{what}: a machine with a kernel of its own has none of it", hint=INSTEAD
        )
    own = setup.generated_files(launch)
    for mount in launch.mounts:
        if mount.kind is not MountKind.TMPFS and mount.target not in own:
            raise NotSupported(
                f"{mount.target}: volumes and binds of machines with a kernel of their own are not"
                " there yet",
                hint="copy the files into an image, or run it light",
            )


def _refused(launch: Launch) -> Iterator[str]:
    """Give what is asked for of the host's kernel, as one would write it."""
    spaces, security, limits = launch.namespaces, launch.security, launch.resources
    if spaces.network not in ("private", "none"):
        yield "--network host or container:…"
    shared = {"pid": spaces.pid, "uts": spaces.uts}
    for name, value in shared.items():
        if value != "private":
            yield f"--{name} {value}"
    if spaces.ipc not in ("private", "none", "shareable") or spaces.ipc_of:
        yield "--ipc host or container:…"
    if security.devices or security.device_rules:
        yield "--device of the host"
    if security.seccomp not in ("default", "unconfined", ""):
        yield "--security-opt seccomp=…"
    if security.apparmor or security.selinux:
        yield "--security-opt apparmor=… or label=…"
    if limits.oom_kill_disable:
        yield "--oom-kill-disable"
    if limits.blkio_weight or limits.blkio_weight_device:
        yield "--blkio-weight"
