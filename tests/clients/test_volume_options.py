"""Volumes that show something else than a directory of the store: `--opt type=… o=… device=…`."""

import os
from pathlib import Path

import pytest

from tests.clients.test_run import sh
from tests.clients.test_run_flags import start
from tests.harness.client import Client
from tests.harness.images import BUSYBOX

TMPFS = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=2m,uid=1000")


def bind(place: Path, more: str = "") -> list[str]:
    return ["--opt", "type=none", "--opt", f"o=bind{more}", "--opt", f"device={place}"]


def mounted(client: Client) -> bool:
    mounts = Path("/proc/self/mountinfo").read_text()
    return f" {client.daemon.data}/volumes/" in mounts


def test_a_directory_of_the_host(client: Client, place: Path) -> None:
    (place / "file").write_text("mine\n")
    client("volume", "create", *bind(place), "vol")
    options = client("volume", "inspect", "--format", "{{.Options}}", "vol").stdout.strip()
    assert options == f"map[device:{place} o:bind type:none]"
    assert sh(client, "cat /v/file; echo new > /v/new", "-v", "vol:/v") == "mine"
    assert (place / "new").read_text() == "new\n"
    assert not mounted(client)
    client("volume", "rm", "vol")
    assert sorted(os.listdir(place)) == ["file", "new"]


def test_memory_that_machines_share_while_one_of_them_runs(client: Client) -> None:
    client("volume", "create", *TMPFS, "vol")
    for name in ("one", "two"):
        start(client, name, "-v", "vol:/v")
    client("exec", "one", "sh", "-c", "echo seen > /v/file")
    assert client("exec", "two", "cat", "/v/file").stdout == "seen\n"
    assert client("exec", "one", "stat", "-c", "%u", "/v").stdout == "1000\n"
    full = client("exec", "one", "dd", "if=/dev/zero", "of=/v/big", "bs=1M", check=False)
    assert "No space left" in full.stderr
    client("kill", "one")
    assert sh(client, "cat /v/file", "-v", "vol:/v") == "seen"
    client.daemon.restart()
    assert sh(client, "cat /v/file", "-v", "vol:/v") == "seen"
    client("kill", "two")
    assert not mounted(client)
    assert sh(client, "ls /v", "-v", "vol:/v") == ""


def test_files_of_a_machine_that_does_not_run(client: Client, place: Path, tmp_path: Path) -> None:
    (place / "file").write_text("mine\n")
    client("volume", "create", *bind(place), "vol")
    client("create", "--name", "box", "-v", "vol:/v", BUSYBOX, "true")
    client("cp", "box:/v/file", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "mine\n"
    client("cp", tmp_path / "back", "box:/v/again")
    assert (place / "again").read_text() == "mine\n"
    assert not mounted(client)


def test_an_empty_one_is_filled(client: Client, place: Path) -> None:
    flags = [f"volume-opt={option}" for option in ("type=none", "o=bind", f"device={place}")]
    mount = ",".join(("type=volume,src=vol,dst=/etc,volume-driver=local", *flags))
    assert "root:x:0:0" in sh(client, "cat /etc/passwd", "--mount", mount)
    assert (place / "passwd").exists()
    assert client("volume", "ls", "-q").stdout == "vol\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--opt", "device=/x"], 'missing required option: "type"'),
        (["--opt", "color=red"], 'invalid option: "color"'),
        (["--opt", "size=1g"], "quota size requested but no quota support"),
    ],
)
def test_what_is_refused(client: Client, options: list[str], words: str) -> None:
    done = client("volume", "create", *options, "vol", check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert client("volume", "ls", "-q").stdout == ""


def test_what_is_not_there_to_be_mounted(client: Client, tmp_path: Path) -> None:
    client("volume", "create", *bind(tmp_path / "nothing"), "vol")
    done = client("run", "--rm", "-v", "vol:/v:nocopy", BUSYBOX, "true", check=False)
    assert done.returncode != 0
    assert "error while mounting volume" in done.stderr
    assert "failed to mount local volume" in done.stderr
    assert client("ps", "-aq").stdout == ""
