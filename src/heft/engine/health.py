"""Health checks: when one is made, and what its result means. Pure.

States, times and defaults are Docker's (docs.docker.com/reference/dockerfile, HEALTHCHECK; moby,
daemon/health.go).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from heft import durations
from heft.errors import InvalidArgument
from heft.model.config import HealthConfig
from heft.model.machine import Health, HealthStatus

if TYPE_CHECKING:
    from heft.model.config import Config
    from heft.model.machine import Check, Run

INTERVAL = 30_000_000_000
TIMEOUT = 30_000_000_000
START_INTERVAL = 5_000_000_000
"""Nanoseconds, as all times here."""
RETRIES = 3
KEPT = 5
"""Checks that are remembered."""
LEAST_TIME = 1_000_000
SHELL = ("/bin/sh", "-c")
_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start_period": "StartPeriod",
    "start_interval": "StartInterval",
}


def check(config: Config) -> None:
    """Raise `InvalidArgument` for a health check that cannot be."""
    asked = config.healthcheck
    if asked is None:
        return
    for field, name in _TIMES.items():
        value: int = getattr(asked, field)
        if value < 0 or 0 < value < LEAST_TIME:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if asked.retries < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")
    if asked.test and asked.test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise InvalidArgument(
            f"Unknown healthcheck type '{asked.test[0]}' (expected 'CMD', 'CMD-SHELL' or 'NONE')"
        )


def merged(user: HealthConfig | None, image: HealthConfig | None) -> HealthConfig | None:
    """Give the user's settings, with the image's where the user said nothing."""
    if user is None or image is None:
        return user or image
    fields = HealthConfig.__struct_fields__
    return HealthConfig(
        **{field: getattr(user, field) or getattr(image, field) for field in fields}
    )


def command(config: Config) -> tuple[str, ...]:
    """Give the argument vector of a check; empty where there is none to be made."""
    test = config.healthcheck.test if config.healthcheck is not None else []
    kind, *words = test or ("NONE",)
    if kind == "CMD":
        return tuple(words)
    if kind == "CMD-SHELL" and words:
        return (*(config.shell or SHELL), *words)
    return ()


def initial(config: Config) -> Health | None:
    """Give the health of a run that begins; None where there is no check."""
    return Health() if command(config) else None


def timeout(asked: HealthConfig) -> int:
    """Give how long a check may take."""
    return asked.timeout or TIMEOUT


def exceeded(nanoseconds: int, said: str) -> str:
    """Say that a check took longer than it may, and what it had said by then."""
    why = f"Health check exceeded timeout ({durations.exactly(nanoseconds)})"
    return f"{why}: {said}" if said else why


def pause_before(asked: HealthConfig, health: Health, ran: int) -> int:
    """Give how long to wait before the next check of a machine that has run for `ran`."""
    if ran < asked.start_period and health.status is HealthStatus.STARTING:
        return asked.start_interval or START_INTERVAL
    return asked.interval or INTERVAL


def after(health: Health, made: Check, asked: HealthConfig, started: int) -> Health:
    """Give the health when this check has been made, of a machine that was started then."""
    log = (*health.log, made)[-KEPT:]
    if made.exit_code == 0:
        return Health(status=HealthStatus.HEALTHY, log=log)
    in_start = health.status is HealthStatus.STARTING and made.start - started < asked.start_period
    if in_start:
        return msgspec.structs.replace(health, log=log)
    streak = health.failing_streak + 1
    failed = streak >= (asked.retries or RETRIES)
    status = HealthStatus.UNHEALTHY if failed else health.status
    return Health(status=status, failing_streak=streak, log=log)


def unwatched(run: Run) -> Run:
    """Give the run of a machine that is not checked any more: it has stopped, or is paused."""
    if run.health is None:
        return run
    health = msgspec.structs.replace(run.health, status=HealthStatus.UNHEALTHY)
    return msgspec.structs.replace(run, health=health)
