"""docker-py on longer jobs, by its high- and its low-level API."""

import contextlib
import datetime
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from docker.errors import APIError, NotFound
from docker.types import LogConfig, Ulimit

from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX

Sleeping = docker.models.containers.Container


@pytest.fixture
def client(daemon: Daemon) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=f"unix://{daemon.socket}", timeout=30)
    yield client
    client.close()


@pytest.fixture
def sleeping(client: docker.DockerClient) -> Sleeping:
    return client.containers.run(BUSYBOX, ["sleep", "1000"], name="box", detach=True, init=True)


def frames(connection: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Read an attach stream without a terminal: a stream's number, a length, the bytes."""
    with connection.makefile("rb") as stream:
        while header := stream.read(8):
            kind, size = struct.unpack(">BxxxL", header)
            yield kind, stream.read(size)


def test_an_exec_as_a_socket(client: docker.DockerClient, sleeping: Sleeping) -> None:
    api = client.api
    script = "read line; echo got $line; echo and this >&2; exit 7"
    made = api.exec_create(
        sleeping.id, ["sh", "-c", script], stdin=True, environment={"A": "1"}, user="user"
    )
    assert not api.exec_inspect(made["Id"])["Running"]
    raw = api.exec_start(made["Id"], socket=True)
    raw._sock.sendall(b"it\n")
    assert sorted(frames(raw._sock)) == [(1, b"got it\n"), (2, b"and this\n")]
    raw.close()
    shown = api.exec_inspect(made["Id"])
    assert (shown["ExitCode"], shown["Running"]) == (7, False)
    assert shown["ProcessConfig"]["user"] == "user"
    assert shown["ContainerID"] == sleeping.id


def test_an_exec_on_a_terminal(client: docker.DockerClient, sleeping: Sleeping) -> None:
    api = client.api
    made = api.exec_create(sleeping.id, ["sh"], stdin=True, tty=True)
    raw = api.exec_start(made["Id"], socket=True, tty=True)
    api.exec_resize(made["Id"], height=33, width=101)
    raw._sock.settimeout(10)
    raw._sock.sendall(b"stty size\n")
    seen = b""
    while b"33 101" not in seen:
        seen += raw._sock.recv(4096)
    raw._sock.sendall(b"exit 3\n")
    with contextlib.suppress(OSError):
        while raw._sock.recv(4096):
            pass
    raw.close()
    assert api.exec_inspect(made["Id"])["ExitCode"] == 3


def test_execs_as_streams(sleeping: Sleeping) -> None:
    script = "for i in 1 2 3; do echo $i; done"
    result = sleeping.exec_run(["sh", "-c", script], stream=True)
    assert result.exit_code is None
    assert b"".join(result.output) == b"1\n2\n3\n"
    demuxed = sleeping.exec_run(["sh", "-c", "echo out; echo err >&2"], stream=True, demux=True)
    parts = list(demuxed.output)
    assert b"".join(out for out, _ in parts if out) == b"out\n"
    assert b"".join(err for _, err in parts if err) == b"err\n"
    detached = sleeping.exec_run(["touch", "/tmp/done"], detach=True)
    assert detached.exit_code in (None, 0)
    deadline = time.monotonic() + 10
    while sleeping.exec_run(["test", "-e", "/tmp/done"]).exit_code and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sleeping.exec_run(["test", "-e", "/tmp/done"]).exit_code == 0


def test_attach_as_a_stream(client: docker.DockerClient) -> None:
    script = "sleep 0.2; for i in 1 2 3; do echo $i; echo e$i >&2; done"
    machine = client.containers.create(BUSYBOX, ["sh", "-c", script])
    stream = machine.attach(stream=True, logs=False, stdout=True, stderr=False)
    machine.start()
    assert b"".join(stream) == b"1\n2\n3\n"
    both = machine.attach(stream=False, logs=True, stdout=True, stderr=True, demux=True)
    assert both == (b"1\n2\n3\n", b"e1\ne2\ne3\n")


def test_wait_conditions(client: docker.DockerClient) -> None:
    api = client.api
    made = api.create_container(
        BUSYBOX, ["sh", "-c", "exit 5"], host_config=api.create_host_config(auto_remove=True)
    )
    waited: dict[str, Any] = {}
    # Where the wait is registered before the start, nothing of a short run is missed.
    address = f"unix://{api.get_adapter('http+docker://').socket_path}"
    with pytest.raises(APIError, match="condition"):
        api.wait(made, condition="sometimes")
    clients = [docker.APIClient(base_url=address) for _ in range(2)]
    threads = []
    for own, condition in zip(clients, ("next-exit", "removed"), strict=True):

        def run(own: docker.APIClient = own, condition: str = condition) -> None:
            waited[condition] = own.wait(made, condition=condition, timeout=30)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
    time.sleep(0.3)
    api.start(made)
    for thread in threads:
        thread.join(30)
    for own in clients:
        own.close()
    assert {name: result["StatusCode"] for name, result in waited.items()} == {
        "next-exit": 5,
        "removed": 5,
    }
    with pytest.raises(NotFound):
        api.inspect_container(made)


def test_stats_as_a_stream(sleeping: Sleeping) -> None:
    stream = sleeping.stats(stream=True, decode=True)
    first, second = next(stream), next(stream)
    stream.close()
    assert first["id"] == second["id"] == sleeping.id
    assert second["preread"] == first["read"]
    assert second["cpu_stats"]["system_cpu_usage"] > first["cpu_stats"]["system_cpu_usage"]
    assert second["pids_stats"]["current"] >= 1
    assert set(second["networks"]) == {"eth0"}


def test_logs_as_they_come(client: docker.DockerClient) -> None:
    script = "for i in 1 2 3 4; do echo line $i; sleep 0.1; done"
    machine = client.containers.run(BUSYBOX, ["sh", "-c", script], detach=True)
    followed = machine.logs(stream=True, follow=True)
    assert b"".join(followed) == b"line 1\nline 2\nline 3\nline 4\n"
    assert machine.logs(tail=2) == b"line 3\nline 4\n"
    stamped = machine.logs(timestamps=True).splitlines()
    moments = [datetime.datetime.fromisoformat(each.split()[0].decode()) for each in stamped]
    assert moments == sorted(moments)
    since = moments[2].timestamp() - 0.001
    assert machine.logs(since=since) == b"line 3\nline 4\n"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"container": "box"}, ["create", "start", "die", "destroy"]),
        ({"event": ["start", "die"]}, ["start", "die"]),
        ({"label": "tier=front"}, ["create", "start", "die", "destroy"]),
        ({"label": "tier=back"}, []),
        ({"image": BUSYBOX, "type": "container"}, ["create", "start", "die", "destroy"]),
        ({"type": "volume", "event": "create"}, ["create"]),
        ({"type": ["network"], "event": "connect"}, ["connect"]),
    ],
    ids=str,
)
def test_events_by_filter(
    client: docker.DockerClient, filters: dict[str, Any], expected: list[str]
) -> None:
    since = time.time()
    client.containers.run(
        BUSYBOX,
        "true",
        name="box",
        labels={"tier": "front"},
        remove=True,
        volumes={"data": {"bind": "/data", "mode": "rw"}},
    )
    events = list(client.events(since=since, until=time.time(), filters=filters, decode=True))
    actions = [event["Action"] for event in events if event["Action"] not in ("attach", "resize")]
    assert actions == expected


def test_prune(client: docker.DockerClient, sleeping: Sleeping) -> None:
    gone = client.containers.run(BUSYBOX, "true", detach=True, labels={"prune": "yes"})
    gone.wait()
    kept = client.containers.run(BUSYBOX, "true", detach=True)
    kept.wait()
    client.volumes.create("named")
    client.api.create_volume()
    pruned = client.containers.prune(filters={"label": "prune=yes"})
    assert pruned["ContainersDeleted"] == [gone.id]
    assert client.containers.prune()["ContainersDeleted"] == [kept.id]
    assert client.containers.list() == [sleeping]
    assert len(client.volumes.prune()["VolumesDeleted"]) == 1
    assert client.volumes.prune(filters={"all": True})["VolumesDeleted"] == ["named"]
    assert client.images.prune()["ImagesDeleted"] is None
    assert client.networks.prune()["NetworksDeleted"] is None


def test_a_host_config_comes_back(client: docker.DockerClient) -> None:
    machine = client.containers.create(
        BUSYBOX,
        "true",
        cap_add=["NET_ADMIN"],
        cap_drop=["MKNOD"],
        cpu_shares=512,
        cpuset_cpus="0",
        dns=["192.0.2.1"],
        extra_hosts={"db": "192.0.2.2"},
        hostname="inside",
        log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": "1m"}),
        mem_limit="128m",
        nano_cpus=500_000_000,
        oom_score_adj=100,
        pids_limit=50,
        ports={"80/tcp": ("127.0.0.1", None), "53/udp": None},
        read_only=True,
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 3},
        security_opt=["no-new-privileges"],
        shm_size="8m",
        stop_signal="SIGINT",
        sysctls={"net.ipv4.ip_unprivileged_port_start": "0"},
        tmpfs={"/run": "size=1m"},
        ulimits=[Ulimit(name="nofile", soft=512, hard=1024)],
        working_dir="/tmp",
    )
    host = machine.attrs["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["CpuShares"]) == (128 << 20, 500_000_000, 512)
    assert host["CapAdd"] == ["CAP_NET_ADMIN"] or host["CapAdd"] == ["NET_ADMIN"]
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 512, "Hard": 1024}]
    assert host["ExtraHosts"] == ["db:192.0.2.2"]
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m"}}
    assert host["Tmpfs"] == {"/run": "size=1m"}
    assert machine.attrs["Config"]["StopSignal"] == "SIGINT"
    machine.start()
    assert machine.wait()["StatusCode"] == 0


def test_started_again_the_moment_it_ended(client: docker.DockerClient) -> None:
    machine = client.containers.create(BUSYBOX, "true")
    for _ in range(30):
        machine.start()
        machine.wait()
    machine.reload()
    assert machine.attrs["State"]["Error"] == ""
