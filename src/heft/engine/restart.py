"""When a machine that ended is started again (docs.docker.com, "Restart policies")."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heft.model.config import RestartPolicy
    from heft.model.machine import Machine

FIRST_DELAY = 0.1
LONGEST_DELAY = 60.0
LONG_ENOUGH = 10.0
"""Seconds of running after which the delay starts over."""


def wanted_after_exit(policy: RestartPolicy, *, code: int, count: int, by_user: bool) -> bool:
    """Say whether a run that just ended is to be followed by another."""
    if by_user:
        return False
    if policy.name == "on-failure":
        bounded = policy.maximum_retry_count
        return code != 0 and (not bounded or count < bounded)
    return policy.name in ("always", "unless-stopped")


def wanted_at_daemon_start(machine: Machine) -> bool:
    """Say whether a machine that does not run is to be started with the daemon."""
    policy = machine.host_config.restart_policy.name
    has_run = machine.run.started > 0
    return has_run and (
        policy == "always" or (policy == "unless-stopped" and not machine.stopped_by_user)
    )


def delay(previous: float, ran: float) -> float:
    """Give the seconds to wait before the next run: doubled each time, from 0.1 to 60."""
    if not previous or ran >= LONG_ENOUGH:
        return FIRST_DELAY
    return min(previous * 2, LONGEST_DELAY)
