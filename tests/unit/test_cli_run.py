"""What `heft run` asks of the daemon, in which order, and what it makes of the answers."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_cli_connection import SECONDS, Peer

ID = "c0ffee"
RAW = "application/vnd.docker.raw-stream"
FRAMES = "application/vnd.docker.multiplexed-stream"


def frame(stream: int, text: str) -> bytes:
    """Give a frame of a stream."""
    data = text.encode()
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


class Daemon:
    """Answers as heftd does for one machine, and keeps what it was asked."""

    def __init__(self, place: Path) -> None:
        self.host = f"unix://{place}"
        self.asked: list[str] = []
        self.bodies: list[Any] = []
        self.create: tuple[int, Any] = (201, {"Id": ID, "Warnings": []})
        self.start: tuple[int, Any] = (204, None)
        self.end: Any = {"StatusCode": 0}
        self.content_type = FRAMES
        self.attached: Callable[[socket.socket], None] = lambda _: None
        self.started = threading.Event()
        self.ended = threading.Event()
        self._dropped = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(place))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._run)]
        self._threads[0].start()

    def _run(self) -> None:
        while True:
            try:
                peer = Peer(self._listener.accept()[0])
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(peer,)))
            self._threads[-1].start()

    def _serve(self, peer: Peer) -> None:
        try:
            while self._answer(peer):
                pass
        except (OSError, ValueError):
            pass
        finally:
            peer.close()

    def _answer(self, peer: Peer) -> bool:
        first, body = peer.request()
        if not first:
            return False
        _, target, _ = first.split(" ")
        asked = target.removeprefix("/v1.47").replace(f"/containers/{ID}/", "")
        self.asked.append(asked)
        if body:
            self.bodies.append(json.loads(body))
        word = asked.partition("?")[0]
        if word == "/containers/create":
            self._json(peer, *self.create)
        elif word == "start":
            self._json(peer, *self.start)
            self.started.set()
        elif word == "attach":
            peer.answer(f"HTTP/1.1 101 UPGRADED\nContent-Type: {self.content_type}")
            self.started.wait(SECONDS)
            self.attached(peer.socket)
            self.ended.set()
            return False
        elif word == "wait":
            peer.answer("HTTP/1.1 200 OK\nTransfer-Encoding: chunked")
            self.ended.wait(SECONDS)
            if self._dropped:
                return False
            end = json.dumps(self.end).encode()
            peer.socket.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(end), end))
        else:
            self._json(peer, 204, None)
        return True

    def _json(self, peer: Peer, status: int, value: Any) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        length = f"\nContent-Length: {len(body)}" if status != 204 else ""
        peer.answer(f"HTTP/1.1 {status} X{length}", body)

    def drop(self) -> None:
        """Answer nothing that is still open."""
        self._dropped = True

    def close(self) -> None:
        self.started.set()
        self.ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)
        self._listener.close()

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "heft.cli.main", "-H", self.host, *arguments]

    def heft(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), input=given, capture_output=True, text=True, timeout=30
        )


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "heft.sock")
    yield made
    made.close()


def test_a_run_attaches_and_waits_before_it_starts(daemon: Daemon) -> None:
    daemon.attached = lambda peer: peer.sendall(frame(1, "out\n") + frame(2, "err\n"))
    daemon.end = {"StatusCode": 7}
    done = daemon.heft("run", "--name", "web", "image", "true")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert daemon.asked == [
        "/containers/create?name=web",
        "attach?stream=1&stdout=1&stderr=1",
        "wait?condition=next-exit",
        "start",
    ]
    assert daemon.bodies[0]["Image"] == "image"


def test_with_rm_the_removal_is_waited_for(daemon: Daemon) -> None:
    assert daemon.heft("run", "--rm", "image").returncode == 0
    assert "wait?condition=removed" in daemon.asked
    assert daemon.bodies[0]["HostConfig"] == {"AutoRemove": True}


def test_input_goes_in_and_its_end_too(daemon: Daemon) -> None:
    def double(peer: socket.socket) -> None:
        data = b""
        while block := peer.recv(65536):
            data += block
        peer.sendall(frame(1, f"{len(data)}\n"))

    daemon.attached = double
    done = daemon.heft("run", "-i", "image", "cat", given="x" * 3_000_000)
    assert (done.returncode, done.stdout) == (0, "3000000\n")
    assert "attach?stream=1&stdin=1&stdout=1&stderr=1" in daemon.asked


def test_in_the_background_the_id_is_all(daemon: Daemon) -> None:
    done = daemon.heft("run", "-d", "-i", "image")
    assert (done.returncode, done.stdout) == (0, f"{ID}\n")
    assert daemon.asked == ["/containers/create", "start"]
    assert not daemon.bodies[0]["AttachStdout"]
    assert daemon.bodies[0]["OpenStdin"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('exec: "x": executable file not found in $PATH', 127),
        ('exec: "/x": stat /x: no such file or directory', 127),
        ("open executable: permission denied", 126),
        ("open executable: is a directory", 126),
        ("driver failed programming external connectivity", 125),
    ],
)
def test_a_start_that_fails_has_a_shells_status(daemon: Daemon, message: str, code: int) -> None:
    daemon.start = (400, {"message": message})
    done = daemon.heft("run", "image", "x")
    assert done.returncode == code
    assert done.stderr == f"heft: {message}\n\nRun 'heft run --help' for more information\n"


def test_an_image_that_is_not_there(daemon: Daemon) -> None:
    daemon.create = (404, {"message": "No such image: nope:latest"})
    done = daemon.heft("run", "nope")
    assert done.returncode == 125
    assert done.stderr.startswith("Unable to find image 'nope:latest' locally\nheft: No such image")
    assert daemon.asked == [
        "/containers/create",
        "/images/create?fromImage=nope&tag=latest",
        "/containers/create",
    ]


def test_warnings_and_the_file_with_the_id(daemon: Daemon, tmp_path: Path) -> None:
    daemon.create = (201, {"Id": ID, "Warnings": ["no swap limit"]})
    file = tmp_path / "id"
    done = daemon.heft("create", "--cidfile", str(file), "image")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{ID}\n", "WARNING: no swap limit\n")
    assert file.read_text() == ID
    again = daemon.heft("create", "--cidfile", str(file), "image")
    assert again.returncode == 125
    assert "container ID file found" in again.stderr
    assert len(daemon.asked) == 1


def test_an_end_that_is_not_the_machines_own(daemon: Daemon) -> None:
    daemon.end = {"StatusCode": 0, "Error": {"Message": "the monitor was killed"}}
    done = daemon.heft("run", "image")
    assert done.returncode == 125
    assert "heft: the monitor was killed" in done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_signals_are_the_machines(daemon: Daemon, name: str) -> None:
    ready, told = threading.Event(), threading.Event()

    def until_told(_: socket.socket) -> None:
        ready.set()
        while not any(asked.startswith("kill") for asked in daemon.asked):
            if told.wait(0.01):
                return

    daemon.attached = until_told
    daemon.end = {"StatusCode": 143}
    process = subprocess.Popen(daemon.command("run", "image"), stdout=subprocess.DEVNULL)
    assert ready.wait(SECONDS)
    process.send_signal(getattr(signal, name))
    assert process.wait(SECONDS) == 143
    told.set()
    assert f"kill?signal={name}" in daemon.asked


def test_a_terminal_is_needed_for_a_terminals_input(daemon: Daemon) -> None:
    done = daemon.heft("run", "-it", "image")
    assert done.returncode == 125
    assert "because stdin is not a terminal" in done.stderr
    assert daemon.asked == []


def test_detach_keys_let_go_and_the_terminal_is_as_it_was(daemon: Daemon) -> None:
    def until_detached(peer: socket.socket) -> None:
        peer.sendall(b"# ")
        data = b""
        while not data.endswith(b"\x10\x11"):
            data += peer.recv(100)
        peer.sendall(b"bye\r\n")

    daemon.attached = until_detached
    daemon.content_type = RAW
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (33, 77))
    before = termios.tcgetattr(theirs)
    command = daemon.command("run", "-it", "image", "sh")
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    seen = b""
    while not seen.endswith(b"# "):
        seen += os.read(ours, 1000)
    assert termios.tcgetattr(theirs) != before
    os.write(ours, b"ls\r\x10\x11")
    assert process.wait(SECONDS) == 0
    assert os.read(ours, 1000) == b"bye\r\n"
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)
    assert "attach?stream=1&stdin=1&stdout=1&stderr=1" in daemon.asked
    assert daemon.bodies[0]["HostConfig"]["ConsoleSize"] == [33, 77]


def test_a_signal_that_ends_it_gives_the_terminal_back(daemon: Daemon) -> None:
    def until_gone(peer: socket.socket) -> None:
        peer.sendall(b"# ")
        while peer.recv(100):
            pass

    daemon.attached = until_gone
    daemon.content_type = RAW
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    command = daemon.command("run", "-it", "image", "sh")
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.read(ours, 1000)
    process.terminate()
    assert process.wait(SECONDS) == 128 + signal.SIGTERM
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


def test_a_reader_that_has_enough_ends_it_quietly(daemon: Daemon) -> None:
    def flood(peer: socket.socket) -> None:
        try:
            while True:
                peer.sendall(frame(1, "line\n" * 100))
        except OSError:
            return

    daemon.attached = flood
    process = subprocess.Popen(
        daemon.command("run", "image"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.wait(SECONDS) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_closed_streams_are_not_taken_for_the_daemons_socket(daemon: Daemon) -> None:
    def until_the_end(peer: socket.socket) -> None:
        while peer.recv(100):
            pass
        peer.sendall(frame(1, "to nobody\n"))

    daemon.attached = until_the_end
    daemon.end = {"StatusCode": 3}
    command = " ".join(daemon.command("run", "-i", "image"))
    done = subprocess.run(["sh", "-c", f"exec {command} <&- >&- 2>&-"], timeout=30)
    assert done.returncode == 3


def test_a_daemon_that_goes_away_is_told(daemon: Daemon) -> None:
    daemon.attached = lambda _: daemon.drop()
    done = daemon.heft("run", "image")
    assert done.returncode == 125
    assert f"lost the Heft daemon while machine {ID} ran; it runs on" in done.stderr
