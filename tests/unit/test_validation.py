"""What of a request is refused, and in which words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.engine import log_config, validation
from heft.errors import InvalidArgument
from heft.model.config import (
    Config,
    EndpointConfig,
    HostConfig,
    LogConfig,
    RestartPolicy,
    Ulimit,
)

MIB = 1024 * 1024


PLAIN = Config()


def refused(match: str, config: Config = PLAIN, **host: Any) -> None:
    with pytest.raises(InvalidArgument, match=match):
        validation.check(config, HostConfig(**host))


def test_memory() -> None:
    refused("Minimum memory limit allowed is 6MB", memory=5 * MIB)
    refused("Minimum memoryswap limit should be larger", memory=64 * MIB, memory_swap=32 * MIB)
    refused("You should always set the Memory limit", memory_swap=32 * MIB)
    refused("memory reservation", memory=64 * MIB, memory_reservation=65 * MIB)
    validation.check(Config(), HostConfig(memory=64 * MIB, memory_swap=-1))


def test_cpu() -> None:
    refused("range of CPUs is from 0.01 to", nano_cpus=1000 * 10**9)
    refused("Conflicting options", nano_cpus=10**9, cpu_period=1000)
    refused("Requested CPUs are not available", cpuset_cpus="0-4000")
    refused("Invalid value x for cpuset", cpuset_cpus="x")
    refused("CPU cfs period", cpu_period=1)


@pytest.mark.parametrize(
    "mac",
    [
        *("zz", "02:11:22:33:44", "02:11:22:33:44:55:66:77", "02-11-22-33-44-55"),
        *("01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"),
        *("02:11:22:33:44:55\nlink del eth0", "02:11:22:33:44:55,id=x", "02:11:22:33:44:5g"),
    ],
)
def test_addresses_of_no_card(mac: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid MAC address: "):
        validation.check_endpoints({"bridge": EndpointConfig(mac_address=mac)})
    validation.check_endpoints({"bridge": EndpointConfig(mac_address="02:11:22:33:44:Ff")})


def test_aliases() -> None:
    for alias in ("a b", "a\tb", "a\n10.0.0.1 b"):
        with pytest.raises(InvalidArgument, match="network alias"):
            validation.check_endpoints({"bridge": EndpointConfig(aliases=[alias])})
    validation.check_endpoints({"bridge": EndpointConfig(aliases=["a.b-c_d"])})


def test_restart() -> None:
    refused("unknown policy 'sometimes'", restart_policy=RestartPolicy(name="sometimes"))
    count = RestartPolicy(name="always", maximum_retry_count=3)
    refused("can only be used with 'on-failure'", restart_policy=count)
    refused("AutoRemove", auto_remove=True, restart_policy=RestartPolicy(name="always"))


def test_modes() -> None:
    refused("invalid PID mode: what", pid_mode="what")
    refused("invalid IPC mode: container:", ipc_mode="container:")
    refused("port publishing", network_mode="container:x", publish_all_ports=True)


def test_process() -> None:
    refused("needs to be an absolute path", Config(working_dir="tmp"))
    refused("invalid environment variable: =x", Config(env=["=x"]))
    refused("Invalid signal: SIGNO", Config(stop_signal="SIGNO"))
    refused("invalid hostname", Config(hostname="a b"))
    refused("NUL", Config(cmd=["a\0b"]))


def test_limits() -> None:
    refused("invalid ulimit type: files", ulimits=[Ulimit(name="files")])
    refused("soft limit", ulimits=[Ulimit(name="nofile", soft=2, hard=1)])
    refused("no log driver named 'gelf'", log_config=LogConfig(type="gelf"))
    refused("unknown log opt 'x'", log_config=LogConfig(config={"x": "y"}))
    refused("invalid size", log_config=LogConfig(config={"max-size": "10x"}))


def test_log_limits() -> None:
    config = LogConfig(config={"max-size": "10m", "max-file": "3"})
    assert log_config.limits(HostConfig(log_config=config)) == (10 * MIB, 3)
    assert log_config.limits(HostConfig()) == (0, 1)


@pytest.mark.parametrize(
    ("name", "number"),
    [("KILL", 9), ("SIGTERM", 15), ("sigusr1", 10), ("9", 9), ("RTMIN+3", 37), ("RTMAX-1", 63)],
)
def test_signals(name: str, number: int) -> None:
    assert validation.signal_number(name) == number


@given(st.text(max_size=12))
def test_any_signal_name_is_a_number_or_refused(name: str) -> None:
    try:
        assert 1 <= validation.signal_number(name) <= 70
    except InvalidArgument:
        return


@given(st.text("0123456789,- x", max_size=12))
def test_any_cpuset_is_numbers_or_refused(text: str) -> None:
    try:
        numbers = validation.parse_cpuset(text)
    except InvalidArgument:
        return
    assert all(number <= 8192 for number in numbers)


def test_upper_size() -> None:
    assert validation.upper_size(HostConfig()) == 0
    assert validation.upper_size(HostConfig(storage_opt={"size": "20G"})) == 20 << 30
    for bad in ({"size": "much"}, {"dm.thinpool": "x"}, {"size": "1G", "other": ""}):
        with pytest.raises(InvalidArgument, match="storage-opt"):
            validation.upper_size(HostConfig(storage_opt=bad))
