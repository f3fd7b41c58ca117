"""The three engines, each with directories, cgroups and a socket of its own for one run."""

import contextlib
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

from benchmarks.disk import memory

START_SECONDS = 60.0
STOP_SECONDS = 60.0
IMAGE = "bench:latest"

Command = tuple[str, ...]


class UnixConnection(HTTPConnection):
    """HTTP on a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=START_SECONDS)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket(AF_UNIX, SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass
class Daemon:
    """A daemon, from its start to its end."""

    command: Command
    socket: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.command[0]}: {self.log.read_text()[-2000:]}")
            time.sleep(0.002)

    def answers(self) -> bool:
        connection = UnixConnection(self.socket)
        try:
            connection.request("GET", "/_ping")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(STOP_SECONDS)


@dataclass
class Engine:
    """What is the same for all: `client` is the beginning of every command line."""

    name: str
    client: Command
    directory: Path
    monitor: bytes
    """The program that watches a machine, by a word of its command line."""
    daemon: Daemon | None = None
    environment: dict[str, str] = field(default_factory=dict)
    run_options: Command = ()
    """What its `run` needs on a host where limits cannot be raised."""

    def run(self, *arguments: str) -> Command:
        """Give the command line of a run."""
        return (*self.client, "run", *self.run_options, *arguments)

    def command(self, *arguments: str) -> Command:
        return (*self.client, *arguments)

    def do(self, *arguments: str) -> str:
        """Run a command of the client; give what it prints."""
        return self.say(self.command(*arguments))

    def say(self, command: Command) -> str:
        """Run a command line in the client's environment; give what it prints."""
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=600,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def monitors(self) -> list[int]:
        """Give the processes that watch this engine's machines."""
        place = os.fsencode(self.directory)
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes()
                if self.monitor in line.partition(b"\0")[0] and place in line:
                    found.append(int(entry.name))
        return found


def request(path: Path, method: str, target: str, body: bytes | None = None) -> Any:
    """Send one request; give the answer's status and body."""
    connection = UnixConnection(path)
    try:
        kind = {"Content-Type": "application/json"} if body else {}
        connection.request(method, target, body, kind)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextlib.contextmanager
def heft(directory: Path, prefix: Path, cgroup: str) -> Iterator[Engine]:
    """Heft as it is installed."""
    directory.mkdir()
    place = directory / "run/heft.sock"
    command = (
        str(prefix / "bin/heftd"),
        *("--data", str(directory / "data"), "--run", str(directory / "run")),
        *("--cgroup-parent", f"{cgroup}/heft", "--log-level", "warning"),
    )
    daemon = Daemon(command, place, directory / "log")
    environment = {**os.environ, "HEFT_HOST": f"unix://{place}"}
    client = (str(prefix / "bin/heft"),)
    with memory(directory / "run"):
        daemon.start()
        try:
            yield Engine("Heft", client, directory, b"conmon", daemon, environment)
        finally:
            daemon.stop()
            subprocess.run((*command, "--teardown"), check=False, capture_output=True)


@contextlib.contextmanager
def dockerd(directory: Path, cgroup: str) -> Iterator[Engine]:
    """dockerd with its own containerd; the host's, if there is one, is out of its sight."""
    directory.mkdir()
    place = directory / "docker.sock"
    command = (
        "dockerd",
        *("--data-root", str(directory / "data"), "--exec-root", str(directory / "exec")),
        *("--pidfile", str(directory / "pid"), "--host", f"unix://{place}"),
        *("--config-file", str(directory / "none.json"), "--storage-driver", "overlay2"),
        *("--cgroup-parent", f"{cgroup}/docker", "--log-level", "warn"),
    )
    (directory / "none.json").write_text("{}")
    daemon = Daemon(command, place, directory / "log")
    with memory(directory / "exec"), hidden(Path("/run/containerd")):
        try:
            daemon.start()
            client = docker_client(place)
            yield Engine("Docker", client, directory, b"containerd-shim", daemon, plain())
        finally:
            daemon.stop()


@contextlib.contextmanager
def hidden(path: Path) -> Iterator[None]:
    """Let an empty directory stand where something of the host's may be."""
    made = not path.exists()
    path.mkdir(exist_ok=True)
    subprocess.run(("mount", "-t", "tmpfs", "tmpfs", str(path)), check=True)
    try:
        yield
    finally:
        subprocess.run(("umount", "-l", str(path)), check=False)
        if made:
            path.rmdir()


@contextlib.contextmanager
def podman(directory: Path) -> Iterator[Engine]:
    """Podman on a store of its own."""
    directory.mkdir()
    client = (
        *("podman", "--cgroup-manager", "cgroupfs", "--storage-driver", "overlay"),
        *("--root", str(directory / "root"), "--runroot", str(directory / "run")),
        *("--tmpdir", str(directory / "tmp")),
    )
    # It asks for more than the hard limits of a host without CAP_SYS_RESOURCE; crun then refuses.
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limits = ("--ulimit", f"nofile={files}:{files}", "--ulimit", "nproc=4096:4096")
    engine = Engine("Podman", client, directory, b"conmon", None, plain(), limits)
    with memory(directory / "run"), memory(directory / "tmp"):
        try:
            yield engine
        finally:
            engine.do("rm", "--all", "--force", "--time", "0")


def docker_client(place: Path) -> Command:
    """Give the beginning of a command line of the real docker client."""
    return ("docker", "--host", f"unix://{place}")


def plain() -> dict[str, str]:
    """Give the environment of clients that are told by options where to go."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "CONTAINER"))}


def remove_groups(cgroup: str) -> None:
    """Take the cgroups of a run away, where engines left them."""
    for root in Path("/sys/fs/cgroup").glob(f"**{cgroup}"):
        for path, _, _ in os.walk(root, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(path)
