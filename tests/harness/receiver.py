"""A receiver of syslog: keeps what it gets, over any transport."""

import contextlib
import os
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Self

SECONDS = 20.0
_SO_RCVBUFFORCE = 33
"""socket(7)."""


class Receiver:
    """Listens until it is closed; a message is what a datagram or a line has.

    `kind` is a scheme of `syslog-address`; the place is a path, or a port of the loopback (0: any).
    """

    def __init__(self, kind: str, place: Path | int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.kind = kind
        self._tls = tls
        self._datagrams = kind in ("udp", "unixgram")
        family = socket.AF_INET if isinstance(place, int) else socket.AF_UNIX
        self._socket = socket.socket(
            family, socket.SOCK_DGRAM if self._datagrams else socket.SOCK_STREAM
        )
        # Datagrams that find no room are lost, however fast they are taken.
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
        if isinstance(place, int):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(("127.0.0.1", place))
        else:
            self._socket.bind(str(place))
            os.chmod(place, 0o666)
        self._pieces: list[bytes] = []
        self._open: list[socket.socket] = [self._socket]
        if not self._datagrams:
            self._socket.listen()
        target = self._take_datagrams if self._datagrams else self._take_connections
        threading.Thread(target=target, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens, as `syslog-address` has it."""
        name = self._socket.getsockname()
        where = name if isinstance(name, str) else f"{name[0]}:{name[1]}"
        return f"{self.kind}://{where}"

    @property
    def port(self) -> int:
        """Its port."""
        return int(self._socket.getsockname()[1])

    def messages(self) -> list[str]:
        """What has come."""
        return b"".join(self._pieces).decode().splitlines()

    def until(self, count: int) -> list[str]:
        """Wait until so many messages have come."""
        deadline = time.monotonic() + SECONDS
        while len(found := self.messages()) < count:
            assert time.monotonic() < deadline, f"{count} messages did not come: {found[-9:]}"
            time.sleep(0.01)
        return found

    def close(self) -> None:
        """Stop listening, and hang up on all."""
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # so that a thread that waits for it returns
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_datagrams(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._socket.recv(1 << 16):
                self._pieces.append(data)

    def _take_connections(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._open.append(connection)
                threading.Thread(target=self._take, args=[connection], daemon=True).start()

    def _take(self, connection: socket.socket) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            while data := connection.recv(1 << 16):
                *lines, rest = (rest + data).split(b"\n")
                self._pieces.append(b"".join(line + b"\n" for line in lines))
