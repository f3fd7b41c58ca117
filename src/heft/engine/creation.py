"""How a machine comes to be: the image's settings under the user's, checked, its mounts settled."""

from __future__ import annotations

import contextlib
import platform as host_platform
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from heft.engine import (
    boots,
    files,
    health,
    init_systems,
    kit_choice,
    launch,
    links,
    mounts,
    names,
    refusals,
    sysctls,
    user_ranges,
    validation,
)
from heft.engine.run import network_of
from heft.errors import InvalidArgument, NotFound
from heft.failures import translated
from heft.faults import reach
from heft.guest import architectures
from heft.host import emulators
from heft.host.threads import in_own_thread
from heft.images import platforms
from heft.model.machine import Machine, MountKind, MountPoint, State
from heft.model.request import Created
from heft.undo import Undo
from heft.weights.abilities import Exchanging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from heft.engine.mounts import Wanted
    from heft.engine.parts import Parts
    from heft.model.config import Config, HostConfig
    from heft.model.image import Image
    from heft.model.request import CreateRequest

SHM_SIZE = 64 * 1024 * 1024
"""Bytes (moby, `DefaultShmSize`)."""

RUNTIME_NAMES = {"": "", "runc": "light", "crun": "light", "io.containerd.runc.v2": "light"}
"""Names of runtimes that clients of Docker send, as weights; empty is the default weight."""


async def create(
    parts: Parts, request: CreateRequest, remove: Callable[[str], Awaitable[None]]
) -> Created:
    """Make a machine, or nothing at all.

    Until all is done it is recorded as being created, which nobody sees and a crash undoes.
    """
    machine, warnings = plan(parts, request)
    wanted = mounts.plan(machine.config, machine.host_config, _inherited(parts, machine))
    parts.records.add(machine)
    async with Undo() as undo:
        undo.push("remove what was made of it", lambda: remove(machine.id))
        reach("create.recorded")
        await _check_sources(wanted)
        await _accept(parts, machine, wanted)
        directory = parts.settings.layout.machine(machine.id)
        with translated(f"make {directory}"):
            directory.mkdir(mode=0o710, parents=True)
        reach("create.directory")
        for mount in wanted:
            point = await _settle(parts, machine, mount)
            machine = parts.records.change(machine.id, mounts=(*machine.mounts, point))
        reach("create.volumes")
        await parts.make_base(machine)
        reach("create.base")
        await parts.weight(machine).provision(parts.launch(machine))
        machine = parts.records.change(machine.id, state=State.CREATED)
        undo.commit()
    reach("create.acknowledged")
    parts.tell(machine, "create")
    return Created(machine, warnings)


def plan(parts: Parts, request: CreateRequest) -> tuple[Machine, tuple[str, ...]]:
    """Give the record of the machine to be made, and warnings; raise for what cannot be made."""
    name = names.check(request.name) if request.name else names.invent(parts.records.names)
    if not request.config.image:
        raise InvalidArgument("no image was given: Image is empty")
    image = parts.images.runnable(request.config.image)
    machine_id = names.new_id(parts.records.ids)
    weight = weight_named(parts, request.host_config.runtime)
    warnings = _check_platform(image, request, own_kernel=parts.weights[weight].own_kernel)
    host = _defaults(request.host_config, weight)
    config = merge(request.config, image.config)
    config = msgspec.structs.replace(config, hostname=_hostname(parts, config, host, machine_id))
    if not (config.entrypoint or config.cmd):
        raise InvalidArgument("no command specified")
    config = of_kernel(parts, config, host, weight)
    warnings += validation.check(config, host)
    health.check(config)
    launch.security_options(host.security_opt)
    if parts.weights[weight].maps_users:
        user_ranges.check(host, parts.settings.remap)
    user_ranges.mode(host)
    warnings += refusals.check(host, bounds_upper=parts.weights[weight].bounds_upper)
    own_kernel = parts.weights[weight].own_kernel
    warnings += refusals.useless(request.host_config, own_kernel=own_kernel)
    validation.check_endpoints(request.endpoints)
    refusals.check_endpoints(request.endpoints)
    validation.upper_size(host)
    for extra in host.extra_hosts:
        files.extra_host(extra)
    machine = Machine(
        id=machine_id,
        name=name,
        created=time.time_ns(),
        weight=weight,
        platform=image.platform,
        image=image.id,
        layers=tuple(layer.diff_id for layer in image.layers),
        config=config,
        host_config=host,
        endpoints_asked=request.endpoints,
        state=State.CREATING,
    )
    _check_references(parts, machine)
    return machine, warnings


def weight_named(parts: Parts, runtime: str) -> str:
    """Give the weight that a `HostConfig.Runtime` means."""
    weight = RUNTIME_NAMES.get(runtime, runtime) or parts.settings.default_weight
    if weight not in parts.weights:
        known = ", ".join(sorted(parts.weights))
        raise InvalidArgument(
            f"unknown or invalid runtime name: {runtime}", hint=f"this Heft has: {known}"
        )
    return weight


def of_kernel(parts: Parts, config: Config, host: HostConfig, weight: str) -> Config:
    """Give the settings with what the weight's kernel wants besides; raise for what it cannot."""
    own_kernel = parts.weights[weight].own_kernel
    config = init_systems.settle(config, own_kernel=own_kernel)
    boots.check(config, host, own_kernel=own_kernel)
    sysctls.check(host, own_kernel=own_kernel)
    kit_choice.check(config, host, parts.weights[weight], parts.kits.knows)
    return config


def _check_platform(image: Image, request: CreateRequest, *, own_kernel: bool) -> tuple[str, ...]:
    machine = host_platform.machine()
    here = f"linux/{platforms.oci_architecture(machine)}"
    asked = request.platform
    named = image.os, image.architecture, image.variant
    if asked and not platforms.is_for(platforms.parse(asked), *named):
        raise NotFound(
            f"image with reference {request.config.image} was found but does not match the"
            f" specified platform: wanted {asked}, actual: {image.platform}"
        )
    if f"{image.platform}/".startswith(f"{here}/"):
        return ()
    warnings = []
    if not asked:
        warnings.append(
            f"The requested image's platform ({image.platform}) does not match the detected host"
            f" platform ({here}) and no specific platform was requested"
        )
    if not own_kernel and not emulators.can_execute(image.architecture):
        known = image.architecture in architectures.ALL
        other = "; --weight heavy starts a machine that does" if known else ""
        warnings.append(
            f"This host's kernel executes no programs of {image.platform}: install their emulator"
            f" (make foreign; Debian: qemu-user-static){other}"
        )
    return tuple(warnings)


def _defaults(host: HostConfig, weight: str) -> HostConfig:
    return msgspec.structs.replace(
        host,
        runtime=weight,
        shm_size=host.shm_size or SHM_SIZE,
        network_mode=host.network_mode or "default",
        # Said now, so that a later change of the one is held against the other, as Docker does.
        memory_swap=host.memory_swap or 2 * max(host.memory, 0),
    )


def _hostname(parts: Parts, config: Config, host: HostConfig, machine_id: str) -> str:
    mode, _, reference = host.network_mode.partition(":")
    if mode == "container" and (other := parts.records.find(reference)) is not None:
        return other.config.hostname
    if config.hostname:
        return config.hostname
    if host.network_mode == "host" or host.uts_mode == "host":
        return socket.gethostname()
    return machine_id[:12]


def merge(user: Config, image: Config) -> Config:
    """Give the user's settings with the image's where the user said nothing (moby, `merge`)."""
    entrypoint, cmd = user.entrypoint, user.cmd
    if not entrypoint:
        cmd = cmd or image.cmd
        entrypoint = image.entrypoint if entrypoint is None else entrypoint
    given = {variable.partition("=")[0] for variable in user.env}
    inherited = [variable for variable in image.env if variable.partition("=")[0] not in given]
    return msgspec.structs.replace(
        user,
        user=user.user or image.user,
        exposed_ports={**image.exposed_ports, **user.exposed_ports},
        env=[*inherited, *user.env],
        cmd=cmd,
        entrypoint=None if entrypoint == [""] else entrypoint,
        healthcheck=health.merged(user.healthcheck, image.healthcheck),
        volumes={**image.volumes, **user.volumes},
        working_dir=user.working_dir or image.working_dir,
        labels={**image.labels, **user.labels},
        stop_signal=user.stop_signal or image.stop_signal,
        stop_timeout=image.stop_timeout if user.stop_timeout is None else user.stop_timeout,
        shell=user.shell or image.shell,
    )


def _check_references(parts: Parts, machine: Machine) -> None:
    """Raise where it names a network or a machine that is not there, or cannot be joined.

    It is the request that is wrong: `NotFound` would make Docker's clients pull the image.
    """
    host = machine.host_config
    try:
        if network := network_of(machine):
            parts.networks.get(network)
        for mode in (host.network_mode, host.pid_mode, host.ipc_mode):
            kind, _, reference = mode.partition(":")
            if kind == "container":
                parts.check_shares(parts.records.resolve(reference))
        for text in host.volumes_from:
            parts.records.resolve(text.partition(":")[0])
        links.check(parts.records, host)
    except NotFound as error:
        raise InvalidArgument(error.message, hint=error.hint) from error


def _inherited(parts: Parts, machine: Machine) -> list[MountPoint]:
    """Give the mounts that come from other machines (`--volumes-from NAME[:ro]`)."""
    inherited = []
    for text in machine.host_config.volumes_from:
        reference, _, mode = text.partition(":")
        if mode not in ("", "ro", "rw", "z", "Z"):
            raise InvalidArgument(f"invalid mode: {mode} in --volumes-from '{text}'")
        for mount in parts.records.resolve(reference).mounts:
            if mount.kind is not MountKind.TMPFS:
                read_only = mount.read_only or mode == "ro"
                inherited.append(msgspec.structs.replace(mount, read_only=read_only))
    return inherited


async def _accept(parts: Parts, machine: Machine, wanted: tuple[Wanted, ...]) -> None:
    """Let the weight refuse the machine before anything of it is made."""
    weight = parts.weight(machine)
    if isinstance(weight, Exchanging):
        points = tuple(_point(mount) for mount in wanted)
        await weight.accept(parts.launch(msgspec.structs.replace(machine, mounts=points)))


async def _check_sources(wanted: tuple[Wanted, ...]) -> None:
    sources = [
        mount.source for mount in wanted if mount.kind is MountKind.BIND and not mount.make_source
    ]
    if sources:
        await in_own_thread(lambda: _check(sources))  # they may be where nothing answers


def _check(sources: list[str]) -> None:
    for source in sources:
        if not Path(source).exists():
            raise InvalidArgument(
                f'invalid mount config for type "bind": bind source path does not exist: {source}'
            )


async def _settle(parts: Parts, machine: Machine, wanted: Wanted) -> MountPoint:
    """Make what the mount shows, and say what it is."""
    if wanted.kind is MountKind.VOLUME:
        return await _settle_volume(parts, machine, wanted)
    if wanted.make_source:
        await in_own_thread(lambda: _make_source(wanted.source))
    return _point(wanted)


def _make_source(source: str) -> None:
    # A file, a socket or a device can be bound as well.
    with (
        translated(f"create mount source path '{source}'"),
        contextlib.suppress(FileExistsError),
    ):
        Path(source).mkdir(parents=True, exist_ok=True)


def _point(wanted: Wanted) -> MountPoint:
    """Give what is known of a mount before its volume is there."""
    return MountPoint(
        kind=wanted.kind,
        source=wanted.source,
        target=wanted.target,
        volume=wanted.volume,
        read_only=wanted.read_only,
        read_only_below=wanted.read_only_below,
        recursive=wanted.recursive,
        propagation=wanted.propagation,
        mode=wanted.mode,
        options=wanted.options,
    )


async def _settle_volume(parts: Parts, machine: Machine, wanted: Wanted) -> MountPoint:
    anonymous = not wanted.volume
    point = MountPoint(
        kind=MountKind.VOLUME,
        source="",
        target=wanted.target,
        volume=wanted.volume or names.new_id(frozenset()),
        read_only=wanted.read_only,
        subpath=wanted.subpath,
        mode=wanted.mode,
        anonymous=anonymous,
    )
    if anonymous:
        # Recorded before it is made, so that it goes with a machine that is not finished.
        mounts_then = (*machine.mounts, point)
        parts.records.change(machine.id, mounts=mounts_then)
    volume = await parts.volumes.create(
        point.volume,
        driver=wanted.driver,
        labels=dict(wanted.labels),
        options=dict(wanted.driver_options),
        anonymous=anonymous,
    )
    point = msgspec.structs.replace(
        point,
        source=str(parts.volumes.path(volume.name)),
        elsewhere=parts.volumes.is_elsewhere(volume.name),
    )
    if wanted.copy:
        layers = parts.images.layer_paths(machine.layers)
        await parts.volumes.populate(volume.name, layers, wanted.target)
    return point
