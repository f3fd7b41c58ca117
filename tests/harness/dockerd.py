"""Docker's own daemon, for images alone: it makes no network and runs no container."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.pace import patience


class Docker:
    """Docker's client, of a dockerd that runs."""

    def __init__(self, socket: Path) -> None:
        self._program = ("docker", "--host", f"unix://{socket}")

    def __call__(self, *arguments: str | Path, check: bool = True) -> str:
        command = [*self._program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def dockerd(directory: Path) -> Iterator[Docker]:
    """Run one, with a containerd of its own, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="heft-dockerd-", dir="/run") as run:
        (directory / "none.json").write_text("{}")
        command = [
            "dockerd",
            *("--data-root", directory / "data", "--exec-root", run, "--pidfile", f"{run}/pid"),
            *("--host", f"unix://{run}/docker.sock", "--config-file", directory / "none.json"),
            *("--bridge", "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"),
            *("--storage-driver", "vfs", "--log-level", "warn"),
        ]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        docker = Docker(Path(run) / "docker.sock")
        try:
            deadline = time.monotonic() + patience(60)
            while not docker("version", "--format", "{{.Server.Version}}", check=False).strip():
                assert process.poll() is None, (directory / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, "dockerd does not answer"
                time.sleep(0.1)
            yield docker
        finally:
            process.terminate()
            process.wait(patience(60))
