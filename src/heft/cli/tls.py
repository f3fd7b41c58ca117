"""TLS as a socket that can end its own direction and go on reading.

`ssl.SSLSocket` cannot: its `unwrap` reads on for the other side's farewell, and takes data that
comes before it for an attack. With memory between TLS and the network there is nothing to read.
"""

from __future__ import annotations

import contextlib
import ssl

from heft.cli.failures import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from heft.cli.address import Address

BLOCK = 1 << 16
RECORD = 1 << 14
"""Bytes in the largest record of TLS."""


def context(address: Address) -> ssl.SSLContext:
    """Give what proves both sides to each other. Raises `Failure` for files that do not fit."""
    try:
        made = ssl.create_default_context(cafile=address.authority)
        made.load_cert_chain(address.certificate, address.key)
    except OSError as error:
        files = f"{address.authority}, {address.certificate}, {address.key}"
        raise Failure(f"cannot use the TLS files {files}: {error.strerror or error}") from None
    return made


class Channel:
    """An encrypted connection; of a socket's methods, those that are needed here."""

    def __init__(self, plain: socket.socket, made: ssl.SSLContext, host: str) -> None:
        self._plain = plain
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = made.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._backlog = b""
        self._read = bytearray()
        self._handshake()

    def _handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._receive()
            else:
                return self._flush()

    def _receive(self) -> None:
        """Take what the network has. Raises `BlockingIOError` where it has nothing now."""
        data = self._plain.recv(BLOCK)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        """Send what is encrypted. Raises `BlockingIOError` where not all can go now."""
        self._backlog += self._outgoing.read()
        while self._backlog:
            self._backlog = self._backlog[self._plain.send(self._backlog) :]

    def _decrypt(self) -> bool:
        """Take in all that can be; False at the end."""
        try:
            while block := self._tls.read(BLOCK):
                self._read += block
        except ssl.SSLWantReadError:
            return True
        except ssl.SSLZeroReturnError:
            return False
        return False

    def recv(self, most: int) -> bytes:
        """Give what has come; empty at the end."""
        lasts = True
        while not self._read and lasts:
            lasts = self._decrypt()
            if not self._read and lasts:
                self._receive()
        taken = bytes(self._read[:most])
        del self._read[:most]
        return taken

    def send(self, data: bytes | bytearray) -> int:
        """Send some of it; give how much that was. What waits from before goes first."""
        self._flush()
        taken = self._tls.write(data[:RECORD]) if data else 0
        with contextlib.suppress(BlockingIOError):
            # What does not leave now is encrypted, so it counts as sent; `waits` tells of it.
            self._flush()
        return taken

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view[:RECORD]) :]
            self._flush()

    def unwrap(self) -> None:
        """Say that nothing more is sent; what the other side sends still comes."""
        self._decrypt()
        with contextlib.suppress(ssl.SSLError):
            # It fails for want of the same from the other side, which has more to say.
            self._tls.unwrap()
        self._flush()

    @property
    def waits(self) -> bool:
        """Say whether something is still to be sent."""
        return bool(self._backlog)

    def pending(self) -> int:
        """Give how many bytes have come that the kernel knows nothing of."""
        return len(self._read) + self._tls.pending()

    def setblocking(self, flag: bool) -> None:
        """Choose whether calls wait."""
        self._plain.setblocking(flag)

    def fileno(self) -> int:
        """Give the descriptor, to be polled."""
        return self._plain.fileno()

    def close(self) -> None:
        """End it."""
        self._plain.close()
