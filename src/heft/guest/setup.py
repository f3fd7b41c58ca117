"""What a guest is told so that it becomes the machine of a `Launch`: SETUP, START, FILES. Pure.

What has to be looked up or decided before comes in `Surroundings`. Defaults are Docker's (moby,
oci/defaults.go and daemon/oci_linux.go), as far as they mean anything in a kernel of one's own.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from heft.errors import HostError, InvalidArgument
from heft.guest.protocol import MountKind, Tag
from heft.guest.records import Fields
from heft.model import machine
from heft.model.capabilities import ALL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from heft.model.config import Ulimit
    from heft.model.machine import MountPoint
    from heft.model.network import Endpoint
    from heft.weights.base import Launch, Process

WORKLOAD = "workload"
"""The ID of the machine's first process."""
STDIN, STDOUT, STDERR = 1, 2, 3
"""Its channels."""
INTERFACE = "eth0"
CONTAINER = "heft"
"""What systemd-detect-virt(1) makes `container-other` of."""
FILE_MODE = 0o644
EVERY_CAPABILITY = (1 << len(ALL)) - 1
RESOURCES = (
    *("cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as"),
    *("locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"),
)
"""Resource limits by number (asm-generic/resource.h)."""
_UNLIMITED = (1 << 64) - 1
_SYSCTLS = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}
_TMPFS_DEFAULTS = (("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec"))
_GENERATED = frozenset({"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"})


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of the guest, by the part it plays: `base`, `upper`, `modules`."""

    role: str
    selector: str
    """The serial number of a virtio disk, or a path in the guest's /dev."""
    type: str
    """Its file system."""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """Where a bind or a volume is to be found in what the host exports to the guest."""

    tag: str
    """Of the 9p share."""
    subpath: str = ""
    """The part of the share that is shown; it may be a file."""
    options: str = ""
    """Further options of 9p."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a guest has been given for one run."""

    disks: tuple[Disk, ...]
    clock: int
    """The time, nanoseconds since 1970."""
    entropy: bytes
    """At least 32 bytes that nobody else gets."""
    shares: Mapping[str, Share] = field(default_factory=dict)
    """By the target of the mount."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Contents of the generated files, by target."""
    mtu: int = 0
    """Of its network card, bytes; 0: what the card says."""


def loads_modules(launch: Launch) -> bool:
    """Say whether a machine may load modules of its kernel, and gets a disk of them."""
    return launch.init_system or launch.security.privileged


def generated_files(launch: Launch) -> dict[str, Path]:
    """Give the files that Heft writes for the machine, by target; a guest is sent their contents.

    They lie beside the upper (`heft.engine.launch`); what the user binds to the same targets does
    not.
    """
    own = launch.root.upper.parent
    return {
        point.target: own / posixpath.basename(point.target)
        for point in launch.mounts
        if point.target in _GENERATED
        and point.source == str(own / posixpath.basename(point.target))
    }


def setup(launch: Launch, given: Surroundings) -> Fields:
    """Give SETUP. Raises `HostError` for a mount that there is no share for."""
    fields = Fields().text(Tag.HOSTNAME, launch.hostname)
    fields.text(Tag.DOMAINNAME, launch.domainname)
    fields.number(Tag.CLOCK, given.clock).data(Tag.ENTROPY, given.entropy)
    for disk in given.disks:
        fields.record(Tag.DISK, _disk(disk))
    fields.flag(Tag.READ_ONLY_ROOT, launch.root.read_only)
    if launch.endpoint is not None:
        fields.record(Tag.NETWORK, _network(launch.endpoint, given.mtu))
    own = generated_files(launch)
    for point in launch.mounts:
        if point.target not in own:
            fields.record(Tag.MOUNT, _mount(point, given))
        elif (content := given.files.get(point.target)) is not None:
            fields.record(Tag.FILE, _file(point.target, content, read_only=point.read_only))
    fields.number(Tag.SHM_SIZE, 0 if launch.namespaces.ipc == "none" else launch.shm_size)
    sysctls = _SYSCTLS | launch.sysctls
    fields.texts(Tag.SYSCTL, (f"{name}={value}" for name, value in sysctls.items()))
    fields.number(Tag.PIDS_LIMIT, launch.resources.pids_limit)
    fields.flag(Tag.INIT_SYSTEM, launch.init_system)
    return fields.flag(Tag.PRIVILEGED, launch.security.privileged)


def generated_contents(launch: Launch) -> dict[str, bytes]:
    """Read the generated files, by target: a machine that never ran has none yet."""
    own = generated_files(launch)
    return {target: path.read_bytes() for target, path in own.items() if path.exists()}


def files(contents: Mapping[str, bytes]) -> Fields:
    """Give FILES: other contents of generated files, by target."""
    fields = Fields()
    for target, content in contents.items():
        fields.record(Tag.FILE, _file(target, content))
    return fields


def start_workload(launch: Launch) -> Fields:
    """Give START of the workload, held before its first instruction."""
    every = loads_modules(launch)
    process = _of_system(launch.process) if launch.init_system else launch.process
    fields = _process(WORKLOAD, process, privileged=every)
    fields.flag(Tag.INIT, launch.init).flag(Tag.HOLD, True).flag(Tag.WORKLOAD, True)
    fields.flag(Tag.PRIVILEGED, launch.security.privileged)
    if launch.process.stdin:
        fields.number(Tag.STDIN, STDIN)
    fields.number(Tag.STDOUT, STDOUT)
    return fields if launch.process.tty else fields.number(Tag.STDERR, STDERR)


def _of_system(process: Process) -> Process:
    """Tell systemd that clock, network and console are its host's (systemd.io/CONTAINER_INTERFACE).

    What it says is the machine's output: nobody is asked there to log in, unless at a terminal. In
    the place of a kernel's command line it reads its own, as it does in containers.
    """
    told = [f"container={CONTAINER}"]
    if not process.tty:
        words = ("systemd.mask=console-getty.service", *process.argv[1:])
        told.append(f"SYSTEMD_PROC_CMDLINE={' '.join(words)}")
    return replace(process, env=(*told, *process.env))


def start_further(
    identity: str, process: Process, channels: Mapping[Tag, int], *, privileged: bool
) -> Fields:
    """Give START of a further process; `channels` are those of STDIN, STDOUT, STDERR."""
    fields = _process(identity, process, privileged=privileged)
    fields.flag(Tag.PRIVILEGED, privileged)
    for tag, number in channels.items():
        fields.number(tag, number)
    return fields


def _process(identity: str, process: Process, *, privileged: bool) -> Fields:
    fields = Fields().text(Tag.ID, identity)
    fields.texts(Tag.ARGV, process.argv).texts(Tag.ENV, process.env)
    fields.text(Tag.CWD, process.cwd or "/").text(Tag.USER, process.user)
    fields.texts(Tag.GROUP, process.groups)
    if process.tty:
        rows, columns = process.console_size
        fields.flag(Tag.TTY, True).number(Tag.ROWS, rows).number(Tag.COLUMNS, columns)
    mask = EVERY_CAPABILITY if privileged else sum(1 << ALL.index(c) for c in process.capabilities)
    fields.number(Tag.CAPABILITIES, mask)
    fields.flag(Tag.NO_NEW_PRIVILEGES, process.no_new_privileges)
    for limit in process.limits:
        fields.record(Tag.LIMIT, _limit(limit))
    return fields.signed(Tag.OOM_SCORE_ADJ, process.oom_score_adj)


def _limit(limit: Ulimit) -> Fields:
    if limit.name not in RESOURCES:
        raise InvalidArgument(f"invalid ulimit type: {limit.name}")
    hard = limit.hard if limit.hard >= 0 else _UNLIMITED
    soft = min(limit.soft if limit.soft >= 0 else _UNLIMITED, hard)
    fields = Fields().number(Tag.NUMBER, RESOURCES.index(limit.name))
    return fields.number(Tag.SOFT, soft).number(Tag.HARD, hard)


def _disk(disk: Disk) -> Fields:
    fields = Fields().text(Tag.ROLE, disk.role).text(Tag.SELECTOR, disk.selector)
    return fields.text(Tag.TYPE, disk.type).flag(Tag.READ_ONLY, disk.read_only)


def _network(endpoint: Endpoint, mtu: int) -> Fields:
    fields = Fields().text(Tag.MAC, endpoint.mac).text(Tag.ADDRESS, endpoint.address)
    fields.number(Tag.PREFIX, endpoint.prefix).text(Tag.GATEWAY, endpoint.gateway)
    return fields.number(Tag.MTU, mtu).text(Tag.NAME, INTERFACE)


def _file(target: str, content: bytes, *, read_only: bool = False) -> Fields:
    fields = Fields().text(Tag.TARGET, target).data(Tag.CONTENT, content)
    return fields.number(Tag.MODE, FILE_MODE).flag(Tag.READ_ONLY, read_only)


def _mount(point: MountPoint, given: Surroundings) -> Fields:
    if point.kind is machine.MountKind.TMPFS:
        fields = Fields().number(Tag.KIND, MountKind.TMPFS)
        return fields.text(Tag.TARGET, point.target).text(Tag.OPTIONS, _tmpfs_options(point))
    share = given.shares.get(point.target)
    if share is None:
        raise HostError(f"nothing is shared with the guest for {point.target}")
    fields = Fields().number(Tag.KIND, MountKind.SHARE).text(Tag.TAG, share.tag)
    fields.text(Tag.SUBPATH, share.subpath).text(Tag.TARGET, point.target)
    # To the guest a share is one mount: what only a part of is read-only, the host says no for.
    whole = point.read_only_below or not point.recursive
    fields.flag(Tag.READ_ONLY, point.read_only and whole)
    return fields.text(Tag.OPTIONS, share.options)


def _tmpfs_options(point: MountPoint) -> str:
    defaults = [no for no, yes in _TMPFS_DEFAULTS if yes not in point.options]
    options = dict.fromkeys((*defaults, *point.options))
    if point.read_only:
        options["ro"] = None
    return ",".join(options)
