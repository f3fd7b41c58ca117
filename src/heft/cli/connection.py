"""HTTP/1.1 on one socket: a request, its answer, and the bare stream that it may turn into.

As much of RFC 9112 as a client of heftd needs: bodies with a length, in chunks, or until the end of
the connection. Written here because `http.client` takes longer to import than `heft ps` to answer.
So does `socket`, for its enumerations: what it is made of is used in its place.
"""

from __future__ import annotations

import _socket
import errno
import os
import sys

from heft.cli.failures import BrokenOff, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from heft.cli.address import Address
    from heft.cli.tls import Channel

    Peer = _socket.socket | Channel

BLOCK = 1 << 16
LARGE_BLOCK = 1 << 18
LONGEST_LINE = 1 << 16
MOST_HEADERS = 200
BROKEN_OFF = "broken-off:"
"""Stands where the length of a chunk should, before why there is none, a text in JSON."""
ADVICE = {
    errno.ENOENT: "Is heftd running? Start it, or name its socket with -H or HEFT_HOST",
    errno.ECONNREFUSED: "Nothing answers there: is heftd running?",
    errno.EACCES: "Only root and members of the group heft may use it",
}


def dial(address: Address) -> Peer:
    """Connect to the daemon. Raises `Unreachable`, which says what to do."""
    try:
        if address.path:
            return _dial_unix(address.path)
        return _dial_tls(address)
    except OSError as error:
        reason = error.strerror or str(error)
        advice = ADVICE.get(error.errno or 0, "") if address.path else ""
        raise Unreachable(
            f"cannot connect to the Heft daemon at {address}: {reason}"
            + (f". {advice}" if advice else "")
        ) from error


def _dial_unix(path: str) -> _socket.socket:
    plain = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        plain.connect(path)
    except OSError:
        plain.close()
        raise
    return plain


def _dial_tls(address: Address) -> Channel:
    import socket

    from heft.cli.tls import Channel, context

    made = context(address)
    plain = socket.create_connection((address.host, address.port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        return Channel(plain, made, address.host)
    except OSError:
        plain.close()
        raise


class Connection:
    """A connection to the daemon; one request at a time."""

    def __init__(self, peer: Peer, name: str) -> None:
        self.socket = peer
        self._name = name
        self._bodiless = False
        self._received = bytearray()

    # Sending

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] = b"",
    ) -> None:
        """Send a request. A body that is not bytes goes out in chunks, as it comes.

        A daemon that stops to read is no error here: its answer says why.
        """
        self._bodiless = method == "HEAD"
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._name}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if not isinstance(body, bytes):
            lines.append("Transfer-Encoding: chunked")
        elif body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        try:
            if isinstance(body, bytes):
                self.socket.sendall(head + body)
            else:
                self.socket.sendall(head)
                self._send_chunks(body)
        except (BrokenPipeError, ConnectionResetError):
            return
        except OSError as error:
            raise self._lost(error) from error

    def _send_chunks(self, blocks: Iterable[bytes]) -> None:
        if isinstance(blocks, Piped) and isinstance(self.socket, _socket.socket):
            while count := blocks.waiting():
                self.socket.sendall(b"%x\r\n" % count)
                blocks.pass_on(count, self.socket.fileno())
                self.socket.sendall(b"\r\n")
            blocks = ()
        for block in blocks:
            if block:
                self.socket.sendall(b"%x\r\n%b\r\n" % (len(block), block))
        self.socket.sendall(b"0\r\n\r\n")

    # Receiving

    def answer(self) -> Answer:
        """Read the head of the answer."""
        words = self.line().split(None, 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():
            raise Unreachable("what answers is no Heft daemon: its answer is not HTTP")
        headers: dict[str, str] = {}
        while line := self.line():
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
            if len(headers) > MOST_HEADERS:
                raise Unreachable("the daemon's answer has too many headers")
        return Answer(self, int(words[1]), headers, bodiless=self._bodiless)

    def line(self) -> str:
        """Give a line of an answer's head."""
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > LONGEST_LINE:
                raise Unreachable("a line of the daemon's answer is too long")
            if not self._fill():
                raise self._lost()
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line.rstrip(b"\r").decode("latin-1")

    def comes(self, seconds: float) -> bool:
        """Say whether something has come, or the end has, within a time."""
        if self._received:
            return True
        import select

        return bool(select.select((self.socket.fileno(),), (), (), seconds)[0])

    def some(self, most: int = BLOCK) -> bytes:
        """Give what has come, at most so many bytes; wait if nothing has. Empty at the end."""
        if not self._received:
            return self._receive(most)
        taken = bytes(self._received[:most])
        del self._received[:most]
        return taken

    @property
    def holds(self) -> bool:
        """Say whether there is something to read already, that the kernel knows nothing of."""
        if self._received:
            return True
        return not isinstance(self.socket, _socket.socket) and self.socket.pending() > 0

    def _fill(self) -> bool:
        block = self._receive(BLOCK)
        self._received += block
        return bool(block)

    def _receive(self, most: int) -> bytes:
        try:
            return self.socket.recv(most)
        except OSError as error:
            raise self._judged(error) from error

    def _lost(self, error: OSError | None = None) -> Unreachable:
        why = f": {error.strerror or error}" if error else " before it had answered"
        return Unreachable(f"lost the connection to the Heft daemon{why}")

    def _judged(self, error: OSError) -> Exception:
        """Give what an error means: not now, or never again."""
        return error if isinstance(error, BlockingIOError) else self._lost(error)

    # The stream that an upgraded connection is

    def give(self, data: bytes | bytearray) -> int:
        """Send what can be sent now; give how many bytes that was.

        Raises `BlockingIOError` where it is none, and `Unreachable` where it never will be.
        """
        try:
            return self.socket.send(data)
        except OSError as error:
            raise self._judged(error) from error

    def end_output(self) -> None:
        """Let the daemon see the end of what is sent; what it sends still comes."""
        try:
            if isinstance(self.socket, _socket.socket):
                self.socket.shutdown(_socket.SHUT_WR)
            else:
                self.socket.unwrap()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise self._lost(error) from error

    @property
    def waits(self) -> bool:
        """Say whether something that was given is still on its way out."""
        return not isinstance(self.socket, _socket.socket) and self.socket.waits

    def is_idle(self) -> bool:
        """Say whether a next request can be sent: the daemon has not closed its side."""
        if self._received:
            return False
        try:
            self.socket.setblocking(False)
            self.socket.recv(1)
        except OSError as error:
            return isinstance(self._judged(error), BlockingIOError)
        else:
            return False
        finally:
            self.socket.setblocking(True)

    def close(self) -> None:
        """End it."""
        self.socket.close()


class Answer:
    """An answer's status and headers, whose body is still to be read, once."""

    def __init__(
        self,
        connection: Connection,
        status: int,
        headers: dict[str, str],
        *,
        bodiless: bool = False,
    ) -> None:
        self.connection = connection
        self.status = status
        self.headers = headers
        self._empty = bodiless or status in (204, 304) or status < 200

    @property
    def keeps(self) -> bool:
        """Say whether the connection lives on when the body is read."""
        lasts = "content-length" in self.headers or "transfer-encoding" in self.headers
        closes = self.headers.get("connection", "").lower() == "close"
        return (lasts or self._empty) and not closes and self.status != 101

    def blocks(self) -> Iterator[bytes]:
        """Give the body as it comes. Raises `Unreachable` if it is broken off."""
        if self._empty:
            return
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
        elif "content-length" in self.headers:
            yield from self._exactly(_amount(self.headers["content-length"], 10))
        else:
            while block := self.connection.some():
                yield block

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            block = self.connection.some(min(size, LARGE_BLOCK))
            if not block:
                raise Unreachable("the Heft daemon broke its answer off")
            size -= len(block)
            yield block

    def _chunks(self) -> Iterator[bytes]:
        while size := self._size(self.connection.line()):
            yield from self._exactly(size)
            self.connection.line()
        while self.connection.line():
            pass

    @staticmethod
    def _size(line: str) -> int:
        """Read how long a chunk is. Raises `BrokenOff` where the daemon says why there is none."""
        if line.startswith(BROKEN_OFF):
            import json

            raise BrokenOff(str(json.loads(line.removeprefix(BROKEN_OFF).encode("latin-1"))))
        return _amount(line.partition(";")[0], 16)

    def read(self) -> bytes:
        """Give the whole body."""
        return b"".join(self.blocks())

    def lines(self) -> Iterator[bytes]:
        """Give the body's lines as they come, without their ends."""
        rest = b""
        for block in self.blocks():
            *whole, rest = (rest + block).split(b"\n")
            yield from (line.rstrip(b"\r") for line in whole if line.strip())
        if rest.strip():
            yield rest


def _amount(text: str, base: int) -> int:
    """Read how many bytes follow. Raises `Unreachable` for what is no such number."""
    try:
        amount = int(text.strip(), base)
    except ValueError:
        amount = -1
    if amount < 0:
        raise Unreachable(f"the length of the daemon's answer cannot be read: {text!r}")
    return amount


class Piped:
    """A body that comes through a pipe: in blocks, or from there to the socket within the kernel.

    `finish` is called at its end; what that raises breaks the request off.
    """

    def __init__(self, descriptor: int, finish: Callable[[], object]) -> None:
        self.size = 0
        """Bytes that have been given."""
        self._descriptor = descriptor
        self._finish = finish

    def __iter__(self) -> Iterator[bytes]:
        while block := os.read(self._descriptor, BLOCK):
            self.size += len(block)
            yield block
        self._finish()

    def waiting(self) -> int:
        """Wait for something; give how many bytes there are then, 0 at the end."""
        import fcntl
        import select
        import termios

        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.poll()
        found = fcntl.ioctl(self._descriptor, termios.FIONREAD, bytes(4))
        count = int.from_bytes(found, sys.byteorder)
        if not count:
            self._finish()
        return count

    def pass_on(self, count: int, target: int) -> None:
        """Let so many bytes, which are there, go to a descriptor (splice(2))."""
        self.size += count
        while count:
            count -= os.splice(self._descriptor, target, count)


def file_blocks(descriptor: int) -> Iterator[bytes]:
    """Give a file's content, for a body."""
    while block := os.read(descriptor, BLOCK * 4):
        yield block
