"""Requests that no good client makes: refused in words, and nothing is left of them."""

import socket
from typing import Any

import pytest

from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX


def create(daemon: Daemon, **parts: Any) -> tuple[int, str]:
    host = parts.pop("HostConfig", {})
    body = {"Image": BUSYBOX, "Cmd": ["true"], "HostConfig": host, **parts}
    answer = daemon.request("POST", "/containers/create?name=bad", body)
    return answer.status, answer.message if answer.status != 201 else ""


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"Image": ""}, "Image"),
        ({"Image": "UPPER"}, "invalid reference format"),
        ({"Cmd": ["a\0b"]}, "NUL"),
        ({"Env": ["A=\0"]}, "environment"),
        ({"Env": ["=x"]}, "environment"),
        ({"WorkingDir": "relative"}, "working directory"),
        ({"StopSignal": "SIGNOTHING"}, "signal"),
        ({"Hostname": "a" * 300}, "hostname"),
        ({"Hostname": "new\nline"}, "hostname"),
        ({"Volumes": {"relative": {}}}, "relative"),
        ({"Volumes": {"/": {}}}, "/"),
        ({"ExposedPorts": {"eighty": {}}}, "port"),
        ({"HostConfig": {"Memory": -5}}, "emory"),
        ({"HostConfig": {"NanoCpus": 10**15}}, "CPU"),
        ({"HostConfig": {"CpusetCpus": "a-b"}}, "cpuset"),
        ({"HostConfig": {"Binds": ["../..:/x"]}}, ".."),
        ({"HostConfig": {"Binds": ["/etc:/x:wrong"]}}, "wrong"),
        ({"HostConfig": {"Binds": ["/etc:/x", "/usr:/x"]}}, "/x"),
        ({"HostConfig": {"Tmpfs": {"relative": ""}}}, "relative"),
        ({"HostConfig": {"RestartPolicy": {"Name": "sometimes"}}}, "sometimes"),
        ({"HostConfig": {"RestartPolicy": {"Name": "no", "MaximumRetryCount": 4}}}, "maximum"),
        ({"HostConfig": {"RestartPolicy": {"Name": "always"}, "AutoRemove": True}}, "AutoRemove"),
        ({"HostConfig": {"Ulimits": [{"Name": "luck", "Soft": 1, "Hard": 1}]}}, "luck"),
        ({"HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 9, "Hard": 1}]}}, "hard limit"),
        ({"HostConfig": {"ShmSize": -1}}, "SHM"),
        ({"HostConfig": {"LogConfig": {"Type": "carrier-pigeon"}}}, "carrier-pigeon"),
        ({"HostConfig": {"LogConfig": {"Config": {"max-size": "big"}}}}, "max-size"),
        ({"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "99999"}]}}}, "99999"),
        ({"HostConfig": {"NetworkMode": "a b"}}, "a b"),
        ({"HostConfig": {"ExtraHosts": ["nothing"]}}, "add-host"),
        ({"HostConfig": {"SecurityOpt": ["magic=on"]}}, "magic"),
        ({"HostConfig": {"Sysctls": {"kernel.panic": "1"}}}, "kernel.panic"),
    ],
)
def test_creation(daemon: Daemon, parts: dict[str, Any], words: str) -> None:
    status, message = create(daemon, **parts)
    assert status in (400, 404, 501), (status, message)
    assert words in message
    assert daemon.request("GET", "/containers/json?all=1").json == []
    assert daemon.request("GET", "/volumes").json["Volumes"] == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/containers/nothing/json", 404),
        ("POST", "/containers/nothing/start", 404),
        ("POST", "/containers/nothing/wait", 404),
        ("POST", "/containers/nothing/attach?stream=1", 404),
        ("POST", "/containers/nothing/exec", 400),
        ("POST", "/exec/nothing/start", 404),
        ("GET", "/exec/nothing/json", 404),
        ("DELETE", "/containers/nothing", 404),
        ("GET", "/containers/json?filters=%7B", 400),
        ("GET", "/containers/json?limit=many", 400),
        ("GET", "/images/nothing/json", 404),
        ("GET", "/images/../../etc/json", 400),
        ("DELETE", "/volumes/nothing", 404),
        ("GET", "/networks/nothing", 404),
        ("GET", "/events?since=never", 400),
        ("POST", "/images/create", 400),
        ("POST", "/swarm/init", 501),
        ("PATCH", "/containers/json", 404),
        ("GET", "/" + "a" * 10000, 404),
    ],
)
def test_paths(daemon: Daemon, method: str, path: str, status: int) -> None:
    answer = daemon.request(method, path)
    assert answer.status == status, answer.body
    assert answer.message


def test_what_is_no_http(daemon: Daemon) -> None:
    for noise in (b"\0" * 1000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\xff\xfe\r\n\r\n"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(daemon.socket))
            connection.sendall(noise)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    assert daemon.request("GET", "/_ping").body == b"OK"


def test_a_client_that_goes_in_the_middle(daemon: Daemon) -> None:
    head = (
        "POST /images/create?fromSrc=-&repo=half HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n"
    )
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(daemon.socket))
        connection.sendall(head.encode() + b"\r\n" + b"\0" * 5000)
    names = [image["RepoTags"] for image in daemon.request("GET", "/images/json").json]
    assert names == [[f"{BUSYBOX}:latest"]]


def test_many_at_once(daemon: Daemon) -> None:
    connections = []
    for _ in range(300):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(str(daemon.socket))
        connections.append(connection)
    try:
        for connection in connections:
            connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert all(b"200 OK" in connection.recv(4096) for connection in connections)
    finally:
        for connection in connections:
            connection.close()
