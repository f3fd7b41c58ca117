"""What the docker command does with images."""

import bz2
import gzip
import json
import lzma
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.harness.client import Client
from tests.harness.images import BUSYBOX, busybox_tar


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout


def test_manifests_in_a_list(client: Client) -> None:
    """What `docker image ls --tree` draws, with the machines of each."""
    machine = client("create", BUSYBOX, "true").stdout.strip()
    rows = client.daemon.request("GET", "/v1.47/images/json?manifests=1").json
    row = next(each for each in rows if f"{BUSYBOX}:latest" in each["RepoTags"])
    (shown,) = row["Manifests"]
    assert (shown["Kind"], shown["Available"]) == ("image", True)
    assert shown["ID"] == shown["Descriptor"]["digest"]
    about = shown["ImageData"]
    assert machine in about["Containers"]
    assert about["Size"]["Unpacked"] == row["Size"]
    assert shown["Size"]["Total"] == shown["Size"]["Content"] + row["Size"]
    assert about["Platform"]["os"] == "linux"
    old = client.daemon.request("GET", "/v1.46/images/json?manifests=1").json
    assert not any("Manifests" in each for each in old)
    if client.name == "docker":
        tree = client("image", "ls", "--tree").stdout
        assert f"linux/{about['Platform']['architecture']}" in tree
    client("rm", machine)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd])
def test_import_of_any_compression(client: Client, tmp_path: Path, compress: object) -> None:
    file = tmp_path / "root.tar"
    file.write_bytes(compress(busybox_tar("imported")))  # type: ignore[operator]
    changes = ("-c", 'CMD ["cat", "/etc/mark"]', "-c", "ENV A=b", "-m", "a message")
    done = client("import", *changes, str(file), "imported:1")
    assert done.stdout.startswith("sha256:")
    assert client("run", "--rm", "imported:1").stdout == "imported"
    (shown,) = json.loads(client("image", "inspect", "imported:1").stdout)
    assert shown["RepoTags"] == ["imported:1"]
    assert "A=b" in shown["Config"]["Env"]
    assert shown["Comment"] == "a message"
    assert shown["RootFS"]["Layers"]


def test_garbage_is_refused(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "garbage"
    file.write_bytes(b"this is not a tar at all" * 1000)
    done = client("import", str(file), "garbage", check=False)
    assert done.returncode == 1
    assert "tar" in done.stderr
    cut = tmp_path / "cut"
    cut.write_bytes(busybox_tar()[:500_000])
    assert client("import", str(cut), "cut", check=False).returncode == 1
    assert client("load", "-i", str(file), check=False).returncode == 1
    assert client("images", "-q", "garbage").stdout == ""


def test_listing_and_naming(client: Client) -> None:
    client("tag", BUSYBOX, "registry.example:5000/team/tool:v1")
    rows = client("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").stdout.split()
    assert "registry.example:5000/team/tool:v1" in rows
    assert rows[1] == rows[3]
    done = client("rmi", "registry.example:5000/team/tool:v1")
    assert done.stdout == "Untagged: registry.example:5000/team/tool:v1\n"
    bad = client("tag", BUSYBOX, "Upper", check=False)
    assert bad.returncode == 1
    missing = client("rmi", "nothing", check=False)
    assert "No such image: nothing" in missing.stderr


def test_a_tree_of_them(client: Client) -> None:
    if client.name == "docker":
        return  # its tree is of platforms
    client("run", "--name", "grown", BUSYBOX, "touch", "/new")
    client("commit", "grown", "grown:1")
    lines = client("images", "--tree").stdout.splitlines()
    assert lines[0].split() == ["IMAGE", "IMAGE", "ID", "SIZE", "ADDED"]
    at = next(at for at, line in enumerate(lines) if line.startswith(f"{BUSYBOX}:latest "))
    assert any("─ grown:1 " in line for line in lines[at + 1 :])
    refused = client("images", "--tree", "--format", "json", check=False)
    assert "--format cannot be used with --tree" in refused.stderr
    client("rm", "grown")
    client("rmi", "grown:1")


def test_history(client: Client) -> None:
    lines = client("history", "--format", "{{.Size}} {{.Comment}}", BUSYBOX).stdout
    assert len(lines.splitlines()) == 1


def test_save_and_load(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "other.tar"
    data = tmp_path / "root.tar"
    data.write_bytes(busybox_tar("saved"))
    image_id = client("import", str(data), "other:1").stdout.strip()
    client("save", "-o", str(file), "other:1")
    with tarfile.open(file) as tar:
        names = tar.getnames()
    assert {"manifest.json", "index.json", "oci-layout"} <= set(names)
    client("rmi", "other:1")
    assert client("load", "-i", str(file)).stdout == "Loaded image: other:1\n"
    found = client("images", "-q", "--no-trunc", "other:1").stdout.strip()
    assert found == image_id
    assert client("run", "--rm", "other:1", "cat", "/etc/mark").stdout == "saved"


def test_removal_respects_machines(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "root.tar"
    file.write_bytes(busybox_tar("used"))
    client("import", str(file), "used")
    client("run", "-d", "--name", "box", "used", "sleep", "1000")
    done = client("rmi", "used", check=False)
    assert done.returncode == 1
    assert "is using its referenced image" in done.stderr or "is being used" in done.stderr
    client("rm", "-f", "box")
    done = client("rmi", "used")
    assert "Untagged: used:latest" in done.stdout
    assert "Deleted: sha256:" in done.stdout


def test_prune(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "root.tar"
    for mark in ("first", "second"):
        file.write_bytes(busybox_tar(mark))
        client("import", str(file), "moving")
    dangling = client("images", "-q", "--filter", "dangling=true").stdout.split()
    assert len(dangling) == 1
    assert "deleted: sha256:" in client("image", "prune", "-f").stdout.lower()
    assert client("images", "-q", "--filter", "dangling=true").stdout == ""
    assert client("run", "--rm", "moving", "cat", "/etc/mark").stdout == "second"


def test_a_registry_that_cannot_be_reached(client: Client) -> None:
    done = client("run", "debian", "true", check=False)
    assert done.returncode == 125
    assert "Unable to find image 'debian:latest' locally" in done.stderr
    assert "cannot reach registry-1.docker.io" in done.stderr
