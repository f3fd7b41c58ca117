"""A client on a WebSocket (RFC 6455): what `heft.api.streams.join` needs of it.

Output goes out as binary messages of whatever size it came in; input is the content of the
client's messages, binary or text, without their bounds.
"""

from __future__ import annotations

import asyncio

from aiohttp import WSMsgType, web

from heft.api.call import COMMON_HEADERS
from heft.errors import InvalidArgument

LARGEST_MESSAGE = 4 << 20
"""Bytes of one message of the client's; larger ones end the connection (status 1009)."""
CLOSE_SECONDS = 2.0
"""How long the client may take to answer that the connection is to be closed."""


class WebSocketClient:
    """A connection that has left HTTP for messages both ways."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._listening: asyncio.Task[None] | None = None

    async def read(self) -> bytes:
        """Give what the client sent; empty when it sends no more."""
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.BINARY and message.data:
                return bytes(message.data)
            if message.type is WSMsgType.TEXT and message.data:
                return str(message.data).encode()
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                return b""

    def ignore_input(self) -> None:
        """Drop all that the client sends, but notice that it goes."""
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while await self.read():
            pass

    async def write(self, data: bytes) -> None:
        """Send to the client; returns when little enough is on its way.

        Raises `ConnectionResetError` if the client has gone.
        """
        if self._socket.closed:
            raise ConnectionResetError("the client has gone")
        await self._socket.send_bytes(data)

    async def gone(self) -> None:
        """Return when the client has gone, if its input is ignored; never otherwise."""
        if self._listening is None:
            await asyncio.get_running_loop().create_future()
        else:
            await asyncio.wait({self._listening})

    async def close(self) -> None:
        """Say goodbye; the connection ends."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self._socket.close()


async def upgrade(request: web.BaseRequest) -> tuple[web.WebSocketResponse, WebSocketClient]:
    """Answer a request for a WebSocket; give the answer and the client that speaks on it.

    Raises `InvalidArgument` where it is no such request.
    """
    socket = web.WebSocketResponse(
        timeout=CLOSE_SECONDS,
        compress=False,
        max_msg_size=LARGEST_MESSAGE,
    )
    if not socket.can_prepare(request):
        raise InvalidArgument("this is attached to by WebSocket: the request does not ask for one")
    socket.headers.update(COMMON_HEADERS)
    await socket.prepare(request)
    return socket, WebSocketClient(socket)
