"""Machines of another platform at light: their programs are executed by an emulator, qemu-user."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heft.host import emulated, emulators
from tests.harness import foreign
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar
from tests.harness.serving import emptied, serving
from tests.system.test_daemon_crash import die_at, points, state

PLATFORM, IMAGE = "linux/arm64", "foreign"
SCRIPT = ("sh", "-c", "echo $$; uname -m; exec sleep 600")
NAMESPACED = emulators.are_namespaced()
LENT = {"Privileged": True}
"""Has rights on the host, so no user namespace, and no registry of its own."""


@pytest.fixture(scope="module")
def foreign_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with serving(tmp_path_factory.mktemp("foreign")) as daemon:
        for architecture in foreign.ARCHITECTURES:
            name = IMAGE if architecture == "arm64" else architecture
            path = f"/images/create?fromSrc=-&repo={name}&platform=linux/{architecture}"
            tar = busybox_tar(program=foreign.program(architecture))
            answer = daemon.request("POST", path, tar)
            assert answer.status == 200, answer.body
        yield daemon


@contextlib.contextmanager
def mounted(place: Path) -> Iterator[Path]:
    if os.path.ismount(place):
        yield place
        return
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "binfmt_misc", "none", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Path]:
    """Give what the host has registered; in the end it must be what it was."""
    with mounted(tmp_path / "binfmt_misc") as place:
        before = sorted(os.listdir(place))
        yield place
        assert sorted(os.listdir(place)) == before


@pytest.fixture
def daemon(registry: Path, foreign_daemon: Daemon) -> Iterator[Daemon]:
    with emptied(foreign_daemon):
        yield foreign_daemon


@pytest.fixture(params=["docker", "heft"])
def client(request: pytest.FixtureRequest, daemon: Daemon) -> Client:
    return Client(request.param, daemon)


def ours(registry: Path) -> list[str]:
    return [name for name in os.listdir(registry) if name.startswith(emulators.OURS)]


def create(daemon: Daemon, name: str, **host: Any) -> None:
    body = {"Image": IMAGE, "Cmd": ["sleep", "600"], "StopSignal": "SIGKILL", "HostConfig": host}
    answer = daemon.request("POST", f"/containers/create?name={name}&platform={PLATFORM}", body)
    assert answer.status == 201, answer.body


def test_a_machine_of_arm64_is_one_like_others(client, daemon, registry, tmp_path):
    run = ("run", "-d", "--name", "far", "--platform", PLATFORM, "-v", "kept:/kept", "--init")
    health = ("--health-cmd", "test $(uname -m) = aarch64", "--health-interval", "200ms")
    assert client(*run, *health, IMAGE, *SCRIPT).stderr == ""
    write = "uname -m; echo one >/kept/file; echo two >/own; chown 1000 /own; ls -ln /own"
    seen = client("exec", "-t", "far", "sh", "-c", write).stdout.split()
    assert (seen[0], seen[3]) == ("aarch64", "1000")
    mark = ("run", "--rm", "-v", "kept:/kept", BUSYBOX, "sh", "-c", "cat /kept/file; ping -c1 far")
    assert client(*mark).stdout.startswith("one\n")
    assert client("logs", "far").stdout.endswith("aarch64\n")
    assert bool(ours(registry)) != NAMESPACED

    daemon.kill()
    daemon.start()
    assert client("exec", "far", "uname", "-m").stdout == "aarch64\n"
    client("cp", "far:/own", tmp_path / "own")
    assert (tmp_path / "own").read_text() == "two\n"
    client("restart", "-t", "0", "far")
    assert client("exec", "far", "cat", "/own", "/kept/file").stdout == "two\none\n"
    shown = "{{.State.Health.Status}} {{.HostConfig.UsernsMode}}"
    while client("inspect", "-f", shown, "far").stdout != "healthy \n":
        assert "unhealthy" not in client("inspect", "-f", shown, "far").stdout
    assert client("diff", "far").stdout == "A /kept\nA /own\n"


def test_other_platforms_and_machines_that_share_namespaces(daemon):
    heft = Client("heft", daemon)
    heft("run", "-d", "--name", "far", "--platform", PLATFORM, IMAGE, "sleep", "600")
    heft("run", "-d", "--name", "near", BUSYBOX, "sleep", "600")
    told = ("sh", "-c", "uname -m; ip -o addr show eth0 | grep -c 'inet '")
    for name in ("far", "near"):
        joining = ("run", "--rm", "--network", f"container:{name}", "--pid", f"container:{name}")
        for image, machine in ((IMAGE, "aarch64"), ("s390x", "s390x"), (BUSYBOX, os.uname()[4])):
            assert heft(*joining, image, *told).stdout == f"{machine}\n1\n"
    assert heft("exec", "far", "uname", "-m").stdout == "aarch64\n"


def test_the_host_lends_its_registry_to_machines_with_rights_on_it(client, daemon, registry):
    client("run", "-d", "--name", "far", "--privileged", "--platform", PLATFORM, IMAGE, *SCRIPT)
    one = client("inspect", "-f", "{{.Id}}", "far").stdout.strip()
    assert ours(registry) == [f"{emulators.OURS}{one}"]
    shared = ("run", "--rm", "--network", "host", IMAGE, "uname", "-m")
    assert client(*shared).stdout == "aarch64\n"
    assert ours(registry) == [f"{emulators.OURS}{one}"]
    daemon.kill()
    daemon.start()
    assert client("exec", "far", "uname", "-m").stdout == "aarch64\n"
    pid = int(client("inspect", "-f", "{{.State.Pid}}", "far").stdout)
    daemon.kill()
    os.kill(pid, 9)
    daemon.start()
    assert client("wait", "far").stdout == "137\n"
    assert ours(registry) == []


@pytest.mark.parametrize("point", [*points("emulator"), "light.recorded", "start.released"])
def test_a_start_that_the_daemon_does_not_survive(daemon, registry, point):
    create(daemon, "far", **LENT)
    die_at(daemon, point, "POST", "/containers/far/start")
    runs = point == "start.released"
    assert state(daemon, "far") == ("running" if runs else "created")
    assert len(ours(registry)) == runs
    assert daemon.request("POST", "/containers/far/start").status == (304 if runs else 204)
    assert len(ours(registry)) == 1


@pytest.mark.parametrize("point", ["exit.seen", "exit.discarded"])
def test_an_end_that_the_daemon_does_not_survive(daemon, registry, point):
    create(daemon, "far", **LENT)
    assert daemon.request("POST", "/containers/far/start").status == 204
    die_at(daemon, point, "POST", "/containers/far/stop")
    assert daemon.request("POST", "/containers/far/wait").json["StatusCode"] == 137
    assert ours(registry) == []


def test_an_emulator_that_the_host_has_is_used_and_left(daemon, registry):
    found = emulators.find("arm64")
    assert found is not None
    emulators.register("test-arm64", "arm64", found, registry)
    try:
        with mounted(emulators.REGISTRY):
            heft = Client("heft", daemon)
            where = ("readlink", "/proc/self/ns/user")
            done = heft("run", "--rm", "--platform", PLATFORM, IMAGE, *where)
            assert done.stdout.strip() == os.readlink("/proc/self/ns/user")
            assert ours(registry) == []
    finally:
        emulators.forget("test-arm64", registry)


def test_a_program_with_an_emulator_of_its_own(registry, tmp_path):
    (tmp_path / "busybox").write_bytes(foreign.program("arm64").read_bytes())
    (tmp_path / "busybox").chmod(0o755)
    found = emulators.find("arm64")
    assert found is not None
    script = "./busybox uname -m; id -u; chown 7 busybox; echo $$; read end; exit 3"
    command, pipe = (*emulated.command("arm64", found), "sh", "-c", script), subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(3)]
        assert said == [b"aarch64\n", b"0\n", b"1\n"]
        assert (tmp_path / "busybox").stat().st_uid == 7
        assert "emulated" not in os.listdir(registry)
        process.stdin.close()
        assert process.wait() == 3
