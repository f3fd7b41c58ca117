"""A machine: an image, a writable layer and a weight, as the store keeps it."""

from __future__ import annotations

import enum

import msgspec

from heft.model.config import Config, EndpointConfig, HostConfig
from heft.model.ids import IdMap
from heft.model.network import Endpoint


class State(enum.StrEnum):
    """Where a machine is in its life; the legal transitions stand in `heft.engine.lifecycle`."""

    CREATING = "creating"
    """Its creation is recorded and not yet acknowledged; nobody sees it, a crash undoes it."""
    CREATED = "created"
    """It exists and has never run."""
    STARTING = "starting"
    """A start is recorded; its workload may or may not have run a first instruction."""
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    """It ended, and its restart policy will start it again."""
    EXITED = "exited"
    REMOVING = "removing"
    """Its removal is recorded and goes on after any crash."""
    DEAD = "dead"
    """Its removal failed; it can only be removed again."""


class MountKind(enum.StrEnum):
    """What a mount shows."""

    BIND = "bind"
    VOLUME = "volume"
    TMPFS = "tmpfs"


class MountPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One mount of a machine, settled when it is created."""

    kind: MountKind
    source: str
    """A path of the host; empty for tmpfs."""
    target: str
    """An absolute path in the machine."""
    volume: str = ""
    """The volume's name (kind: volume)."""
    read_only: bool = False
    read_only_below: bool = True
    """Whether what is mounted under the source is read-only too, where it is."""
    recursive: bool = True
    """Whether what is mounted under the source is shown at all."""
    subpath: str = ""
    """The part of the volume that is shown, as seen from inside it; empty is all."""
    propagation: str = "rprivate"
    mode: str = ""
    """The mode part of `--volume`, as given."""
    options: tuple[str, ...] = ()
    """Mount options (kind: tmpfs)."""
    elsewhere: bool = False
    """A volume whose files are not in the store: what its driver's options say is mounted there."""
    generated: bool = False
    """A file that Heft writes for the machine, not one of the user's."""
    anonymous: bool = False
    """A volume made for this machine, removed with `rm -v` and `--rm`."""


class HealthStatus(enum.StrEnum):
    """What a machine's health checks say of its run."""

    STARTING = "starting"
    """None has succeeded yet, and not too many have failed."""
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One health check that was made. Times are nanoseconds since 1970."""

    start: int
    end: int
    exit_code: int
    """That of the command; -1 where there is none."""
    output: str


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The health of a run, as far as its checks have told."""

    status: HealthStatus = HealthStatus.STARTING
    failing_streak: int = 0
    """How many checks have failed since the last that succeeded."""
    log: tuple[Check, ...] = ()
    """The last few, the oldest first."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The last run of a machine. Times are nanoseconds since 1970, 0 for never."""

    pid: int = 0
    started: int = 0
    finished: int = 0
    """Of a run that is not over: when the one before was."""
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    """Why it could not start or why it ended, where that is not the workload's own doing."""
    health: Health | None = None
    """None where the machine has no health check."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One machine.

    `config` is the user's settings over the image's; `image` the image's id, `config.image` the
    reference as it was given. A change makes a new value (`msgspec.structs.replace`).
    """

    id: str
    name: str
    created: int
    weight: str
    platform: str
    image: str
    layers: tuple[str, ...]
    """The image's layers by diff id, from the lowest up."""
    config: Config
    host_config: HostConfig
    endpoints_asked: dict[str, EndpointConfig] = {}
    mounts: tuple[MountPoint, ...] = ()
    state: State = State.CREATED
    run: Run = Run()
    endpoint: Endpoint | None = None
    ids: IdMap | None = None
    """Which users of the host its users are, while it runs; None: the same."""
    restart_count: int = 0
    remove_volumes: bool = False
    """Its anonymous volumes go with it; set together with the state `removing`."""
    stopped_by_user: bool = False
    """A user stopped it: `unless-stopped` does not start it with the daemon."""

    changing: str = ""
    """The weight that it is going to, or has come to; until what is not of its own has gone."""
    address: str = ""
    """The last that it had on its network: it gets it again, where it is free."""
    adjusting: bool = False
    """Its limits were changed while it ran, and may not hold yet."""

    @property
    def argv(self) -> tuple[str, ...]:
        """Give the workload's argument vector: entrypoint, then command."""
        return (*(self.config.entrypoint or ()), *(self.config.cmd or ()))

    @property
    def volumes(self) -> frozenset[str]:
        """Give the names of the volumes that it mounts."""
        return frozenset(mount.volume for mount in self.mounts if mount.volume)

    @property
    def is_up(self) -> bool:
        """Say whether its workload is there (paused counts)."""
        return self.state in (State.RUNNING, State.PAUSED)


class Stream(enum.IntEnum):
    """The standard streams, by file descriptor."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2


class Exec(msgspec.Struct, kw_only=True):
    """A further process of a running machine; lives in the daemon's memory only."""

    id: str
    machine_id: str
    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    tty: bool = False
    privileged: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach_keys: str = ""
    console_size: tuple[int, int] = (0, 0)
    """Rows and columns."""
    pid: int = 0
    running: bool = False
    started: bool = False
    exit_code: int | None = None
