"""Which mounts a machine gets: binds, volumes, tmpfs, in the long syntax and the short. Pure.

`plan` reads a request and gives `Wanted` mounts; `heft.engine.creation` makes the volumes.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.engine.validation import check_targets
from heft.errors import InvalidArgument
from heft.model.machine import MountKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.model.config import Config, HostConfig, Mount
    from heft.model.machine import MountPoint

PROPAGATIONS = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
LOCAL = "local"
"""The one driver of volumes."""
_IGNORED_MODES = frozenset({"z", "Z", "cached", "delegated", "consistent", "rw", "ro", "nocopy"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """A mount that was asked for; its volume may not exist yet."""

    kind: MountKind
    target: str
    source: str = ""
    """A path of the host (bind)."""
    volume: str = ""
    """A volume's name; empty for an anonymous one."""
    read_only: bool = False
    read_only_below: bool = True
    recursive: bool = True
    subpath: str = ""
    propagation: str = "rprivate"
    mode: str = ""
    options: tuple[str, ...] = ()
    copy: bool = True
    """Whether an empty volume is filled with what the image has there."""
    make_source: bool = False
    """Whether a missing source directory is made (the short syntax does)."""
    driver: str = LOCAL
    driver_options: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


def plan(config: Config, host: HostConfig, inherited: Iterable[MountPoint]) -> tuple[Wanted, ...]:
    """Give all mounts, a parent before its children.

    Of the same target, the image's own volumes and the mounts `inherited` by `--volumes-from` give
    way to what was asked for. Raises `InvalidArgument` in Docker's words.
    """
    asked = [_short(text, host.volume_driver) for text in host.binds]
    asked += [_long(mount) for mount in host.mounts]
    asked += [_tmpfs(target, options) for target, options in host.tmpfs.items()]
    check_targets(wanted.target for wanted in asked)
    by_target = {mount.target: _again(mount) for mount in inherited}
    by_target |= {wanted.target: wanted for wanted in asked}
    for target in config.volumes:
        clean = _target(target, target)
        anonymous = Wanted(kind=MountKind.VOLUME, target=clean, driver=host.volume_driver or LOCAL)
        by_target.setdefault(clean, anonymous)
    return tuple(sorted(by_target.values(), key=lambda wanted: wanted.target.count("/")))


def _again(mount: MountPoint) -> Wanted:
    return Wanted(
        kind=mount.kind,
        target=mount.target,
        source=mount.source if mount.kind is MountKind.BIND else "",
        volume=mount.volume,
        read_only=mount.read_only,
        read_only_below=mount.read_only_below,
        recursive=mount.recursive,
        subpath=mount.subpath,
        propagation=mount.propagation,
        options=mount.options,
        copy=False,
    )


def _short(text: str, driver: str) -> Wanted:
    """Read `[SOURCE:]TARGET[:MODE]` (docs.docker.com, `--volume`)."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    if len(parts) == 1:
        target = _target(parts[0], text)
        return Wanted(kind=MountKind.VOLUME, target=target, driver=driver or LOCAL)
    mode = parts[2] if len(parts) == 3 else ""
    read_only, propagation, copy = _mode(mode, text)
    source, target = parts[0], _target(parts[1], text)
    if not source.startswith("/"):
        return Wanted(
            kind=MountKind.VOLUME,
            target=target,
            volume=source,
            read_only=read_only,
            mode=mode,
            copy=copy,
            driver=driver or LOCAL,
        )
    return Wanted(
        kind=MountKind.BIND,
        target=target,
        source=posixpath.normpath(source),
        read_only=read_only,
        propagation=propagation,
        mode=mode,
        make_source=True,
    )


def _mode(mode: str, text: str) -> tuple[bool, str, bool]:
    flags = mode.split(",") if mode else []
    propagation = "rprivate"
    for flag in flags:
        if flag in PROPAGATIONS:
            propagation = flag
        elif flag not in _IGNORED_MODES:
            raise InvalidArgument(f"invalid mode: {mode} in volume specification '{text}'")
    if {"ro", "rw"} <= set(flags):
        raise InvalidArgument(f"invalid mode: {mode} in volume specification '{text}'")
    return "ro" in flags, propagation, "nocopy" not in flags


def _target(target: str, text: str) -> str:
    clean = posixpath.normpath(target)
    if not target.startswith("/") or "\0" in target:
        raise InvalidArgument(
            f"invalid mount path: '{target}' mount path must be absolute (in '{text}')"
        )
    if clean in ("/", "//"):
        raise InvalidArgument(
            f"invalid volume specification: '{text}': invalid specification:"
            " destination can't be '/'"
        )
    return clean


def _tmpfs(target: str, options: str) -> Wanted:
    return Wanted(
        kind=MountKind.TMPFS,
        target=_target(target, target),
        options=tuple(option for option in options.split(",") if option),
    )


def _long(mount: Mount) -> Wanted:
    """Read one `Mount` of the API."""
    if not mount.target:
        raise _bad(mount, "field Target must not be empty")
    target = _target(mount.target, mount.target)
    if mount.type == "bind":
        return _long_bind(mount, target)
    if mount.type == "volume":
        return _long_volume(mount, target)
    if mount.type == "tmpfs":
        return _long_tmpfs(mount, target)
    raise InvalidArgument(f'mount type unknown: "{mount.type}"; it is bind, volume or tmpfs')


def _long_bind(mount: Mount, target: str) -> Wanted:
    options = mount.bind_options
    if not mount.source:
        raise _bad(mount, "field Source must not be empty")
    if not mount.source.startswith("/"):
        raise _bad(mount, f"invalid mount path: '{mount.source}' mount path must be absolute")
    if mount.volume_options is not None or mount.tmpfs_options is not None:
        raise _bad(mount, "field VolumeOptions or TmpfsOptions must not be specified")
    propagation = (options.propagation if options else "") or "rprivate"
    if propagation not in PROPAGATIONS:
        raise _bad(mount, f"invalid propagation mode: {propagation}")
    if options and options.read_only_force_recursive:
        if options.non_recursive or options.read_only_non_recursive:
            raise _bad(mount, "ReadOnlyForceRecursive conflicts with the other ways")
        if not mount.read_only:
            raise _bad(mount, "ReadOnlyForceRecursive needs ReadOnly")
    return Wanted(
        kind=MountKind.BIND,
        target=target,
        source=posixpath.normpath(mount.source),
        read_only=mount.read_only,
        read_only_below=not (options and options.read_only_non_recursive),
        recursive=not (options and options.non_recursive),
        propagation=propagation,
        make_source=bool(options and options.create_mountpoint),
    )


def _long_volume(mount: Mount, target: str) -> Wanted:
    options = mount.volume_options
    if mount.bind_options is not None or mount.tmpfs_options is not None:
        raise _bad(mount, "field BindOptions or TmpfsOptions must not be specified")
    subpath = options.subpath if options else ""
    if subpath and not mount.source:
        raise _bad(mount, "must not set Subpath when using anonymous volumes")
    if subpath.startswith("/") or ".." in subpath.split("/") or "\0" in subpath:
        raise _bad(mount, f"subpath must be a relative path within the volume: '{subpath}'")
    driver = options.driver_config if options else None
    return Wanted(
        kind=MountKind.VOLUME,
        target=target,
        volume=mount.source,
        read_only=mount.read_only,
        subpath=subpath,
        copy=not (options and options.no_copy),
        driver=(driver.name if driver else "") or LOCAL,
        driver_options=tuple(driver.options.items()) if driver else (),
        labels=tuple(options.labels.items()) if options else (),
    )


def _long_tmpfs(mount: Mount, target: str) -> Wanted:
    if mount.source:
        raise _bad(mount, "field Source must not be specified")
    given = mount.tmpfs_options
    options = []
    if given and given.size_bytes:
        options.append(f"size={given.size_bytes}")
    if given and given.mode:
        options.append(f"mode={given.mode:o}")
    if given:
        options += ["=".join(option) for option in given.options]
    if mount.read_only:
        options.append("ro")
    return Wanted(kind=MountKind.TMPFS, target=target, options=tuple(options))


def _bad(mount: Mount, why: str) -> InvalidArgument:
    return InvalidArgument(f'invalid mount config for type "{mount.type}": {why}')
