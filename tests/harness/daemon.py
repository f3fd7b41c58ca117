"""A daemon of the tests' own, that can be killed and started again."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self

from tests.harness import agent, kit
from tests.harness.isolation import CGROUP_PARENT
from tests.harness.pace import patience

START_SECONDS = patience(20)
ANSWER_SECONDS = patience(60)
ROOM_FOR_KITS = 1 << 30
"""Bytes."""
QUICK = {"SSL_CERT_FILE": "/dev/null"}
"""Nobody on this network has a certificate of the system's authorities: to read them would be a
fifth of every daemon's start."""


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("heft", timeout=timeout)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Answer:
    """A status and a body."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """What an error says."""
        return str(self.json["message"])


class Daemon:
    """heftd with directories, cgroups and addresses of its own.

    What it keeps of the boot is under /run: the way to a socket must be short, and its name server,
    which is nobody, must get in.
    """

    program = "heft.daemon"
    """The module to run."""
    spare_seconds = 0
    """How long it keeps a guest ready: what is left on the host then is not the machines' alone."""

    def __init__(self, directory: Path, *extra: str) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.run = Path(tempfile.mkdtemp(prefix="heft-test-", dir="/run"))
        self.run.chmod(0o755)
        self.socket = self.run / "heft.sock"
        self.log = directory / "heftd.log"
        self.extra = extra
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What makes clients talk to this daemon."""
        address = f"unix://{self.socket}"
        config = str(self.directory / "docker-config")
        clients = {"DOCKER_HOST": address, "HEFT_HOST": address, "DOCKER_CONFIG": config}
        return {**os.environ, **clients, "DOCKER_CLI_HINTS": "false"}

    def start(self, **environment: str) -> Self:
        """Start it, and wait until it answers (or has ended, where a fault was asked for)."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._give_kits()
        command = [sys.executable, "-m", self.program, "--data", self.data, "--run", self.run]
        command += ["--cgroup-parent", CGROUP_PARENT, "--log-level", "debug"]
        command += ["--agent", agent.built() / "heft-agent", *self.extra]
        command += ["--spare-seconds", str(self.spare_seconds)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **QUICK, **environment}
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None:
                if environment.get("HEFT_FAULT"):
                    return self
                raise AssertionError(f"heftd ended: {self.log.read_text()[-4000:]}")
            if time.monotonic() > deadline:
                raise AssertionError(f"heftd does not answer: {self.log.read_text()[-4000:]}")
            time.sleep(0.005)
        return self

    def _give_kits(self) -> None:
        """Let it have the kernel of its guests, which it could not fetch from where it is."""
        if not kit.KITS.is_dir() or (self.data / "kits").exists():
            return
        place = self.data if self.data.exists() else self.directory
        # Small disks and read-only ones are what some tests are about.
        if os.access(place, os.W_OK) and shutil.disk_usage(place).free > ROOM_FOR_KITS:
            self.data.mkdir(parents=True, exist_ok=True)
            shutil.copytree(kit.KITS, self.data / "kits", copy_function=kit.link)

    def _answers(self) -> bool:
        try:
            return self.request("GET", "/_ping", timeout=1).status == 200
        except OSError:
            return False

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """End it as a power switch would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def wait_dead(self, seconds: float = 20) -> None:
        """Wait until it has killed itself at a fault point."""
        assert self.process is not None
        status = self.process.wait(seconds)
        assert status == -signal.SIGKILL, f"{status}: {self.log.read_text()[-2000:]}"

    def stop(self) -> None:
        """End it as a service manager would."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(START_SECONDS) == 0, self.log.read_text()[-4000:]

    def restart(self, **environment: str) -> Self:
        """Kill it and start it again."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        return self.start(**environment)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        timeout: float = ANSWER_SECONDS,
        **headers: str,
    ) -> Answer:
        """Send one request; `body` is bytes, or a value to be sent as JSON."""
        connection = _UnixConnection(self.socket, timeout)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, data, {**kind, **headers})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        finally:
            connection.close()

    def clean_up(self) -> None:
        """Remove all machines, end the daemon, and take its networks down."""
        if self.process is not None and self.process.poll() is not None:
            self.start()
        for machine in self.request("GET", "/containers/json?all=1").json:
            self.request("DELETE", f"/containers/{machine['Id']}?force=1&v=1")
        self.stop()
        command = [sys.executable, "-m", "heft.daemon", "--teardown", "--data", self.data]
        command += ["--run", self.run, "--cgroup-parent", CGROUP_PARENT, *self.extra]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=patience(30),
            check=False,
            env={**os.environ, **QUICK},
        )
        assert done.returncode == 0, done.stderr
        shutil.rmtree(self.run)


class BasedDaemon(Daemon):
    """A daemon that makes a base for every machine."""

    program = "tests.harness.based"
