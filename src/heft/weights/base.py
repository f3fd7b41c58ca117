"""What a weight is: the one interface between a machine's life and what runs it.

The engine decides *that* something happens and records it; a weight makes it happen and knows
nothing of names, stores, policies or other weights. Everything it needs comes in a `Launch`, all
references resolved. A fourth weight is one package that implements `Weight`, and one line in
`heft.weights.registry`.

The order of calls for one run of a machine::

    prepare ── start ── (exec, signal, attach, stats, …)* ── wait returns ── discard
       │                                  adopt (a new daemon takes over here) ──┘
       └─ discard (if start never comes)

Any process may die between any two of them. `discard` can be called at any time and any number of
times, and leaves nothing of the run behind; the machine's upper is not its to touch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from heft.host.usage import Usage

if TYPE_CHECKING:
    from pathlib import Path

    from heft.model.config import DeviceMapping, ThrottleDevice, Ulimit, WeightDevice
    from heft.model.ids import IdMap
    from heft.model.machine import MountPoint, Stream
    from heft.model.network import Endpoint, Plug


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a weight works on this host; where not, why and what to do.

    `detail` is for people: the version of the tools, the accelerator and why it was chosen.
    """

    ok: bool
    why: str = ""
    hint: str = ""
    detail: str = ""
    fits: bool = True
    """Whether this is the kind of host that the weight is for, whatever it may lack."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What executes the code of a machine with hardware of its own: `kvm` or `tcg`; and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Process:
    """A process to run in a machine."""

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    """`NAME=value`, the image's and the user's merged. The weight adds PATH, HOME, TERM and
    HOSTNAME where they are missing, as Docker does."""
    cwd: str = "/"
    user: str = ""
    """`user[:group]`, names or numbers, looked up in the machine's own files; empty is root."""
    groups: tuple[str, ...] = ()
    """Further groups, names or numbers."""
    tty: bool = False
    stdin: bool = False
    """Whether standard input is a pipe (or the terminal) rather than /dev/null."""
    stdin_once: bool = False
    """Whether standard input ends when the first client that attached to it goes."""
    console_size: tuple[int, int] = (0, 0)
    """Rows and columns of the terminal; zeros: unknown."""
    capabilities: tuple[str, ...] = ()
    """`CAP_…` names of the bounding, permitted, effective sets (inheritable and ambient empty)."""
    no_new_privileges: bool = False
    limits: tuple[Ulimit, ...] = ()
    oom_score_adj: int = 0


@dataclass(frozen=True, slots=True)
class Root:
    """The machine's root file system."""

    layers: tuple[Path, ...]
    """The image's layers as applied, from the lowest up."""
    upper: Path
    """The directory that holds the machine's own writable layer (light: `upper/diff` and
    `upper/work` in it; medium and heavy: `upper/disk.ext4`). Exists and is made by the weight's
    `provision`."""
    read_only: bool = False
    base: Path | None = None
    """The layers merged into one file (EROFS), for a weight that `needs_base`; whole and there in
    `provision` and `prepare`, elsewhere perhaps None."""
    size: int = 0
    """Bytes that the upper may hold; 0: as the weight has it."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits; 0, empty or None is none. Units as in `heft.model.config.HostConfig`."""

    memory: int = 0
    memory_swap: int = 0
    memory_reservation: int = 0
    memory_swappiness: int | None = None
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0
    oom_kill_disable: bool = False
    blkio_weight: int = 0
    blkio_weight_device: tuple[WeightDevice, ...] = ()
    blkio_device_read_bps: tuple[ThrottleDevice, ...] = ()
    blkio_device_write_bps: tuple[ThrottleDevice, ...] = ()
    blkio_device_read_iops: tuple[ThrottleDevice, ...] = ()
    blkio_device_write_iops: tuple[ThrottleDevice, ...] = ()


@dataclass(frozen=True, slots=True)
class Namespaces:
    """What the machine shares: `private`, `host`, or the path of a namespace to join.

    `network` also: `none`, one of its own with only a loopback.
    """

    network: str = "private"
    pid: str = "private"
    ipc: str = "private"
    """Also: `none`, one of its own without shared memory; `shareable`, one that others can join."""
    ipc_of: str = ""
    """The id of the machine whose `ipc` it joins, with its shared memory."""
    uts: str = "private"
    cgroup: str = "private"
    user: str = "host"
    """Also what owns `network`, where that is a path; then `Launch.ids` says whose ids it has."""


@dataclass(frozen=True, slots=True)
class Security:
    """Confinement beyond the process's own capabilities."""

    privileged: bool = False
    seccomp: str = "default"
    """`default`, `unconfined`, or the profile itself as JSON (Docker's format)."""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    apparmor: str = ""
    selinux: tuple[str, ...] = ()
    devices: tuple[DeviceMapping, ...] = ()
    device_rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Log:
    """Where the workload's output is kept, as lines of the CRI format.

    `2016-10-06T00:17:09.669794202Z stdout F text`; F: a full line, P: a part of one.
    """

    path: Path | None
    """None: not kept."""
    max_size: int = 0
    """Bytes after which the file is rotated; 0 is never."""
    max_file: int = 1
    journal: bool = False
    """Whether it goes to the host's journal too (systemd-journald.service(8))."""
    tag: str = ""
    """What entries in the journal are marked with."""


@dataclass(frozen=True, slots=True)
class Launch:
    """All that a weight needs to know to run a machine once."""

    id: str
    name: str
    hostname: str
    domainname: str
    platform: str
    run: Path
    """A directory of this run's own on a file system of this boot; the weight makes and removes
    it. Everything that `adopt` needs is in it."""
    root: Root
    process: Process
    init: bool
    """Whether a small init (PID 1 that reaps and forwards signals) stands before the process."""
    mounts: tuple[MountPoint, ...]
    """The user's mounts, sorted so that a parent comes before its children; and the generated
    /etc/hosts, /etc/hostname, /etc/resolv.conf as binds."""
    namespaces: Namespaces
    endpoint: Endpoint | None
    """Its place on a network, already plugged; None where `namespaces.network` says all."""
    resources: Resources
    security: Security
    log: Log
    shm_size: int
    sysctls: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    cgroup_parent: str = ""
    ids: IdMap | None = None
    """Which users of the host its users are; None: the same. What is kept of it (upper, volumes,
    generated files) has the ids that it sees."""
    init_system: bool = False
    """Whether it boots a whole system, and is given all of that (weights with `own_kernel`)."""
    cold_boot: bool = False
    """Whether its kernel is booted at each start, and no template used."""
    kit: str = ""
    """What its kernel is of, by name (weights with `own_kernel`); empty: the usual one."""


@dataclass(frozen=True, slots=True)
class Started:
    """A workload that runs its first instruction now.

    `pid` is the host's (for a guest, its monitor's).
    """

    pid: int


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ended: `code` is the exit status, or 128 + the signal that ended it."""

    code: int
    oom_killed: bool = False
    error: str = ""
    """Why, where it was not the workload's own doing ("its monitor was killed", "kernel panic")."""
    finished: int = 0
    """Nanoseconds since 1970; 0: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats(Usage):
    """What a machine uses; CPU times since its start."""

    read: int
    """When, nanoseconds since 1970."""
    network_received: int = 0
    network_sent: int = 0
    network_received_packets: int = 0
    network_sent_packets: int = 0


class Session(Protocol):
    """A client's hold on the standard streams of a process.

    With a terminal all output comes as STDOUT. `read` gives output from the moment the session was
    opened on; a session that is not read in time holds the workload up (as a pipe would), so who
    opens one reads or closes it.
    """

    async def read(self) -> tuple[Stream, bytes] | None:
        """Give the next piece of output; None when there will be no more."""

    async def write(self, data: bytes) -> None:
        """Feed standard input; returns when the data is on its way.

        Data for a process that is gone or has no standard input is dropped.
        """

    async def close_stdin(self) -> None:
        """Tell the process that its input has ended (where `stdin_once`; else only detach it)."""

    async def close(self) -> None:
        """Let go; the process runs on."""


class Execution(Protocol):
    """A further process in a machine."""

    pid: int
    session: Session | None
    """Opened before its first instruction; None if nothing was to be attached."""

    async def wait(self) -> int:
        """Give its exit code, when it has ended."""

    async def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal the size."""

    def kill(self) -> None:
        """Send SIGKILL to it and what it has started in its session; no harm if it has ended."""


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """A further process to run in a machine that runs."""

    id: str
    process: Process
    attach: bool
    """Whether to open a session; else its output is dropped."""
    privileged: bool = False


class Weight(Protocol):
    """One way to run machines. Methods raise `HeftError`s only.

    All take the machine's id; `NotFound` where no run of it is prepared or adopted here.
    """

    name: str
    plug: Plug
    """What it needs the machine's end of a link to be."""
    bounds_upper: bool
    """Whether it keeps what a machine writes to a size (`Root.size`)."""
    maps_users: bool
    """Whether users of its machines are users of the host, which may be others (`Launch.ids`)."""
    needs_base: bool
    """Whether it shows its machines one file for all layers (`Root.base`)."""
    own_kernel: bool
    """Whether its machines have a kernel of their own."""

    def kit(self, platform: str) -> str:
        """Give the kit of machines of a platform that ask for none; empty: they have none."""

    def takes_kit(self, name: str) -> bool:
        """Say whether its machines can start with a kit of this name."""

    async def probe(self) -> Availability:
        """Say whether machines can be run so here; asked once, cheap to ask again."""

    async def provision(self, launch: Launch) -> None:
        """Make the machine's writable layer, empty, at `launch.root.upper`. Idempotent."""

    async def prepare(self, launch: Launch) -> None:
        """Do everything that comes before the workload's first instruction.

        After it, the machine can be attached to, and nothing of the workload has run.
        Raises `StartFailed` where the workload cannot be run; then nothing is left.
        """

    async def start(self, machine_id: str) -> Started:
        """Let the prepared workload run."""

    async def adopt(self, launch: Launch) -> Exit | Started | None:
        """Take over what an earlier daemon started.

        `Started` if its workload runs, `Exit` if it has run and ended, None if the workload never
        got to its first instruction (the caller then discards it).
        """

    async def wait(self, machine_id: str) -> Exit:
        """Return when the run has ended. Several may wait."""

    async def signal(self, machine_id: str, signal: int) -> None:
        """Send a signal to the workload's first process."""

    async def attach(self, machine_id: str) -> Session:
        """Open a session on the workload's own streams."""

    async def resize(self, machine_id: str, rows: int, columns: int) -> None:
        """Tell the workload's terminal the size."""

    async def exec(self, machine_id: str, request: ExecRequest) -> Execution:
        """Run a further process. Raises `StartFailed` (126, 127) where that cannot be done."""

    async def stats(self, machine_id: str) -> Stats:
        """Measure what it uses now."""

    async def processes(self, machine_id: str) -> tuple[int, ...]:
        """Give the host's process ids of everything in it (for a guest: its monitor's)."""

    async def discard(self, launch: Launch) -> None:
        """End whatever still runs and remove every trace of the run; harmless when repeated."""

    async def sweep(self, known: frozenset[str]) -> None:
        """Remove what was left by runs of machines not in `known` (ids)."""

    async def close(self) -> None:
        """Give up watching, as the daemon ends: machines run on, what waits for some is ended."""
