"""Which limits a machine has after an update."""

import pytest

from heft.engine import updates
from heft.errors import Conflict
from heft.model.config import HostConfig, RestartPolicy
from heft.model.request import Update


def test_only_what_is_given_changes() -> None:
    host = HostConfig(memory=64, memory_swap=128, cpu_shares=5, pids_limit=9, binds=["/a:/b"])
    asked = Update(memory=100, pids_limit=0, restart_policy=RestartPolicy(name="always"))
    assert updates.merged(host, asked) == HostConfig(
        memory=100,
        memory_swap=128,
        cpu_shares=5,
        pids_limit=0,
        binds=["/a:/b"],
        restart_policy=RestartPolicy(name="always"),
    )
    assert updates.merged(host, Update()) == host


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        (HostConfig(cpu_period=1000), Update(nano_cpus=1)),
        (HostConfig(cpu_quota=1000), Update(nano_cpus=1)),
        (HostConfig(nano_cpus=1), Update(cpu_period=1000)),
        (HostConfig(nano_cpus=1), Update(cpu_quota=1000)),
        (HostConfig(memory=1, memory_swap=2), Update(memory=3)),
        (HostConfig(auto_remove=True), Update(restart_policy=RestartPolicy(name="always"))),
    ],
)
def test_what_does_not_follow(host: HostConfig, asked: Update) -> None:
    with pytest.raises(Conflict):
        updates.merged(host, asked)
