"""From a machine's record to what its weight is told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from heft.engine import capabilities, creation, files, launch
from heft.errors import InvalidArgument
from heft.model.config import Config, HostConfig, LogConfig
from heft.model.machine import Machine, MountKind, MountPoint, Run, State
from heft.model.network import Endpoint

PLACE = launch.Place(
    directory=Path("/data/m"),
    run=Path("/run/m"),
    layers=(Path("/a"), Path("/b")),
    base=None,
    files=Path("/data/m"),
    cgroup_parent="/heft",
    capabilities=frozenset(capabilities.ALL),
    joined={},
)


PLAIN = Config()


def machine(config: Config = PLAIN, mounts: tuple[MountPoint, ...] = (), **host: Any) -> Machine:
    return Machine(
        id="0123456789abcdef",
        name="m",
        created=1,
        weight="light",
        platform="linux/amd64",
        image="sha256:0",
        layers=(),
        config=config,
        host_config=HostConfig(**host),
        state=State.CREATED,
        mounts=mounts,
    )


JOINED = msgspec.structs.replace(machine(), id="fedcba", state=State.RUNNING, run=Run(pid=42))


def test_joined_ipc() -> None:
    place = replace(PLACE, joined={"other": JOINED})
    spaces = launch.build(machine(ipc_mode="container:other"), place).namespaces
    assert (spaces.ipc, spaces.ipc_of) == ("/proc/42/ns/ipc", "fedcba")
    for mode in ("none", "shareable", "host", "private"):
        assert launch.build(machine(ipc_mode=mode), PLACE).namespaces.ipc == mode


def test_the_process() -> None:
    config = Config(entrypoint=["sh", "-c"], cmd=["true"], user="user", tty=True, env=["A=1"])
    process = launch.build(machine(config), PLACE).process
    assert process.argv == ("sh", "-c", "true")
    assert (process.user, process.tty, process.cwd, process.env) == ("user", True, "/", ("A=1",))
    assert set(process.capabilities) == capabilities.DEFAULT


def test_generated_files_give_way_to_the_users() -> None:
    own = MountPoint(kind=MountKind.BIND, source="/mine", target="/etc/hosts")
    built = launch.build(machine(mounts=(own,)), PLACE)
    assert {mount.target: mount.source for mount in built.mounts} == {
        "/etc/hosts": "/mine",
        "/etc/hostname": "/data/m/hostname",
        "/etc/resolv.conf": "/data/m/resolv.conf",
    }


@pytest.mark.parametrize(
    ("mode", "network"),
    [
        ("default", "private"),
        ("bridge", "private"),
        ("none", "none"),
        ("host", "host"),
        ("container:other", "/proc/42/ns/net"),
    ],
)
def test_networks(mode: str, network: str) -> None:
    place = replace(PLACE, joined={"other": JOINED})
    built = launch.build(machine(network_mode=mode), place)
    assert built.namespaces.network == network


def test_privileged_is_unconfined() -> None:
    security = launch.build(machine(privileged=True), PLACE).security
    assert security.privileged
    assert security.seccomp == "unconfined"
    assert not security.masked_paths
    assert launch.build(machine(), PLACE).security.masked_paths == launch.MASKED_PATHS


def test_security_options() -> None:
    built = launch.build(machine(security_opt=["no-new-privileges", "seccomp=unconfined"]), PLACE)
    assert built.process.no_new_privileges
    assert built.security.seccomp == "unconfined"
    with pytest.raises(InvalidArgument, match='invalid --security-opt 2: "what=1"'):
        launch.security_options(["what=1"])


def test_no_log_where_none_is_wanted() -> None:
    assert launch.build(machine(), PLACE).log.path == Path("/data/m/log")
    unlogged = machine(log_config=LogConfig(type="none"))
    assert launch.build(unlogged, PLACE).log.path is None


def test_merge_as_docker_does() -> None:
    image = Config(
        entrypoint=["/entry"], cmd=["default"], env=["PATH=/bin", "A=image"], labels={"a": "1"}
    )
    merged = creation.merge(Config(env=["A=user"], labels={"b": "2"}), image)
    assert (merged.entrypoint, merged.cmd) == (["/entry"], ["default"])
    assert merged.env == ["PATH=/bin", "A=user"]
    assert merged.labels == {"a": "1", "b": "2"}
    assert creation.merge(Config(cmd=["x"]), image).cmd == ["x"]
    own = creation.merge(Config(entrypoint=["sh"]), image)
    assert (own.entrypoint, own.cmd) == (["sh"], None)
    reset = creation.merge(Config(entrypoint=[""], cmd=["x"]), image)
    assert (reset.entrypoint, reset.cmd) == (None, ["x"])


def test_hosts_names_the_machine_and_what_was_added() -> None:
    endpoint = Endpoint(
        id="e", network="bridge", network_id="n", address="10.0.0.2", gateway="10.0.0.1"
    )
    config = Config(hostname="web", domainname="example.org")
    its = machine(config, extra_hosts=["db:10.9.9.9", "up:host-gateway", "six:[::1]"])
    text = files.hosts(msgspec.structs.replace(its, endpoint=endpoint))
    for line in ("10.0.0.2\tweb.example.org web", "10.9.9.9\tdb", "10.0.0.1\tup", "::1\tsix"):
        assert f"{line}\n" in text
    with pytest.raises(InvalidArgument, match="bad format for add-host"):
        files.extra_host("nothing")


def test_resolver() -> None:
    host_text = "# x\nnameserver 9.9.9.9\nsearch example.org\noptions ndots:2\n"
    assert files.resolver(machine(), ("10.0.0.1",), host_text) == (
        "nameserver 10.0.0.1\nsearch example.org\noptions ndots:2\n"
    )
    own = machine(dns=["1.1.1.1"], dns_search=["."], dns_options=["rotate"])
    assert files.resolver(own, ("10.0.0.1",), host_text) == "nameserver 1.1.1.1\noptions rotate\n"
