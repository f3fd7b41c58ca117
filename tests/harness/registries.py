"""A real registry (Debian's docker-registry), and a proxy in front of it that makes trouble."""

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_WR, create_connection, socket
from urllib.parse import urlsplit

from tests.harness.pace import patience

USER, PASSWORD = "ann", "a:secret"


@dataclass
class Served:
    """A registry that runs; `host` is how images there are called."""

    host: str
    place: Path

    def blob(self, digest: str) -> Path:
        """Give where it keeps a blob."""
        value = digest.removeprefix("sha256:")
        root = self.place / "data/docker/registry/v2/blobs/sha256"
        return root / value[:2] / value / "data"


@contextmanager
def registry(
    place: Path, port: int, *, users: bool = False, tls: tuple[Path, Path] | None = None
) -> Iterator[Served]:
    """Run a registry on loopback until the block ends."""
    place.mkdir()
    lines = ["version: 0.1", "log: {level: error, accesslog: {disabled: true}}"]
    lines += [
        f"storage: {{filesystem: {{rootdirectory: {place}/data}}, delete: {{enabled: true}}}}"
    ]
    secure = f", tls: {{certificate: {tls[0]}, key: {tls[1]}}}" if tls else ""
    lines += [f"http: {{addr: '127.0.0.1:{port}', secret: x{secure}}}"]
    if users:
        passwords = place / "passwords"
        subprocess.run(["htpasswd", "-Bbc", passwords, USER, PASSWORD], check=True, stderr=-3)
        lines += [f"auth: {{htpasswd: {{realm: r, path: {passwords}}}}}"]
    config = place / "config.yml"
    config.write_text("\n".join(lines))
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        _wait(port, process)
        yield Served(f"127.0.0.1:{port}", place)
    finally:
        process.kill()
        process.wait()


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + patience(20)
    while True:
        try:
            create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert process.poll() is None, "the registry ended"
            assert time.monotonic() < deadline, "the registry does not answer"
            time.sleep(0.02)
        else:
            return


Act = Callable[["Handler", int, dict[str, str], bytes], None]
"""Answers in place of the registry, of which it is given status, headers and body."""


@dataclass
class Trouble:
    """What the proxy does with requests whose `METHOD /path` a pattern fits, so many times."""

    pattern: str
    act: Act
    times: int = 1


@dataclass
class Asked:
    """A request that came."""

    line: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Proxy:
    """The proxy; `asked` is all that came, in order."""

    host: str
    upstream: str
    troubles: list[Trouble] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def lines(self, pattern: str) -> list[Asked]:
        """Give the requests that a pattern fits."""
        return [each for each in self.asked if re.search(pattern, each.line)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        line = f"{self.command} {self.path}"
        self.proxy.asked.append(Asked(line, dict(self.headers), body))
        status, headers, content = self._upstream(body)
        for trouble in self.proxy.troubles:
            if trouble.times and re.search(trouble.pattern, line):
                trouble.times -= 1
                trouble.act(self, status, headers, content)
                return
        self.give(status, headers, content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815 - http.server's names

    def do_CONNECT(self) -> None:
        """Be a tunnel, as a proxy is for HTTPS, whatever host was asked for."""
        self.proxy.asked.append(Asked(f"CONNECT {self.path}", dict(self.headers)))
        host, _, port = self.proxy.upstream.rpartition(":")
        with create_connection((host, int(port))) as upstream:
            self.send_response_only(200)
            self.end_headers()
            back = threading.Thread(target=_pour, args=(upstream, self.connection))
            back.start()
            _pour(self.connection, upstream)
            back.join()
        self.close_connection = True

    def _upstream(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if not self.proxy.upstream:
            return 404, {}, b""
        connection = HTTPConnection(self.proxy.upstream)
        # The registry makes its addresses of the host that it is called by.
        sent = {**dict(self.headers), "Host": self.proxy.host}
        connection.request(self.command, self.path, body or None, sent)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), content

    def give(self, status: int, headers: dict[str, str], body: bytes, cut: int = -1) -> None:
        """Answer; of the body, only the first `cut` bytes, and then nothing more."""
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut] if cut >= 0 else body)
        if cut >= 0:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def _pour(source: socket, target: socket) -> None:
    """Give on what comes, until no more does."""
    with suppress(OSError):
        while block := source.recv(1 << 16):
            target.sendall(block)
    with suppress(OSError):
        target.shutdown(SHUT_WR)


@contextmanager
def proxy(upstream: str, port: int = 0, address: str = "127.0.0.1") -> Iterator[Proxy]:
    """Run a proxy in front of a registry (or of nothing) until the block ends."""

    class Own(Handler):
        pass

    server = ThreadingHTTPServer((address, port), Own)
    server.daemon_threads = True
    Own.proxy = Proxy(f"{address}:{server.server_port}", upstream)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Own.proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def cut(at: int) -> Act:
    """Break the connection after so many bytes of the body."""
    return lambda handler, status, headers, body: handler.give(status, headers, body, cut=at)


def corrupt(handler: Handler, status: int, headers: dict[str, str], body: bytes) -> None:
    """Turn a byte in the middle round."""
    middle = len(body) // 2
    handler.give(status, headers, body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :])


def refuse(status: int, **headers: str) -> Act:
    """Answer with a status of its own."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, *_: handler.give(status, named, b"{}")


def lead_to(host: str) -> Act:
    """Redirect to the same path at another host."""

    def act(handler: Handler, *_: object) -> None:
        handler.give(307, {"Location": f"http://{host}{urlsplit(handler.path).path}"}, b"")

    return act


def say(body: bytes, media_type: str = "", **headers: str) -> Act:
    """Answer with a body of its own."""
    named = {"Content-Type": media_type, **headers} if media_type else headers

    def act(handler: Handler, *_: object) -> None:
        handler.give(200, named, body)

    return act
