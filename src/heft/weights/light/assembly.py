"""The part of `prepare` that touches files: the root is mounted, the plan made and written.

It runs in a thread, as mounts and an image's files can be slow; it keeps nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from heft.errors import NotSupported, StartFailed
from heft.faults import reach
from heft.host import mounts, paths
from heft.weights.light import device_nodes, devices, emulation, prepared_mounts, roots, spec, users
from heft.weights.light.default_profile import default_profile
from heft.weights.light.failures import REFUSED
from heft.weights.light.seccomp import converted

if TYPE_CHECKING:
    import msgspec

    from heft.weights.base import Launch
    from heft.weights.light.emulation import Emulation
    from heft.weights.light.filters import Filters
    from heft.weights.light.host_facts import HostFacts
    from heft.weights.light.record import Record, RunDirectory

_INITS = (
    Path("/usr/libexec/podman/catatonit"),
    Path("/usr/bin/catatonit"),
    Path("/usr/libexec/catatonit/catatonit"),
    Path("/usr/bin/tini-static"),
)


def assemble(
    launch: Launch,
    run: RunDirectory,
    facts: HostFacts,
    filters: Filters,
    cgroup: str,
    shm: str = "",
    emulated: Emulation | None = None,
) -> None:
    """Mount the root and write the plan. Raises `HeftError`; what was done stays.

    `shm` is a directory of the host to be /dev/shm; empty: one of its own.
    """
    run.make(launch.ids.root[1] if launch.ids else None)
    roots.mount(launch, run)
    reach("light.mounted")
    if emulated is not None:
        emulation.lend(emulated, run)
    launch = prepared_mounts.make(launch, run)
    identity = users.look_up(run.rootfs, launch.process.user, launch.process.groups)
    with roots.its_root(launch):
        _make_working_directory(launch, run)
    profile = seccomp(launch, facts)
    compiled = filters.get(profile) if profile is not None else ""
    asked = _devices(launch)
    if launch.ids is not None:
        device_nodes.make(launch, launch.ids, run.devices, asked)
    findings = spec.Findings(
        facts=facts,
        identity=identity,
        cgroup_path=cgroup,
        devices=asked,
        init=find_init() if launch.init else "",
        shm=shm,
        dev=str(run.devices) if launch.ids is not None else "",
        emulators=emulated is not None and emulated.own,
        seccomp=None if compiled else profile,
        seccomp_compiled=compiled,
    )
    run.write_config(spec.config(launch, findings))


def hand_over(run: RunDirectory, record: Record, emulated: Emulation | None) -> None:
    """Write down that the workload is there, and leave the root to it. Raises `HostError`.

    It has the mount in a namespace of its own, and keeps it until its end. Here it would be copied
    into the namespace of every further machine, whose runtime would read about all of them: a
    thousand machines cost twice as much to start.
    """
    if emulated is not None:
        emulation.give(emulated, run, record.workload.pid)
    run.write(record)
    mounts.unmount(run.rootfs)


def seccomp(launch: Launch, facts: HostFacts) -> msgspec.Raw | None:
    """Give the filter's profile for a machine; None if it gets none."""
    asked = launch.security.seccomp
    if asked == "unconfined" or (launch.security.privileged and asked in ("", "default")):
        return None
    profile = default_profile() if asked in ("", "default") else asked.encode()
    capabilities = frozenset(launch.process.capabilities)
    return converted(profile, capabilities, facts.machine, facts.release)


def find_init() -> str:
    """Give the small init of this host. Raises `NotSupported` if there is none."""
    for path in _INITS:
        if path.exists():
            return str(path)
    raise NotSupported("no init program is installed for --init", hint="install catatonit")


def _devices(launch: Launch) -> tuple[devices.Device, ...]:
    asked = devices.resolve(launch.security.devices)
    if not launch.security.privileged:
        return asked
    taken = {device.path for device in asked}
    return asked + tuple(item for item in devices.of_host() if item.path not in taken)


def _make_working_directory(launch: Launch, run: RunDirectory) -> None:
    """Make it if it is missing, as Docker does; under a mount it is the mount's matter."""
    cwd = launch.process.cwd
    if not cwd.startswith("/"):
        raise StartFailed(
            f"the working directory '{cwd}' is invalid, it needs to be an absolute path",
            exit_code=REFUSED,
        )
    if any(Path(cwd).is_relative_to(mount.target) for mount in launch.mounts):
        return
    try:
        paths.make_directories(run.rootfs, cwd)
    except OSError as error:
        # Docker: "Cannot mkdir: /x is not a directory".
        raise StartFailed(
            f"cannot mkdir: {cwd}: {(error.strerror or '').lower()}", exit_code=REFUSED
        ) from error
