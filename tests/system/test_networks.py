"""The default bridge, with real namespaces: addresses, names, published ports, what is left."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from heft.errors import HostError
from heft.host.processes import ProcessId
from heft.model.network import Endpoint, Plug, Protocol
from heft.networks.catalog import Networks
from heft.networks.ports import PortRequest
from heft.networks.settings import NetworkSettings
from heft.store.database import Database

SETTINGS = NetworkSettings(
    bridge="hefttest0", subnet="10.211.0.0/24", table="hefttest", namespace_prefix="hefttest-"
)
ECHO = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET, kind)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", int(sys.argv[2])))
if sys.argv[1] == "tcp":
    s.listen()
print("ready", flush=True)
for _ in range(100):
    if sys.argv[1] == "tcp":
        c, peer = s.accept()
        c.sendall(peer[0].encode())
        c.close()
    else:
        data, peer = s.recvfrom(100)
        s.sendto(peer[0].encode(), peer)
"""
ASK = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET, kind)
s.settimeout(2)
s.connect((sys.argv[2], int(sys.argv[3])))
if sys.argv[1] == "udp":
    s.send(b"?")
print(s.recv(100).decode())
"""

pytestmark = pytest.mark.usefixtures("clean_host")


@pytest.fixture
def run_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="heft-test-", dir="/run") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def make(directory: Path) -> Networks:
    database = Database(directory / "store")
    return Networks(directory / "networks", database, lambda *_: None, SETTINGS)


@pytest.fixture
async def networks(run_directory: Path) -> AsyncIterator[Networks]:
    networks = make(run_directory)
    await networks.start(())
    yield networks
    for endpoint in networks.users(networks.get("bridge").id):
        await networks.disconnect(endpoint)
    await networks.teardown()


async def plug(networks: Networks, name: str, *ports: PortRequest) -> Endpoint:
    machine_id = name.encode().hex().ljust(64, "0")
    return await networks.connect(machine_id, network="bridge", names=(name,), ports=ports)


def inside(endpoint: Endpoint, *command: str) -> list[str]:
    return ["nsenter", f"--net={endpoint.namespace}", *command]


@contextlib.contextmanager
def echo(endpoint: Endpoint, protocol: str, port: int) -> Iterator[None]:
    command = inside(endpoint, sys.executable, "-c", ECHO, protocol, str(port))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            server.kill()


def ask(protocol: str, address: str, port: int, endpoint: Endpoint | None = None) -> str:
    command = [sys.executable, "-c", ASK, protocol, address, str(port)]
    command = command if endpoint is None else inside(endpoint, *command)
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def resolve(networks: Networks, endpoint: Endpoint, name: str) -> str:
    (server,) = networks.resolver("bridge")
    done = subprocess.run(
        inside(endpoint, "busybox", "nslookup", "-type=a", name, server),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.stdout.rpartition("Address: ")[2].strip() if done.returncode == 0 else ""


async def resolves(networks: Networks, endpoint: Endpoint, name: str, address: str) -> None:
    """The name server reads its file again when it comes to it."""
    for _ in range(100):
        if (found := resolve(networks, endpoint, name)) == address:
            return
        await asyncio.sleep(0.05)
    assert found == address


async def test_machines_reach_each_other_by_address_and_name(networks: Networks) -> None:
    one, two = await plug(networks, "one"), await plug(networks, "two")
    assert one.address != two.address
    with echo(two, "tcp", 80):
        assert ask("tcp", two.address, 80, one) == one.address
    await resolves(networks, one, "two", two.address)
    await networks.rename(two, ("deux",))
    await resolves(networks, one, "deux", two.address)
    await resolves(networks, one, "two", "")


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
async def test_published_ports_from_everywhere(networks: Networks, protocol: str) -> None:
    request = PortRequest(Protocol(protocol), 80, host_ports=range(8123, 8124))
    server = await plug(networks, "server", request)
    client = await plug(networks, "client")
    gateway = networks.get("bridge").gateway
    with echo(server, protocol, 80):
        assert ask(protocol, "127.0.0.1", 8123) == gateway
        assert ask(protocol, gateway, 8123)
        assert ask(protocol, gateway, 8123, client)
        assert ask(protocol, gateway, 8123, server)


@contextlib.contextmanager
def steady(port: int) -> Iterator[socket.socket]:
    """A client that goes on from one port of its own, whose first words nobody heard."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.bind(("127.0.0.1", 0))
        client.sendto(b"?", ("127.0.0.1", port))
        yield client


def hears(client: socket.socket, port: int) -> str:
    with contextlib.suppress(OSError):
        client.sendto(b"?", ("127.0.0.1", port))
        return client.recv(100).decode()
    return ""


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1"])
async def test_who_sends_on_by_udp_comes_to_the_machine_of_now(
    networks: Networks, address: str
) -> None:
    request = PortRequest(Protocol.UDP, 80, address, range(8128, 8129))
    with steady(8128) as client:
        first = await plug(networks, "first", request)
        with echo(first, "udp", 80):
            assert hears(client, 8128), "it sent before there was a machine"
        await networks.disconnect(first)
        heir = await networks.connect(
            "cd" * 32, network="bridge", names=("heir",), ports=(), last=first.address
        )
        assert heir.address == first.address
        with echo(heir, "udp", 80):
            assert not hears(client, 8128), "that machine publishes nothing"
        second = await plug(networks, "second", request)
        with echo(second, "udp", 80):
            assert hears(client, 8128)


async def test_published_on_one_address_only(networks: Networks) -> None:
    request = PortRequest(Protocol.TCP, 80, "127.0.0.1", range(8124, 8125))
    server = await plug(networks, "server", request)
    with echo(server, "tcp", 80):
        assert ask("tcp", "127.0.0.1", 8124)
        with socket.socket() as other, pytest.raises(OSError):  # noqa: PT011 - whichever it is
            other.connect((networks.get("bridge").gateway, 8124))


async def test_a_taken_port_is_refused_and_nothing_is_left(networks: Networks) -> None:
    request = PortRequest(Protocol.TCP, 80, host_ports=range(8125, 8126))
    await plug(networks, "first", request)
    with pytest.raises(HostError, match=r"Bind for 0\.0\.0\.0:8125 failed: port is already"):
        await plug(networks, "second", request)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 8126))
        other.listen()
        taken = PortRequest(Protocol.TCP, 80, host_ports=range(8126, 8127))
        with pytest.raises(HostError, match=r"failed to bind host port 0\.0\.0\.0:8126/tcp"):
            await plug(networks, "third", taken)
    assert len(networks.users(networks.get("bridge").id)) == 1


async def test_a_free_port_is_found(networks: Networks) -> None:
    endpoint = await plug(networks, "any", PortRequest(Protocol.TCP, 80))
    (port,) = endpoint.ports
    assert 32768 <= port.host_port <= 60999


async def test_a_new_daemon_takes_over(run_directory: Path) -> None:
    request = PortRequest(Protocol.TCP, 80, host_ports=range(8127, 8128))
    first = make(run_directory)
    await first.start(())
    kept = await plug(first, "kept", request)
    lost = await plug(first, "lost")
    await first.close()
    again = make(run_directory)
    await again.start([kept])
    assert not Path(lost.namespace).exists()
    with echo(kept, "tcp", 80):
        assert ask("tcp", "127.0.0.1", 8127)
    with pytest.raises(HostError):
        await plug(again, "other", request)
    assert (await plug(again, "other")).address != kept.address
    for endpoint in again.users(again.get("bridge").id):
        await again.disconnect(endpoint)
    await again.teardown()


async def test_a_killed_name_server_comes_back(networks: Networks, run_directory: Path) -> None:
    file = run_directory / "networks/bridge/dnsmasq.json"
    await asyncio.sleep(0.1)
    first = msgspec.json.decode(file.read_bytes(), type=ProcessId)
    os.kill(first.pid, 9)
    for _ in range(100):
        await asyncio.sleep(0.02)
        second = msgspec.json.decode(file.read_bytes(), type=ProcessId)
        if second != first:
            break
    assert second.is_alive()


def show_link(name: str) -> str:
    command = ["ip", "-o", "link", "show", name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def test_a_tap_is_on_the_bridge_and_goes(networks: Networks) -> None:
    endpoint = await networks.connect(
        "ab" * 32, network="bridge", names=("tap",), ports=(), plug=Plug.TAP
    )
    assert f"master {SETTINGS.bridge}" in show_link(endpoint.interface)
    await networks.disconnect(endpoint)
    await networks.disconnect(endpoint)
