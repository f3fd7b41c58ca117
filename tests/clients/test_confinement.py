"""What a machine may do and may not, tried from the inside, as a workload with Docker's defaults.

The machine has the host's `/usr` to read, for its Python; `probe_confinement.py` does the trying.
"""

import json
import subprocess
from pathlib import Path

import pytest

from tests.clients import probe_confinement
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX

PROBE = Path(probe_confinement.__file__)
ALLOWED = list(probe_confinement.TRIES)[list(probe_confinement.TRIES).index("a thread") :]
DENIED = [name for name in probe_confinement.TRIES if name not in ALLOWED]
REFUSALS = {"EPERM", "EACCES", "EROFS", "ENOSYS"}
NOT_THERE = {
    "/dev/mem": {"ENOENT"},
    "files of the host": {"ENOENT"},
    "files of another machine": {"ENOENT"},
    "trace process 1 of the host": {"ESRCH"},
    "/proc/kcore": {*REFUSALS, "ENOENT"},
    "/proc/sysrq-trigger": {*REFUSALS, "ENOENT"},
}
"""What is denied by its not being there; some kernels lack the last two."""


def try_all(daemon: Daemon, *options: str) -> dict[str, str]:
    mounts = [f"--volume={path}:{path}:ro" for path in ("/usr", "/lib", "/lib64")]
    probe = f"--volume={PROBE}:/probe.py:ro"
    python = ["/usr/bin/python3", "-I", "-S", "/probe.py"]
    done = subprocess.run(
        ["docker", "run", "--rm", *options, *mounts, probe, BUSYBOX, *python],
        capture_output=True,
        text=True,
        env=daemon.environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def found(module_daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    other = ["docker", "run", "--rm", BUSYBOX, "touch", "/other-machine"]
    subprocess.run(other, env=module_daemon.environment, check=True)
    return try_all(module_daemon)


@pytest.mark.parametrize("name", DENIED)
def test_denied(found: dict[str, str], name: str) -> None:
    assert found[name] in NOT_THERE.get(name, REFUSALS)


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed(found: dict[str, str], name: str) -> None:
    assert found[name] == "ok"


def test_a_capability_gives_what_it_is_for(module_daemon: Daemon) -> None:
    found = try_all(module_daemon, "--cap-add=SYS_ADMIN", "--cap-drop=CHOWN")
    assert found["mount a tmpfs"] == "ok"
    assert found["mount namespace"] == "ok"
    assert found["more capabilities"] == "ok"
    assert found["change an owner"] == "EPERM"
    assert found["read keyrings"] == "EPERM"


def test_without_the_filter_the_kernel_itself_is_asked(module_daemon: Daemon) -> None:
    found = try_all(module_daemon, "--security-opt=seccomp=unconfined")
    assert found["read keyrings"] == "ok"
    # Capabilities, mounts and devices hold without it.
    for name in (
        "mount a tmpfs",
        "a raw disk",
        "/proc/sys",
        "/sys",
        "a new cgroup",
        "load a module",
    ):
        assert found[name] in REFUSALS, name
