"""The Docker CLI's own contexts: a name for a daemon, chosen once."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX


@pytest.fixture
def docker(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Give the docker command without any address in its environment."""
    gone = ("DOCKER_HOST", "DOCKER_CONTEXT", "HEFT_HOST")
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    environment |= {"DOCKER_CONFIG": str(tmp_path / "config"), "DOCKER_CLI_HINTS": "false"}

    def call(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["docker", *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=check
        )

    return call


def test_a_context_for_heft(docker, daemon: Daemon) -> None:  # type: ignore[no-untyped-def]
    address = f"unix://{daemon.socket}"
    docker("context", "create", "heft", "--description", "light", f"--docker=host={address}")
    assert docker("context", "inspect", "heft", "--format={{.Endpoints.docker.Host}}").stdout == (
        f"{address}\n"
    )
    assert docker("--context=heft", "run", "--rm", BUSYBOX, "echo", "once").stdout == "once\n"
    docker("context", "use", "heft")
    assert docker("run", "--rm", BUSYBOX, "echo", "from now on").stdout == "from now on\n"
    assert docker("info", "--format={{.ClientInfo.Context}}").stdout == "heft\n"
    shown = docker("context", "ls", "--format={{json .}}").stdout.splitlines()
    listed = {row["Name"]: row for row in map(json.loads, shown)}
    assert listed["heft"]["Current"]
    assert listed["heft"]["DockerEndpoint"] == address
    assert not listed["heft"]["Error"]


def test_a_context_moves_to_another_host(docker, daemon: Daemon, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    docker("context", "create", "heft", f"--docker=host=unix://{daemon.socket}")
    exported = tmp_path / "heft.dockercontext"
    docker("context", "export", "heft", str(exported))
    docker("context", "rm", "heft")
    docker("context", "import", "elsewhere", str(exported))
    assert docker("--context=elsewhere", "ps", "--quiet").stdout == ""
    docker("context", "update", "elsewhere", "--docker=host=unix:///nothing/here.sock")
    refused = docker("--context=elsewhere", "ps", check=False)
    assert refused.returncode != 0
    assert "/nothing/here.sock" in refused.stderr
