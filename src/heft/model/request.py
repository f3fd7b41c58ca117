"""What is asked of the engine, and its answers where they are no record of the store."""

from __future__ import annotations

import enum

import msgspec

from heft.model.config import Config, EndpointConfig, HostConfig, RestartPolicy, Wire
from heft.model.machine import Machine, Stream


class CreateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A machine to make, as the user asked for it; empty strings are the defaults."""

    name: str = ""
    platform: str = ""
    config: Config = Config()
    host_config: HostConfig = HostConfig()
    endpoints: dict[str, EndpointConfig] = {}
    """By network name."""


class Created(msgspec.Struct, frozen=True):
    """A machine that was made, and what the user should know about it."""

    machine: Machine
    warnings: tuple[str, ...] = ()


class Update(Wire, frozen=True, kw_only=True):
    """Limits to be changed; what is zero, empty or None stays. Units as in `HostConfig`."""

    blkio_weight: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    kernel_memory: int = 0
    memory: int = 0
    memory_reservation: int = 0
    memory_swap: int = 0
    nano_cpus: int = 0
    pids_limit: int | None = None
    restart_policy: RestartPolicy = RestartPolicy()


class WaitCondition(enum.StrEnum):
    """What a client waits for."""

    NOT_RUNNING = "not-running"
    """Fulfilled at once by a machine that does not run."""
    NEXT_EXIT = "next-exit"
    REMOVED = "removed"


class LogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a machine's log. Times are nanoseconds since 1970, 0 is no bound."""

    stdout: bool = True
    stderr: bool = True
    since: int = 0
    until: int = 0
    tail: int | None = None
    """Full lines from the end; None is all."""
    follow: bool = False


class LogLine(msgspec.Struct, frozen=True):
    """A piece of output as it was logged: a full line with its newline, or a part of one."""

    time: int
    """Nanoseconds since 1970."""
    stream: Stream
    data: bytes
