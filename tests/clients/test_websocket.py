"""Attaching by WebSocket."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX

ALL = "stream=1&stdin=1&stdout=1&stderr=1"


@pytest.fixture
async def http(daemon: Daemon) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(str(daemon.socket))
    async with aiohttp.ClientSession("http://heft", connector=connector) as session:
        yield session


@pytest.fixture
def heft(daemon: Daemon) -> Client:
    return Client("heft", daemon)


def create(heft: Client, *flags: str, script: str) -> None:
    box = ("--name", "box", "--network", "none", *flags, BUSYBOX, "sh", "-c", script)
    heft("create", *box)


async def all_of(socket: aiohttp.ClientWebSocketResponse) -> bytes:
    return b"".join([message.data async for message in socket])


async def test_input_and_output(http: aiohttp.ClientSession, heft: Client) -> None:
    create(heft, "-i", script="cat; echo end >&2")
    async with http.ws_connect(f"/v1.43/containers/box/attach/ws?{ALL}") as socket:
        await http.post("/containers/box/start")
        await socket.send_bytes(b"bytes\n")
        assert (await socket.receive()).data == b"bytes\n"
        await socket.send_str("text\n")
        assert (await socket.receive()).data == b"text\n"
        await http.post("/containers/box/kill")
        assert await all_of(socket) == b""
        assert socket.close_code == 1000


async def test_output_of_both_streams_is_raw(http: aiohttp.ClientSession, heft: Client) -> None:
    create(heft, script="echo out; sleep 0.2; echo err >&2")
    async with http.ws_connect("/containers/box/attach/ws?stream=1&stdout=1&stderr=1") as socket:
        await http.post("/containers/box/start")
        assert await all_of(socket) == b"out\nerr\n"
    async with http.ws_connect("/containers/box/attach/ws?logs=1&stdout=1") as socket:
        assert await all_of(socket) == b"out\n"


async def test_a_terminal_and_its_detach_keys(http: aiohttp.ClientSession, heft: Client) -> None:
    create(heft, "-it", script="echo go; read line; echo got $line; sleep 1000")
    async with http.ws_connect(f"/containers/box/attach/ws?{ALL}") as socket:
        await http.post("/containers/box/start")
        await socket.send_bytes(b"word\n")
        seen = b""
        while b"got word\r\n" not in seen:
            seen += (await socket.receive(timeout=10)).data
        await socket.send_bytes(b"\x10\x11")
        assert await all_of(socket) == b""
    assert heft("inspect", "box", "-f", "{{.State.Running}}").stdout == "true\n"


async def test_a_client_that_goes(http: aiohttp.ClientSession, heft: Client) -> None:
    create(heft, "-i", script="i=0; while sleep 0.1; do i=$((i+1)); echo $i; done")
    await http.post("/containers/box/start")
    for query in (ALL, "stream=1&stdout=1"):
        async with http.ws_connect(f"/containers/box/attach/ws?{query}") as socket:
            assert (await socket.receive()).data.strip().isdigit()
    assert heft("inspect", "box", "-f", "{{.State.Running}}").stdout == "true\n"


async def test_much_output_to_a_client_that_is_slow(
    http: aiohttp.ClientSession, heft: Client
) -> None:
    create(heft, script="head -c 20000000 /dev/zero")
    async with http.ws_connect("/containers/box/attach/ws?stream=1&stdout=1") as socket:
        await http.post("/containers/box/start")
        await asyncio.sleep(1)
        assert len(await all_of(socket)) == 20_000_000


async def test_what_is_refused(http: aiohttp.ClientSession, heft: Client) -> None:
    create(heft, script="true")
    answer = await http.get(f"/containers/box/attach/ws?{ALL}")
    assert answer.status == 400
    assert "WebSocket" in (await answer.json())["message"]
    for name, status in (("nobody", 404), ("box", 400)):
        query = f"{ALL}&detachKeys=ctrl-?"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"/containers/{name}/attach/ws?{query}")
        assert refused.value.status == status
