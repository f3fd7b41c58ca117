"""The API on TCP: with mutual TLS, or not at all."""

import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar

PORT = 2376

pytestmark = pytest.mark.usefixtures("clean_host")


@dataclass(frozen=True)
class Keys:
    """A directory with an authority, a server, a client, and a stranger's client."""

    place: Path

    def file(self, name: str) -> str:
        return str(self.place / name)


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    keys = Keys(tmp_path_factory.mktemp("keys"))
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for authority in ("ca", "strangers-ca"):
        files = (
            "-keyout",
            keys.file(f"{authority}-key.pem"),
            "-out",
            keys.file(f"{authority}.pem"),
        )
        openssl("req", "-x509", *kind, *files, "-days", "2", "-subj", f"/CN={authority}")
    for name, authority in (("server", "ca"), ("client", "ca"), ("stranger", "strangers-ca")):
        key, request = keys.file(f"{name}-key.pem"), keys.file(f"{name}.csr")
        openssl("req", *kind, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        extension = keys.place / f"{name}.ext"
        usage = "serverAuth" if name == "server" else "clientAuth"
        extension.write_text(f"subjectAltName=IP:127.0.0.1\nextendedKeyUsage={usage}\n")
        signer = ("-CA", keys.file(f"{authority}.pem"), "-CAkey", keys.file(f"{authority}-key.pem"))
        made = ("-out", keys.file(f"{name}.pem"), "-days", "2", "-extfile", str(extension))
        openssl("x509", "-req", "-in", request, *signer, "-CAcreateserial", *made)
    return keys


@pytest.fixture
def daemon(tmp_path: Path, keys: Keys) -> Iterator[Daemon]:
    server = ("--tlscert", keys.file("server.pem"), "--tlskey", keys.file("server-key.pem"))
    flags = ("-H", f"tcp://127.0.0.1:{PORT}", "--tlscacert", keys.file("ca.pem"), *server)
    daemon = Daemon(tmp_path, *flags).start()
    daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
    yield daemon
    daemon.clean_up()


def docker(
    daemon: Daemon, keys: Keys, *arguments: str, name: str = "client", **options: object
) -> subprocess.CompletedProcess[str]:
    own = ("--tlscert", keys.file(f"{name}.pem"), "--tlskey", keys.file(f"{name}-key.pem"))
    command = ["docker", "-H", f"tcp://127.0.0.1:{PORT}", "--tlsverify"]
    command += ["--tlscacert", keys.file("ca.pem"), *own, *arguments]
    environment = {key: value for key, value in daemon.environment.items() if key != "DOCKER_HOST"}
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        command, env=environment, capture_output=True, text=True, timeout=30, check=False, **options
    )


def test_a_known_client_is_served(daemon: Daemon, keys: Keys) -> None:
    done = docker(
        daemon, keys, "run", "--rm", "-i", BUSYBOX, "sh", "-c", "cat; exit 3", input="a\n"
    )
    assert (done.stdout, done.returncode) == ("a\n", 3), done.stderr


def test_strangers_are_not(daemon: Daemon, keys: Keys) -> None:
    assert docker(daemon, keys, "ps", name="stranger").returncode == 1
    with socket.create_connection(("127.0.0.1", PORT), timeout=5) as plain:
        plain.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"OK" not in plain.recv(1000)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", PORT), timeout=5) as plain:
        nameless = context.wrap_socket(plain)
        with nameless, pytest.raises((ssl.SSLError, ConnectionError)):
            speak(nameless)


def speak(connection: ssl.SSLSocket) -> bytes:
    connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection.recv(1000)


def test_tcp_without_tls_is_refused(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, "-H", "tcp://127.0.0.1:2375")
    with pytest.raises(AssertionError, match="without mutual TLS"):
        daemon.start()
    daemon.run.rmdir()


@pytest.mark.parametrize("script", ["head -n 1; exit 3", "exit 3"])
def test_who_is_still_sent_to_when_it_ends_has_its_code(
    daemon: Daemon, keys: Keys, script: str
) -> None:
    daemon.request(
        "POST", "/containers/create?name=box", {"Image": BUSYBOX, "Cmd": ["sleep", "99"]}
    )
    daemon.request("POST", "/containers/box/start")
    words = ("exec", "-i", "box", "sh", "-c", script)
    done = docker(daemon, keys, *words, input="y\n" * (8 << 20))
    assert (done.stderr, done.returncode) == ("", 3)
