"""Images between Heft and Docker's own daemon: archives and a registry, to and fro."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import dockerd, registries
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.dockerd import Docker
from tests.harness.images import BUSYBOX, busybox_tar
from tests.harness.registries import Served

pytestmark = pytest.mark.usefixtures("clean_host")

ONE, TWO = "team/one:1", "team/two:2"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with registries.registry(tmp_path_factory.mktemp("registry") / "r", 5010) as served:
        yield served


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    with dockerd.dockerd(tmp_path_factory.mktemp("dockerd")) as docker:
        yield docker


@pytest.fixture(scope="module")
def heft(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Give a Heft with two images that share a layer, one with a file less and a file more."""
    daemon = Daemon(tmp_path_factory.mktemp("d")).start()
    try:
        daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
        heft = Client("heft", daemon)
        heft("tag", BUSYBOX, ONE)
        words = ("sh", "-c", "rm /etc/group; echo mine > /etc/made")
        heft("run", "--name", "maker", "--network", "none", BUSYBOX, *words)
        assert heft("diff", "maker").stdout.split() == ["C", "/etc", "D", "/etc/group",
                                                        "A", "/etc/made"]  # fmt: skip
        heft("commit", "-m", "less and more", "-a", "ann", "-c", "ENV A=b", "maker", TWO)
        heft("rm", "maker")
        yield heft
    finally:
        daemon.clean_up()


@pytest.fixture(autouse=True)
def emptied(heft: Client, docker: Docker) -> Iterator[None]:
    yield
    if names := docker("images", "-q").split():
        docker("rmi", "--force", *dict.fromkeys(names))


def ids(ask: Client | Docker) -> dict[str, str]:
    done = ask("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    text = done if isinstance(done, str) else done.stdout
    return dict(line.split(" ") for line in text.splitlines() if line.startswith("team/"))


def steps(text: str) -> list[tuple[str, str]]:
    return [(each["CreatedBy"], each["Comment"]) for each in map(json.loads, text.splitlines())]


HISTORY = ("history", "--no-trunc", "--format", "{{json .}}")


@pytest.mark.parametrize("packed", ["", "gzip"])
def test_docker_loads_what_heft_saves(
    heft: Client, docker: Docker, tmp_path: Path, packed: str
) -> None:
    saved = tmp_path / "saved.tar"
    heft("save", "-o", saved, ONE, TWO)
    if packed:
        subprocess.run([packed, saved], check=True)
        (saved,) = tmp_path.iterdir()
    docker("load", "-i", saved)
    assert ids(docker) == ids(heft)
    assert steps(docker(*HISTORY, TWO)) == steps(heft(*HISTORY, TWO).stdout)
    machine = docker("create", TWO).strip()
    docker("cp", f"{machine}:/etc", tmp_path / "etc")
    docker("rm", machine)
    assert (tmp_path / "etc/made").read_text() == "mine\n"
    assert not (tmp_path / "etc/group").exists()


@pytest.mark.parametrize("packed", ["", "zstd"])
def test_heft_loads_what_docker_saves(
    heft: Client, docker: Docker, tmp_path: Path, packed: str
) -> None:
    known = ids(heft)
    heft("save", "-o", tmp_path / "first.tar", ONE, TWO)
    docker("load", "-i", tmp_path / "first.tar")
    docker("save", "-o", tmp_path / "saved.tar", ONE, TWO)
    saved = tmp_path / "saved.tar"
    if packed:
        subprocess.run([packed, "--quiet", saved], check=True)
        (saved,) = tmp_path.glob("saved.tar.*")
    heft("rmi", ONE, TWO)
    said = heft("load", "-i", saved).stdout.splitlines()
    assert sorted(said) == [f"Loaded image: {name}" for name in (ONE, TWO)]
    assert ids(heft) == known
    words = ("sh", "-c", "cat /etc/made; echo $A; test ! -e /etc/group")
    assert heft("run", "--rm", "--network", "none", TWO, *words).stdout == "mine\nb\n"
    assert heft("fsck").returncode == 0


def test_through_a_registry(heft: Client, docker: Docker, served: Served, tmp_path: Path) -> None:
    there, back, packed = (f"{served.host}/team/{name}:1" for name in ("there", "back", "packed"))
    heft("tag", TWO, there)
    heft("push", there)
    docker("pull", there)
    assert docker("inspect", "--format", "{{.Id}}", there).strip() == ids(heft)[TWO]
    docker("tag", there, back)
    docker("push", back)
    heft("pull", back)
    assert heft("inspect", "--format", "{{.Id}}", back).stdout.strip() == ids(heft)[TWO]
    # Docker 20 knows no zstd; what has it in Heft's store goes to it all the same.
    compression = ("--dest-compress-format", "zstd", "--format", "oci")
    secure = ("--src-tls-verify=false", "--dest-tls-verify=false")
    command = ["skopeo", "--insecure-policy", "copy", "-q", *secure, *compression]
    subprocess.run([*command, f"docker://{there}", f"docker://{packed}"], check=True)
    heft("rmi", "--force", *dict.fromkeys(ids(heft).values()))
    heft("pull", packed)
    heft("save", "-o", tmp_path / "saved.tar", packed)
    docker("load", "-i", tmp_path / "saved.tar")
    assert (
        docker("inspect", "--format", "{{.Id}}", packed)
        == heft("inspect", "--format", "{{.Id}}", packed).stdout
    )
