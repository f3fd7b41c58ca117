"""HTTP as the command speaks it, against sockets that answer what a test says."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.cli.address import Address
from heft.cli.client import Client, path, query, quote
from heft.cli.connection import Connection, file_blocks
from heft.cli.failures import Failure, Refusal, Unreachable
from heft.cli.frames import Demultiplexer
from heft.cli.keys import Watch, parse
from heft.cli.progress import Progress, follow

SECONDS = 10.0


class Peer:
    """The daemon's side of one connection."""

    def __init__(self, peer: socket.socket) -> None:
        self.socket = peer
        self.socket.settimeout(SECONDS)
        self._file = peer.makefile("rb")

    def request(self) -> tuple[str, bytes]:
        """Read a request; give its first line and its body."""
        first = self._file.readline().decode().strip()
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        if headers.get("transfer-encoding") == "chunked":
            return first, b"".join(self._chunks())
        return first, self._file.read(int(headers.get("content-length", 0)))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._file.readline(), 16):
            yield self._file.read(size)
            self._file.readline()
        self._file.readline()

    def answer(self, text: str, body: bytes = b"") -> None:
        self.socket.sendall(text.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@pytest.fixture
def pair() -> Iterator[tuple[Connection, Peer]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(SECONDS)
    connection, peer = Connection(ours, "heft"), Peer(theirs)
    yield connection, peer
    connection.close()
    peer.close()


def test_a_body_of_a_length(pair: tuple[Connection, Peer]) -> None:
    connection, peer = pair
    connection.send("POST", "/x?a=b", {"A": "B"}, b"body")
    assert peer.request() == ("POST /x?a=b HTTP/1.1", b"body")
    peer.answer("HTTP/1.1 200 OK\nContent-Length: 5", b"12345rest")
    answer = connection.answer()
    assert (answer.status, answer.keeps) == (200, True)
    assert answer.read() == b"12345"
    assert connection.some() == b"rest"


def test_a_body_that_is_broken_off_with_a_reason(pair: tuple[Connection, Peer]) -> None:
    connection, peer = pair
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    peer.socket.sendall(head + b'3\r\nabc\r\nbroken-off: "b\\u00e4d\\nblob"\r\n')
    blocks = connection.answer().blocks()
    assert next(blocks) == b"abc"
    with pytest.raises(Failure, match="b\u00e4d\nblob") as failure:
        next(blocks)
    assert not isinstance(failure.value, Unreachable)


def test_a_body_in_chunks_of_any_pieces(pair: tuple[Connection, Peer]) -> None:
    connection, peer = pair
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire = head + b"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nTrailer: t\r\n\r\n"

    def send() -> None:
        for number in range(len(wire)):
            peer.socket.sendall(wire[number : number + 1])

    thread = threading.Thread(target=send)
    thread.start()
    assert b"".join(connection.answer().blocks()) == b"abcd"
    thread.join()
    assert connection.is_idle()


def test_a_body_until_the_end(pair: tuple[Connection, Peer]) -> None:
    connection, peer = pair
    peer.answer("HTTP/1.0 200 OK", b"all of it")
    peer.socket.shutdown(socket.SHUT_WR)
    answer = connection.answer()
    assert not answer.keeps
    assert answer.read() == b"all of it"
    assert not connection.is_idle()


def test_no_body(pair: tuple[Connection, Peer]) -> None:
    connection, peer = pair
    peer.answer("HTTP/1.1 204 No Content")
    assert connection.answer().read() == b""


def test_a_body_that_is_streamed(pair: tuple[Connection, Peer], tmp_path: Path) -> None:
    connection, peer = pair
    file = tmp_path / "file"
    file.write_bytes(b"x" * 1_000_000)
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(peer.request()[1]))
    thread.start()
    with file.open("rb") as opened:
        connection.send("POST", "/load", {}, file_blocks(opened.fileno()))
    thread.join()
    assert got == [b"x" * 1_000_000]


def test_a_daemon_that_stops_reading_says_why(pair: tuple[Connection, Peer]) -> None:
    connection, peer = pair
    peer.answer("HTTP/1.1 400 Bad Request\nContent-Length: 3", b"bad")
    peer.socket.shutdown(socket.SHUT_RD)
    connection.send("POST", "/load", {}, iter([b"x" * 100_000] * 20))
    answer = connection.answer()
    assert (answer.status, answer.read()) == (400, b"bad")


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n123",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n123",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"A%d: b\r\n" * 300,
    ],
)
def test_what_is_broken_off_or_no_http_is_told(pair: tuple[Connection, Peer], wire: bytes) -> None:
    connection, peer = pair
    peer.socket.sendall(wire)
    peer.socket.shutdown(socket.SHUT_WR)
    with pytest.raises(Unreachable):
        connection.answer().read()


@given(st.binary(max_size=200))
def test_any_answer_is_read_or_refused(wire: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(wire)
        theirs.shutdown(socket.SHUT_WR)
        try:
            Connection(ours, "heft").answer().read()
        except Unreachable:
            return


def test_lines_come_as_they_are_sent(pair: tuple[Connection, Peer]) -> None:
    connection, peer = pair
    peer.answer("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"8\r\none\r\ntwo\r\n")
    lines = connection.answer().lines()
    assert next(lines) == b"one"
    peer.socket.sendall(b"2\r\n\r\n\r\n5\r\nthree\r\n0\r\n\r\n")
    assert list(lines) == [b"two", b"three"]


class Server:
    """A Unix socket, each of whose connections a test's function serves."""

    def __init__(self, place: Path, serve: Callable[[Peer], None]) -> None:
        self.address = Address(path=str(place))
        self.connections = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(place))
        self._listener.listen()
        self._serve = serve
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                peer = Peer(self._listener.accept()[0])
            except OSError:
                return
            self.connections += 1
            try:
                self._serve(peer)
            except (OSError, ValueError):
                pass
            finally:
                peer.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(SECONDS)
        self._listener.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Callable[[Peer], None]], Server]]:
    servers: list[Server] = []

    def make(function: Callable[[Peer], None]) -> Server:
        servers.append(Server(tmp_path / f"{len(servers)}.sock", function))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


Serve = Callable[[Callable[[Peer], None]], Server]


def echo(peer: Peer) -> None:
    """Answer requests with what they were, until the client goes."""
    while request := peer.request():
        if not request[0]:
            return
        body = json.dumps([request[0], request[1].decode()]).encode()
        peer.answer(f"HTTP/1.1 200 OK\nContent-Length: {len(body)}", body)


def test_requests_share_a_connection(serve: Serve) -> None:
    server = serve(echo)
    client = Client(server.address)
    first, body = client.post("/a", {"B": 1}, all=True, limit=None, no=False, zero=0, n=["x", "y"])
    assert first == "POST /v1.47/a?all=1&zero=0&n=x&n=y HTTP/1.1"
    assert json.loads(body) == {"B": 1}
    assert client.get("/heft/v1/x")[0] == "GET /heft/v1/x HTTP/1.1"
    assert server.connections == 1
    client.close()


def test_a_connection_that_was_closed_is_replaced(serve: Serve) -> None:
    def once(peer: Peer) -> None:
        peer.request()
        peer.answer("HTTP/1.1 200 OK\nContent-Length: 1", b"1")

    server = serve(once)
    client = Client(server.address)
    assert client.get("/a") == 1
    while server.connections < 1 or client._idle is None or client._idle.is_idle():
        pass
    assert client.get("/a") == 1
    assert server.connections == 2
    client.close()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"message":"No such container: x"}', "No such container: x"),
        (b"plain", "plain"),
        (b"", "the daemon answered with HTTP status 404"),
        (b"[1]", "[1]"),
    ],
)
def test_refusals_say_what_the_daemon_says(serve: Serve, body: bytes, message: str) -> None:
    def refuse(peer: Peer) -> None:
        peer.request()
        peer.answer(f"HTTP/1.1 404 Not Found\nContent-Length: {len(body)}", body)

    client = Client(serve(refuse).address)
    with pytest.raises(Refusal) as caught:
        client.get("/x")
    assert (caught.value.message, caught.value.status) == (message, 404)
    client.close()


def test_an_upgraded_connection_is_a_stream(serve: Serve) -> None:
    def upgrade(peer: Peer) -> None:
        assert peer.request()[0].startswith("POST /v1.47/containers/x/attach?stream=1 ")
        peer.answer("HTTP/1.1 101 UPGRADED\nUpgrade: tcp\nConnection: Upgrade", b"early")
        data = peer.socket.recv(100)
        while block := peer.socket.recv(100):
            data += block
        peer.socket.sendall(b"got " + data)

    connection, answer = Client(serve(upgrade).address).hijack("/containers/x/attach", stream=True)
    assert answer.status == 101
    assert connection.holds
    assert connection.some() == b"early"
    connection.socket.sendall(b"typed")
    connection.end_output()
    assert connection.some() == b"got typed"
    assert connection.some() == b""
    connection.close()


def test_names_are_quoted() -> None:
    assert path("containers", "a b?#%/ü", "json") == "/containers/a%20b%3F%23%25/%C3%BC/json"
    assert query({}) == ""
    with pytest.raises(Failure, match="value is empty"):
        path("containers", "", "json")


@given(st.text(max_size=30))
def test_quoted_text_is_plain(text: str) -> None:
    assert not set(quote(text)) & set(" ?#&+\r\n\"'")


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=50)), max_size=10),
    st.lists(st.integers(1, 20), min_size=1, max_size=20),
)
def test_frames_in_any_pieces(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    wire = b"".join(
        bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for stream, data in frames
    )
    demultiplexer, seen = Demultiplexer(), {1: b"", 2: b""}
    at = turn = 0
    while at < len(wire):
        size = cuts[turn % len(cuts)]
        for stream, data in demultiplexer.feed(wire[at : at + size]):
            seen[stream] += data
        at, turn = at + size, turn + 1
    for stream, text in seen.items():
        assert text == b"".join(data for which, data in frames if which == stream)


def test_what_are_no_frames_is_told() -> None:
    with pytest.raises(Unreachable):
        Demultiplexer().feed(b"plain text")


@pytest.mark.parametrize(
    ("keys", "sequence"),
    [("", b"\x10\x11"), ("ctrl-],a", b"\x1da"), ("DEL", b"\x7f"), ("ctrl-@", b"\x00"), ("x", b"x")],
)
def test_detach_keys(keys: str, sequence: bytes) -> None:
    assert parse(keys) == sequence


@pytest.mark.parametrize("keys", ["ctrl-", "ctrl-ab", "foo", "a,,b", "é"])
def test_no_detach_keys(keys: str) -> None:
    with pytest.raises(Failure, match="invalid detach keys"):
        parse(keys)


@given(st.binary(max_size=6), st.binary(max_size=6), st.integers(1, 4))
def test_typed_keys_are_seen_however_they_come(before: bytes, after: bytes, size: int) -> None:
    typed = before + b"\x10\x11" + after
    watch = Watch(b"\x10\x11")
    for at in range(0, len(typed), size):
        watch.feed(typed[at : at + size])
    assert watch.seen
    watch = Watch(b"\x10\x11")
    watch.feed(b"\x10")
    watch.feed(b"x\x11")
    assert not watch.seen


class _Target:
    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_progress_is_told_in_plain_lines() -> None:
    lines = [
        b'{"status":"Reading","id":"a","progressDetail":{"current":1,"total":9}}',
        b'{"status":"Reading","id":"a","progressDetail":{"current":5,"total":9}}',
        b'{"status":"Done","id":"a","progressDetail":{}}',
        b'{"stream":"Loaded\\n"}',
        b'{"status":"sha256:1"}',
    ]
    target, told = _Target(), list[str]()
    assert follow(lines, Progress(target), told.append) == ["sha256:1"]  # type: ignore[arg-type]
    assert target.text == "a: Reading\na: Done\n"
    assert told == ["Loaded\n"]
    with pytest.raises(Failure, match="no room"):
        follow([b'{"error":"no room"}'], Progress(target), told.append)  # type: ignore[arg-type]
