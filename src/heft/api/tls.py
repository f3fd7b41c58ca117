"""Mutual TLS on TCP, taken off in front of the HTTP server.

The server sees a Unix socket for each connection. So a hijacked connection can be ended in one
direction, as `docker run -i` over TCP needs: asyncio's own TLS ends both at once, while TLS lets
either side say close_notify and read on (RFC 8446, section 6.1).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import HostError, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

BLOCK = 1 << 16
HANDSHAKE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """PEM files: who may sign clients' certificates, and the server's own certificate and key."""

    ca: Path
    cert: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Give a server's context that demands a client's certificate.

        Raises `InvalidArgument` if a file is missing or not what it should be.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(self.ca)
            context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            raise InvalidArgument(
                f"cannot use the TLS files {self.ca}, {self.cert}, {self.key}: {error}"
            ) from error
        return context


class Relay:
    """Listens on TCP, and hands each connection, without its TLS, to a server's protocol."""

    def __init__(self, context: ssl.SSLContext, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._context = context
        self._protocol = protocol
        self._listener: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def start(self, address: str, port: int) -> None:
        """Listen. Raises `HostError`."""
        try:
            self._listener = await asyncio.start_server(self._accept, address, port)
        except OSError as error:
            raise HostError(f"cannot serve on tcp://{address}:{port}: {error}") from error

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)
        try:
            await _Talk(self._context, reader, writer).relay(self._protocol)
        except (OSError, ssl.SSLError, TimeoutError) as error:
            log.info("tcp %s: %s", writer.get_extra_info("peername"), error)
        except asyncio.CancelledError:
            log.debug("tcp %s: cut off", writer.get_extra_info("peername"))
        finally:
            writer.close()

    async def close(self) -> None:
        """Stop listening, and cut every connection."""
        if self._listener is not None:
            self._listener.close()
        for task in tuple(self._talks):
            task.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)


class _Talk:
    """One connection: TLS outside, plain bytes inside."""

    def __init__(
        self,
        context: ssl.SSLContext,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def relay(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Shake hands, then carry bytes until both directions have ended."""
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await self._shake_hands()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(protocol, theirs)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        inward = asyncio.create_task(self._inward(writer))
        try:
            await self._outward(reader)
        finally:
            inward.cancel()
            await asyncio.gather(inward, return_exceptions=True)
            writer.close()

    async def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._receive():
                    raise ConnectionResetError("the client went in the handshake") from None
            except ssl.SSLError:
                with contextlib.suppress(ConnectionError):
                    await self._flush()  # the alert that says why
                raise
            else:
                return await self._flush()

    async def _receive(self) -> bool:
        data = await self._reader.read(BLOCK)
        self._incoming.write(data)
        return bool(data)

    async def _flush(self) -> None:
        if self._outgoing.pending:
            self._writer.write(self._outgoing.read())
            await self._writer.drain()

    async def _inward(self, server: asyncio.StreamWriter) -> None:
        """Carry what the client sends; at its close_notify, or its end, end that direction."""
        try:
            while True:
                try:
                    data = self._tls.read(BLOCK)
                except ssl.SSLWantReadError:
                    await self._flush()
                    if not await self._receive():
                        break
                    continue
                if not data:
                    break
                server.write(data)
                await server.drain()
        except ssl.SSLZeroReturnError:
            pass
        finally:
            with contextlib.suppress(OSError):
                server.write_eof()

    async def _outward(self, server: asyncio.StreamReader) -> None:
        """Carry what the server answers, and say close_notify at its end."""
        while data := await server.read(BLOCK):
            self._tls.write(data)
            await self._flush()
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        await self._flush()
