"""What health checks mean, without making any."""

import pytest

from heft.engine import health
from heft.errors import InvalidArgument
from heft.model.config import Config, HealthConfig
from heft.model.machine import Check, Health, HealthStatus

SECOND = 1_000_000_000


def made(code: int, start: int = 100 * SECOND) -> Check:
    return Check(start=start, end=start + 1, exit_code=code, output="")


def test_the_command() -> None:
    def command(*test: str, shell: list[str] | None = None) -> tuple[str, ...]:
        return health.command(Config(healthcheck=HealthConfig(test=list(test)), shell=shell))

    assert command("CMD", "a", "b c") == ("a", "b c")
    assert command("CMD-SHELL", "a b") == ("/bin/sh", "-c", "a b")
    assert command("CMD-SHELL", "a", shell=["/bin/ash", "-ec"]) == ("/bin/ash", "-ec", "a")
    for none in ((), ("NONE",), ("CMD",), ("CMD-SHELL",), ("OTHER", "x")):
        assert command(*none) == ()
        assert health.initial(Config(healthcheck=HealthConfig(test=list(none)))) is None
    assert health.initial(Config()) is None


def test_failures_add_up_and_a_success_ends_them() -> None:
    asked = HealthConfig(test=["CMD", "x"])
    now = Health()
    for streak in (1, 2):
        now = health.after(now, made(1), asked, 0)
        assert (now.status, now.failing_streak) == (HealthStatus.STARTING, streak)
    now = health.after(now, made(-1), asked, 0)
    assert (now.status, now.failing_streak) == (HealthStatus.UNHEALTHY, 3)
    now = health.after(now, made(0), asked, 0)
    assert (now.status, now.failing_streak) == (HealthStatus.HEALTHY, 0)
    now = health.after(now, made(1), asked, 0)
    assert (now.status, now.failing_streak) == (HealthStatus.HEALTHY, 1)
    for _ in range(10):
        now = health.after(now, made(1), asked, 0)
    assert len(now.log) == health.KEPT


def test_the_start_period_forgives_until_the_first_success() -> None:
    asked = HealthConfig(test=["CMD", "x"], retries=1, start_period=10 * SECOND, interval=SECOND)
    now = health.after(Health(), made(1, 5 * SECOND), asked, 0)
    assert (now.status, now.failing_streak, len(now.log)) == (HealthStatus.STARTING, 0, 1)
    well = health.after(now, made(0, 6 * SECOND), asked, 0)
    assert health.after(well, made(1, 7 * SECOND), asked, 0).status is HealthStatus.UNHEALTHY
    assert health.after(now, made(1, 10 * SECOND), asked, 0).status is HealthStatus.UNHEALTHY
    assert health.pause_before(asked, now, 5 * SECOND) == health.START_INTERVAL
    assert health.pause_before(asked, well, 5 * SECOND) == SECOND
    assert health.pause_before(asked, now, 10 * SECOND) == SECOND


def test_settings_are_merged_field_by_field() -> None:
    image = HealthConfig(test=["CMD", "x"], interval=5 * SECOND, retries=7)
    user = HealthConfig(interval=SECOND)
    both = health.merged(user, image)
    assert both == HealthConfig(test=["CMD", "x"], interval=SECOND, retries=7)
    assert health.merged(None, image) == image
    assert health.merged(user, None) == user
    off = health.merged(HealthConfig(test=["NONE"]), image)
    assert health.command(Config(healthcheck=off)) == ()


@pytest.mark.parametrize(
    "asked",
    [
        HealthConfig(interval=1),
        HealthConfig(timeout=-1),
        HealthConfig(start_period=999_999),
        HealthConfig(retries=-1),
        HealthConfig(test=["SOMETHING", "x"]),
    ],
)
def test_what_cannot_be(asked: HealthConfig) -> None:
    with pytest.raises(InvalidArgument):
        health.check(Config(healthcheck=asked))


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (1, "1ms"),
        (300, "300ms"),
        (1500, "1.5s"),
        (30_000, "30s"),
        (90_000, "1m30s"),
        (3_600_000, "1h0m0s"),
    ],
)
def test_a_check_that_took_too_long_says_so_as_docker_does(milliseconds: int, shown: str) -> None:
    nanoseconds = milliseconds * 1_000_000
    assert health.exceeded(nanoseconds, "") == f"Health check exceeded timeout ({shown})"
    assert health.exceeded(nanoseconds, "begun\n").endswith(f"({shown}): begun\n")
