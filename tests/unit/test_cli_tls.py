"""TLS whose own direction can end first, against Python's own server."""

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heft.cli.address import Address
from heft.cli.connection import Connection, dial
from heft.cli.failures import Failure, Unreachable

SECONDS = 10.0


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with one certificate, which is server, client and authority at once."""
    place = tmp_path_factory.mktemp("keys")
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    files = ("-keyout", str(place / "key.pem"), "-out", str(place / "cert.pem"))
    names = ("-subj", "/CN=heft", "-addext", "subjectAltName=IP:127.0.0.1")
    openssl("req", "-x509", *kind, *files, *names)
    return place


class Server:
    """Takes one connection, and serves it as a test says."""

    def __init__(self, keys: Path, serve: Callable[[ssl.SSLSocket], None]) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(keys / "cert.pem", keys / "key.pem")
        self.context.load_verify_locations(keys / "cert.pem")
        self.context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._serve = serve
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        cert, key = str(keys / "cert.pem"), str(keys / "key.pem")
        port = self._listener.getsockname()[1]
        self.address = Address(
            host="127.0.0.1", port=port, authority=cert, certificate=cert, key=key
        )

    def _run(self) -> None:
        plain, _ = self._listener.accept()
        plain.settimeout(SECONDS)
        with plain:
            try:
                with self.context.wrap_socket(plain, server_side=True) as peer:
                    self._serve(peer)
            except OSError:
                return

    def close(self) -> None:
        self._thread.join(SECONDS)
        self._listener.close()


@pytest.fixture
def server(keys: Path) -> Iterator[Callable[[Callable[[ssl.SSLSocket], None]], Connection]]:
    made: list[Server] = []
    connections: list[Connection] = []

    def connect(serve: Callable[[ssl.SSLSocket], None]) -> Connection:
        made.append(Server(keys, serve))
        connections.append(Connection(dial(made[-1].address), "heft"))
        return connections[-1]

    yield connect
    for connection in connections:
        connection.close()
    for each in made:
        each.close()


Connect = Callable[[Callable[[ssl.SSLSocket], None]], Connection]


def everything(connection: Connection) -> bytes:
    data = bytearray()
    while block := connection.some():
        data += block
    return bytes(data)


def test_what_comes_after_the_end_of_what_was_sent_is_read(server: Connect) -> None:
    def count(peer: ssl.SSLSocket) -> None:
        total = 0
        # Data on its way when the client says that it is done: the case that SSLSocket fails.
        peer.sendall(b"early" * 10_000)
        while block := peer.recv(65536):
            total += len(block)
        peer.sendall(b"late %d" % total)

    connection = server(count)
    connection.socket.sendall(b"x" * 200_000)
    connection.end_output()
    assert everything(connection) == b"early" * 10_000 + b"late 200000"


def test_nothing_waits_where_nothing_can_go(server: Connect) -> None:
    release = threading.Event()

    def late(peer: ssl.SSLSocket) -> None:
        release.wait(SECONDS)
        total = 0
        while total < sent:
            total += len(peer.recv(65536))
        peer.sendall(b"done")

    connection = server(late)
    connection.socket.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < 1 << 30:
            sent += connection.give(b"y" * 65536)
    assert connection.waits
    connection.socket.setblocking(True)
    release.set()
    connection.give(b"")
    assert not connection.waits
    assert everything(connection) == b"done"


def test_a_connection_that_is_cut_ends_an_answer_before_its_time(server: Connect) -> None:
    def cut(peer: ssl.SSLSocket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")
        peer.shutdown(socket.SHUT_RDWR)

    answer = server(cut).answer()
    with pytest.raises(Unreachable, match="broke its answer off"):
        answer.read()


def test_a_stranger_is_refused(keys: Path, tmp_path: Path) -> None:
    made = Server(keys, lambda _: None)
    files = ("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"))
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, "-subj", "/CN=other")
    made.address.authority = str(tmp_path / "cert.pem")
    with pytest.raises(Unreachable, match="certificate verify failed"):
        dial(made.address)
    made.close()


def test_files_that_do_not_fit_are_named(keys: Path) -> None:
    address = Address(host="127.0.0.1", port=1, authority="/no/ca", certificate="/no", key="/k")
    with pytest.raises(Failure, match="cannot use the TLS files /no/ca, /no, /k: No such file"):
        dial(address)
