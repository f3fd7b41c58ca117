"""A connection to a receiver of syslog.

What `send` has returned from is with the kernel, or with the receiver: it gets there though the
daemon is killed, as far as the protocol promises that. Errors are `HostError`s in Go's words, which
people know from Docker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from typing import TYPE_CHECKING, Protocol

from heft.engine.syslog.target import Transport
from heft.errors import HostError
from heft.host.descriptors import writable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heft.engine.syslog.target import Target

LOCAL = ("/dev/log", "/var/run/syslog", "/var/run/log")
"""Where the host's own receiver listens (srslog, srslog_unix.go)."""
CONNECT_SECONDS = 10.0


class Channel(Protocol):
    """An open connection."""

    async def send(self, message: bytes) -> None:
        """Hand one message over, whole. Raises `HostError`; then it is to be closed."""

    def close(self) -> None:
        """Let go; harmless when repeated."""


async def connect(target: Target) -> Channel:
    """Open a connection. Raises `HostError`."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            if target.transport is Transport.LOCAL:
                return await _connect_local()
            with _named(f"dial {target.name}"):
                return await _open(target)
    except TimeoutError as error:
        raise HostError(f"dial {target.name}: i/o timeout") from error


async def _open(target: Target) -> Channel:
    if target.transport is Transport.UNIX:
        return await _connect_socket(socket.AF_UNIX, socket.SOCK_STREAM, target.address)
    if target.transport is Transport.UNIXGRAM:
        return await _connect_socket(socket.AF_UNIX, socket.SOCK_DGRAM, target.address)
    if target.transport is Transport.TLS:
        return await _connect_tls(target)
    kind = socket.SOCK_DGRAM if target.transport is Transport.UDP else socket.SOCK_STREAM
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(target.address, target.port, type=kind)
    family, _, _, _, address = found[0]
    return await _connect_socket(family, kind, address)


async def _connect_local() -> Channel:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        for path in LOCAL:
            with contextlib.suppress(OSError):
                return await _connect_socket(socket.AF_UNIX, kind, path)
    raise HostError(
        "Unix syslog delivery error",
        hint=f"nobody listens at {LOCAL[0]}: install rsyslog, or name a syslog-address",
    )


class _Socket:
    """A plain socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    async def send(self, message: bytes) -> None:
        """Hand one message over."""
        with _named("write syslog"):
            self._check_peer()
            left = memoryview(message)
            while left:
                try:
                    left = left[self._socket.send(left, socket.MSG_NOSIGNAL) :]
                except BlockingIOError:
                    await writable(self._socket.fileno())

    def _check_peer(self) -> None:
        """Raise `ConnectionResetError` if the other end was closed: what is sent now is lost."""
        if self._socket.type != socket.SOCK_STREAM:
            return
        with contextlib.suppress(BlockingIOError):
            if not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                raise ConnectionResetError("connection reset by peer")

    def close(self) -> None:
        """Let go."""
        self._socket.close()


async def _connect_socket(family: int, kind: int, address: str | tuple[object, ...]) -> _Socket:
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        try:
            sock.connect(address)
        except BlockingIOError:
            await writable(sock.fileno())
            if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(number, os.strerror(number)) from None
    except BaseException:
        sock.close()
        raise
    return _Socket(sock)


class _Encrypted:
    """A stream over TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        writer.transport.set_write_buffer_limits(high=0)  # `drain` waits for the last byte

    async def send(self, message: bytes) -> None:
        """Hand one message over."""
        with _named("write syslog"):
            if self._reader.at_eof():
                raise ConnectionResetError("connection reset by peer")
            self._writer.write(message)
            await self._writer.drain()

    def close(self) -> None:
        """Let go."""
        self._writer.close()


async def _connect_tls(target: Target) -> _Encrypted:
    context = ssl.create_default_context(cafile=target.ca or None)
    if not target.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if target.certificate:
        context.load_cert_chain(target.certificate, target.key)
    reader, writer = await asyncio.open_connection(target.address, target.port, ssl=context)
    return _Encrypted(reader, writer)


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Raise `HostError` for an `OSError`, as Go's `net.OpError` says it."""
    try:
        yield
    except OSError as error:
        call = "connect: " if what.startswith("dial") and error.errno else ""
        why = (error.strerror or str(error)).lower()
        raise HostError(f"{what}: {call}{why}") from error
