"""The installation: its scripts, its units, and that what is installed is what was pinned."""

import configparser
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from heft.host import cgroups
from heft.layout import Layout
from tests.harness.isolation import CGROUP_PARENT

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
SCRIPTS = sorted(PACKAGING.glob("*.sh"))
LISTS = [PACKAGING / f"packages.{name}" for name in ("run", "arm64", "foreign", "test", "bench")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PASS_ON = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""
PINNED = re.compile(r"([A-Za-z0-9._-]+)==(\S+)")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    """Every pinned Python package: what the project asks for, and what that brings along."""
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
    lines = (PACKAGING / "constraints.txt").read_text().splitlines()
    wanted += [line for line in lines if line and not line.startswith("#")]
    matches = [PINNED.fullmatch(line) for line in wanted]
    assert all(matches), "something is not pinned to one version"
    return {normal(match[1]): match[2] for match in matches if match}


def packages(path: Path) -> list[list[str]]:
    lines = path.read_text().splitlines()
    return [line.split(maxsplit=2) for line in lines if line and not line.startswith("#")]


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(PACKAGING / name)
    return parser


def shell(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run shell code as a script of packaging/ would."""
    return subprocess.run(
        ["sh", "-euc", f'. "{PACKAGING}/places.sh"\n{code}', f"{PACKAGING}/test.sh"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_stop_at_the_first_failure(script):
    subprocess.run(["sh", "-n", script], check=True)
    if script.name != "places.sh":
        assert os.access(script, os.X_OK)
        assert "\nset -eu\n" in script.read_text()


def test_the_command_starts_with_what_was_installed(tmp_path: Path) -> None:
    prefix, command = tmp_path / "prefix", tmp_path / "heft"
    subprocess.run((sys.executable, "-m", "venv", "--without-pip", prefix), check=True)
    (packages,) = prefix.glob("lib/python*/site-packages")
    (packages / "heft").symlink_to(ROOT / "src/heft")
    command.write_text(shell("launcher", HEFT_PREFIX=str(prefix)).stdout)
    command.chmod(0o755)
    (tmp_path / "heft.py").write_text("raise SystemExit('the wrong one')")
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run((command, "--version"), capture_output=True, text=True, env=variables)
    assert done.stdout == f"Heft version {PROJECT['version']}\n", done.stderr


def test_every_debian_package_has_a_reason_and_is_documented():
    documented = (ROOT / "docs/dependencies.md").read_text()
    for path in LISTS:
        for package, _, reason in packages(path):
            assert reason, package
            assert f"`{package}`" in documented, f"{package} is not in docs/dependencies.md"


def test_every_pinned_python_package_is_documented():
    documented = (ROOT / "docs/dependencies.md").read_text()
    own = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
    for line in own:
        name = line.partition("==")[0]
        assert f"`{name}`" in documented, f"{name} is not in docs/dependencies.md"


def wanted_by(name: str, extra: str = "") -> Iterator[Requirement]:
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def test_all_that_is_brought_along_is_pinned_and_installed_so():
    pinned, seen = pins(), set[str]()
    waiting = [*wanted_by("heft"), *wanted_by("heft", "test")]
    while waiting:
        name = normal(waiting.pop().name)
        if name not in seen:
            seen.add(name)
            assert metadata.version(name) == pinned.get(name), f"{name} is not pinned so"
            waiting += wanted_by(name)
    assert seen == set(pinned), f"pinned and not needed: {set(pinned) - seen}"


def test_nothing_is_installed_where_nothing_is_missing():
    done = subprocess.run(
        [PACKAGING / "packages.sh", "run", "test"], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_the_fingerprint_knows_every_change():
    first = shell("fingerprint").stdout
    assert re.fullmatch(r"[0-9a-f]{64}\n", first)
    assert shell("fingerprint").stdout == first
    new = ROOT / "src/heft/__fingerprint_test__"
    new.touch()
    try:
        assert shell("fingerprint").stdout != first
    finally:
        new.unlink()


def test_machines_survive_the_service():
    service = unit("heft.service")["Service"]
    assert service["Type"] == "notify"
    assert service["KillMode"] == "process"
    assert service["Delegate"] == "yes"
    program = service["ExecStart"].split()[0]
    assert program == shell('echo "$prefix/bin/heftd"').stdout.strip()


def test_the_socket_is_the_daemons_own_and_the_groups():
    listening = unit("heft.socket")["Socket"]
    assert listening["ListenStream"] == str(Layout().socket)
    assert (listening["SocketMode"], listening["SocketGroup"]) == ("0660", "heft")
    assert "g heft -" in (PACKAGING / "heft.sysusers").read_text()


def test_the_daemon_takes_the_socket_that_systemd_opened(tmp_path):
    """sd_listen_fds(3) and sd_notify(3), as systemd does them."""
    place, told = tmp_path / "api.sock", tmp_path / "notify.sock"
    with (
        socket.socket(socket.AF_UNIX) as listening,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel,
    ):
        listening.bind(str(place))
        listening.listen()
        channel.bind(str(told))
        channel.settimeout(20)
        command = [sys.executable, "-m", "heft.daemon"]
        command += ["--data", str(tmp_path / "data"), "--run", str(tmp_path / "run")]
        command += ["--cgroup-parent", CGROUP_PARENT]
        process = subprocess.Popen(
            [sys.executable, "-c", PASS_ON, str(listening.fileno()), *command],
            pass_fds=(listening.fileno(),),
            env={**os.environ, "NOTIFY_SOCKET": str(told)},
            stderr=subprocess.DEVNULL,
        )
        try:
            assert channel.recv(100) == b"READY=1"
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(place))
                client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                assert b" 200 OK" in client.recv(100)
            assert not (tmp_path / "run/heft.sock").exists()
            process.terminate()
            assert channel.recv(100) == b"STOPPING=1"
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
    teardown(tmp_path)


def teardown(directory: Path) -> None:
    command = [sys.executable, "-m", "heft.daemon", "--teardown", "--cgroup-parent", CGROUP_PARENT]
    command += ["--data", directory / "data", "--run", directory / "run"]
    subprocess.run(command, check=True, capture_output=True, timeout=30)


def test_start_and_stop_in_the_background(tmp_path, clean_host):
    places = {
        "HEFT_BACKGROUND": "1",
        "HEFT_PREFIX": sys.prefix,
        "HEFT_KNOWN": str(tmp_path),
        "HEFT_DATA": str(tmp_path / "data"),
        "HEFT_RUN": str(tmp_path / "run"),
        "HEFT_LOG": str(tmp_path / "log"),
        "HEFTD_OPTIONS": f"--cgroup-parent {CGROUP_PARENT}",
    }
    pid_file = tmp_path / "run/heftd.pid"

    def script(name: str) -> str:
        done = subprocess.run(
            [PACKAGING / name],
            env={**os.environ, **places},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    (tmp_path / "fingerprint").write_text("one\n")
    assert "starting heftd" in script("start.sh")
    first = int(pid_file.read_text())
    assert script("start.sh") == "", "again is harmless"
    assert int(pid_file.read_text()) == first
    (tmp_path / "fingerprint").write_text("two\n")
    assert f"replacing heftd (process {first})" in script("start.sh")
    assert int(pid_file.read_text()) != first
    script("stop.sh")
    assert not pid_file.exists()
    script("stop.sh")

    # One that is dead already, and one that nobody knows the id of.
    script("start.sh")
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    script("stop.sh")
    script("start.sh")
    lost = int(pid_file.read_text())
    pid_file.unlink()
    script("stop.sh")
    assert not Path(f"/proc/{lost}").exists()
    assert not (tmp_path / "run/heft.sock").exists()
    assert not any(directory.exists() for directory in groups())


def groups() -> list[Path]:
    layout = cgroups.detect()
    return [each.mount / CGROUP_PARENT.lstrip("/") for each in layout.hierarchies]


def test_what_is_optional_is_done_without(tmp_path: Path) -> None:
    """Packages that no archive has: one line for those that are optional, else an error."""
    listing = tmp_path / "packages.none"
    listing.write_text("heft-has-no-such-package - nothing\n")
    for name in ("packages.sh", "places.sh"):
        (tmp_path / name).write_bytes((PACKAGING / name).read_bytes())
        (tmp_path / name).chmod(0o755)
    (tmp_path / "apt-get").write_text("#!/bin/sh\necho 'E: Unable to locate it'\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [tmp_path / "packages.sh", *options, "none"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    done = run("--optional")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "==> they cannot be had here: E: Unable to locate it"
    assert run().returncode == 1


def test_what_is_shown_ends_with_the_commands_status(tmp_path: Path) -> None:
    code = (PACKAGING / "show.sh").read_text()
    timed = re.search(r"^timed\(\) \{\n.*?^\}\n", code, re.MULTILINE | re.DOTALL)
    assert timed
    script = f"set -eu\nheft() {{ return 3; }}\n{timed[0]}timed ps\necho went on\n"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert re.fullmatch(r"\n\$ heft ps\n\[\d+ ms\]\n", done.stdout)
