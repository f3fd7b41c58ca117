"""What the docker command does with images."""

import bz2
import gzip
import json
import lzma
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd])
def test_import_of_any_compression(daemon: Daemon, tmp_path: Path, compress: object) -> None:
    file = tmp_path / "root.tar"
    file.write_bytes(compress(busybox_tar("imported")))  # type: ignore[operator]
    changes = ("-c", 'CMD ["cat", "/etc/mark"]', "-c", "ENV A=b", "-m", "a message")
    done = daemon.docker("import", *changes, str(file), "imported:1")
    assert done.stdout.startswith("sha256:")
    assert daemon.docker("run", "--rm", "imported:1").stdout == "imported"
    (shown,) = json.loads(daemon.docker("image", "inspect", "imported:1").stdout)
    assert shown["RepoTags"] == ["imported:1"]
    assert "A=b" in shown["Config"]["Env"]
    assert shown["Comment"] == "a message"
    assert shown["RootFS"]["Layers"]


def test_garbage_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "garbage"
    file.write_bytes(b"this is not a tar at all" * 1000)
    done = daemon.docker("import", str(file), "garbage", check=False)
    assert done.returncode == 1
    assert "tar" in done.stderr
    cut = tmp_path / "cut"
    cut.write_bytes(busybox_tar()[:500_000])
    assert daemon.docker("import", str(cut), "cut", check=False).returncode == 1
    assert daemon.docker("load", "-i", str(file), check=False).returncode == 1
    assert daemon.docker("images", "-q", "garbage").stdout == ""


def test_listing_and_naming(daemon: Daemon) -> None:
    daemon.docker("tag", BUSYBOX, "registry.example:5000/team/tool:v1")
    rows = daemon.docker("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").stdout.split()
    assert "registry.example:5000/team/tool:v1" in rows
    assert rows[1] == rows[3]
    done = daemon.docker("rmi", "registry.example:5000/team/tool:v1")
    assert done.stdout == "Untagged: registry.example:5000/team/tool:v1\n"
    bad = daemon.docker("tag", BUSYBOX, "Upper", check=False)
    assert bad.returncode == 1
    missing = daemon.docker("rmi", "nothing", check=False)
    assert "No such image: nothing:latest" in missing.stderr


def test_history(daemon: Daemon) -> None:
    lines = daemon.docker("history", "--format", "{{.Size}} {{.Comment}}", BUSYBOX).stdout
    assert len(lines.splitlines()) == 1


def test_save_and_load(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "other.tar"
    data = tmp_path / "root.tar"
    data.write_bytes(busybox_tar("saved"))
    image_id = daemon.docker("import", str(data), "other:1").stdout.strip()
    daemon.docker("save", "-o", str(file), "other:1")
    with tarfile.open(file) as tar:
        names = tar.getnames()
    assert {"manifest.json", "index.json", "oci-layout"} <= set(names)
    daemon.docker("rmi", "other:1")
    assert daemon.docker("load", "-i", str(file)).stdout == "Loaded image: other:1\n"
    found = daemon.docker("images", "-q", "--no-trunc", "other:1").stdout.strip()
    assert found == image_id
    assert daemon.docker("run", "--rm", "other:1", "cat", "/etc/mark").stdout == "saved"


def test_removal_respects_machines(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "root.tar"
    file.write_bytes(busybox_tar("used"))
    daemon.docker("import", str(file), "used")
    daemon.docker("run", "-d", "--name", "box", "used", "sleep", "1000")
    done = daemon.docker("rmi", "used", check=False)
    assert done.returncode == 1
    assert "is using its referenced image" in done.stderr or "is being used" in done.stderr
    daemon.docker("rm", "-f", "box")
    done = daemon.docker("rmi", "used")
    assert "Untagged: used:latest" in done.stdout
    assert "Deleted: sha256:" in done.stdout


def test_prune(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "root.tar"
    for mark in ("first", "second"):
        file.write_bytes(busybox_tar(mark))
        daemon.docker("import", str(file), "moving")
    dangling = daemon.docker("images", "-q", "--filter", "dangling=true").stdout.split()
    assert len(dangling) == 1
    assert "deleted: sha256:" in daemon.docker("image", "prune", "-f").stdout
    assert daemon.docker("images", "-q", "--filter", "dangling=true").stdout == ""
    assert daemon.docker("run", "--rm", "moving", "cat", "/etc/mark").stdout == "second"


def test_pull_says_what_to_do(daemon: Daemon) -> None:
    done = daemon.docker("pull", "debian", check=False)
    assert done.returncode == 1
    assert "heft bootstrap" in done.stderr
