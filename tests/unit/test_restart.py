"""Restart policies, as Docker documents them."""

import pytest

from heft.engine import restart
from heft.model.config import RestartPolicy


@pytest.mark.parametrize(
    ("policy", "code", "count", "by_user", "again"),
    [
        ("", 1, 0, False, False),
        ("no", 1, 0, False, False),
        ("always", 0, 5, False, True),
        ("always", 0, 5, True, False),
        ("unless-stopped", 0, 0, False, True),
        ("on-failure", 0, 0, False, False),
        ("on-failure", 1, 99, False, True),
    ],
)
def test_after_exit(policy: str, code: int, count: int, by_user: bool, again: bool) -> None:
    wanted = restart.wanted_after_exit(
        RestartPolicy(name=policy), code=code, count=count, by_user=by_user
    )
    assert wanted is again


def test_on_failure_is_bounded() -> None:
    policy = RestartPolicy(name="on-failure", maximum_retry_count=2)
    outcomes = [
        restart.wanted_after_exit(policy, code=1, count=count, by_user=False) for count in range(4)
    ]
    assert outcomes == [True, True, False, False]


def test_delay_doubles_to_a_minute_and_starts_over() -> None:
    delays = [0.0]
    for _ in range(15):
        delays.append(restart.delay(delays[-1], ran=0.01))
    assert delays[1:4] == [0.1, 0.2, 0.4]
    assert delays[-1] == 60.0
    assert restart.delay(60.0, ran=11) == 0.1
