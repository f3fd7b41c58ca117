"""Guest kits: `heft kit`, over Heft's own paths."""

import json

import pytest

from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX

THERE = ("debian", "debian-arm64", "debian-s390x", "uml")
"""What a daemon of the tests is given."""


@pytest.fixture
def client(daemon: Daemon) -> Client:
    return Client("heft", daemon)


def test_what_is_there(client: Client) -> None:
    titles, row, *_ = client("kit", "ls").stdout.splitlines()
    assert titles.split() == ["KIT", "VERSION", "KERNEL", "SIZE", "MACHINES"]
    assert row.startswith("debian ")
    assert tuple(client("kit", "ls", "-q").stdout.split()) == THERE
    packages = client("kit", "ls", "--format", "{{.Package}}").stdout.split()
    assert [name.rpartition("-")[2] for name in packages] == ["amd64", "arm64", "s390x", "linux"]
    (shown,) = json.loads(client("kit", "inspect", "debian").stdout)
    assert shown["machines"] == []
    assert shown["size"] > 10 << 20


def test_one_that_is_there_is_not_made_again(client: Client) -> None:
    before = (client.daemon.data / "kits/debian/vmlinux").stat()
    assert client("kit", "pull", "-q").stdout == "debian\n"
    assert client("kit", "pull", "debian").stdout.startswith("debian 6.")
    assert (client.daemon.data / "kits/debian/vmlinux").stat() == before


@pytest.mark.parametrize("name", ["nothing", "..", "../kits", ".hidden", "UPPER"])
def test_what_is_no_kit(client: Client, name: str) -> None:
    for verb in ("inspect", "rm", "pull"):
        done = client("kit", verb, name, check=False)
        assert done.returncode == 1
        assert "no such kit" in done.stderr
    assert tuple(client("kit", "ls", "-q").stdout.split()) == THERE


def test_one_that_a_machine_runs_with_stays(client: Client) -> None:
    client("run", "-d", "--weight", "heavy", "--name", "box", BUSYBOX, "sleep", "1000")
    machine = client("inspect", "-f", "{{.Id}}", "box").stdout.strip()
    (shown,) = json.loads(client("kit", "inspect", "debian").stdout)
    assert shown["machines"] == [machine]
    done = client("kit", "rm", "debian", check=False)
    assert done.returncode == 1
    assert f"kit debian is in use by machines - [{machine}]" in done.stderr
    client("rm", "-f", "box")


def test_removal(client: Client) -> None:
    assert client("kit", "rm", "debian").stdout == "debian\n"
    assert tuple(client("kit", "ls", "-q").stdout.split()) == THERE[1:]
    assert not (client.daemon.data / "kits/debian").exists()
    done = client("run", "--rm", "--weight", "heavy", BUSYBOX, "true", check=False)
    assert done.returncode == 125
    assert "no linux-image-amd64 was found, and package lists could not be fetched" in done.stderr
