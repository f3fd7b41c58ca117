"""Disk images: kept, shown, passed on as artifacts, and never started."""

import asyncio
import hashlib
import json
import os
import random
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from http.client import HTTPException
from pathlib import Path

import pytest
import zstandard

from heft.errors import HeftError
from heft.images.archive import DISK_TYPE, MANIFEST_TYPES
from heft.images.disks import artifact
from heft.images.registry.credentials import NOBODY
from tests.harness import disks, registries
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar
from tests.harness.layers import Bench, once
from tests.harness.registries import Served, Trouble, say

pytestmark = pytest.mark.usefixtures("clean_host")

GIB = 1 << 30
MIB = 1 << 20
NOISE = random.Random(7).randbytes(3 * MIB)
PORT = 5008


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with registries.registry(tmp_path_factory.mktemp("registry") / "r", PORT) as served:
        yield served


@pytest.fixture(scope="module")
def module_heft(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    daemon = Daemon(tmp_path_factory.mktemp("d")).start()
    try:
        yield Client("heft", daemon)
    finally:
        daemon.clean_up()


@pytest.fixture
def heft(module_heft: Client) -> Iterator[Client]:
    yield module_heft
    ids = set(module_heft("images", "-q", "--no-trunc").stdout.split())
    if ids:
        module_heft("rmi", "--force", *ids)
    images = module_heft.daemon.data / "images"
    assert not [each for kind in ("blobs/sha256", "tmp", "partial") for each in ls(images / kind)]


def ls(directory: Path) -> list[str]:
    return os.listdir(directory)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Give a disk of each format: a raw one of 128 MiB with 3 MiB of noise, and two small ones."""
    found = {form: tmp_path / f"disk.{form}" for form in ("raw", "qcow2", "vmdk")}
    with found["raw"].open("wb") as file:
        file.seek(30 * MIB + 512)
        file.write(NOISE)
        file.truncate(128 * MIB)
    found["qcow2"].write_bytes(disks.qcow2(10 * GIB) + NOISE[:MIB])
    found["vmdk"].write_bytes(disks.vmdk(GIB) + NOISE[MIB : 2 * MIB])
    return found


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def taken(path: Path) -> int:
    return path.stat().st_blocks * 512


def kinds(client: Client) -> dict[str, str]:
    shown = client("images", "--format", "{{.Repository}}:{{.Tag}} {{.Kind}}").stdout
    return dict(line.split(" ") for line in shown.splitlines())


def test_imported_shown_exported_removed(
    heft: Client, files: dict[str, Path], tmp_path: Path
) -> None:
    for form, file in files.items():
        image_id = heft("image", "import-disk", "--quiet", file, f"team/{form}:1").stdout.strip()
        (shown,) = json.loads(heft("image", "inspect", f"team/{form}:1").stdout)
        assert shown["Id"] == image_id
        disk = shown["Disk"]
        assert disk["Format"] == form
        assert disk["Size"] == file.stat().st_size
        assert disk["VirtualSize"] == {"qcow2": 10 * GIB, "vmdk": GIB, "raw": 128 * MIB}[form]
        assert disk["Digest"] == f"sha256:{digest(file)}"
        blob = heft.daemon.data / "images/blobs/sha256" / disk["Blob"]["Digest"][7:]
        assert taken(blob) < 4 * MIB
        assert shown["Size"] == blob.stat().st_size
        out = tmp_path / "out"
        heft("image", "export-disk", "--quiet", f"team/{form}:1", out)
        assert digest(out) == digest(file)
        assert taken(out) <= taken(file) + 2 * MIB
    assert kinds(heft) == {f"team/{form}:1": f"disk/{form}" for form in files}
    again = heft("image", "import-disk", files["qcow2"], "team/again").stdout
    assert heft("history", "team/again").stdout.count("\n") == 1
    assert len(heft("images", "--tree").stdout.splitlines()) == 5
    assert heft("fsck").stdout == "nothing is damaged\n"
    assert heft("rmi", "team/again").stdout.endswith(f"Deleted: {again}")
    with (tmp_path / "streamed").open("wb") as target:
        command = [*heft.program, "image", "export-disk", "team/raw:1", "-"]
        subprocess.run(command, stdout=target, check=True, env=heft.environment)
    assert digest(tmp_path / "streamed") == digest(files["raw"])


def test_dockers_client_is_not_led_astray(heft: Client, files: dict[str, Path]) -> None:
    docker = Client("docker", heft.daemon)
    heft("image", "import-disk", files["qcow2"], "team/disk:1")
    (row,) = docker("images", "--format", "{{.Repository}} {{.Tag}} {{.Size}}").stdout.splitlines()
    assert row.startswith("team/disk 1 1.3")
    assert docker("images", "team/disk").stdout.count("\n") == 2
    assert json.loads(docker("image", "inspect", "team/disk:1").stdout)[0]["RootFS"]["Type"]
    assert docker("history", "team/disk:1").returncode == 0
    assert "Images" in docker("system", "df", "-v").stdout
    for client in (docker, heft):
        refused = client("run", "--rm", "team/disk:1", "true", check=False)
        assert refused.returncode == 125
        assert "team/disk:1 is a disk image (qcow2)" in refused.stderr
        assert "export-disk" in refused.stderr
    refused = heft("run", "--weight", "heavy", "team/disk:1", "true", check=False)
    assert (refused.returncode, "is a disk image" in refused.stderr) == (125, True)
    docker("tag", "team/disk:1", "team/other:2")
    docker("rmi", "team/disk:1", "team/other:2")


def test_what_is_refused_leaves_nothing(heft: Client, tmp_path: Path) -> None:
    file = tmp_path / "bad"
    for content, name, says in (
        (disks.qcow2(GIB, backing=512), "a", "it has a backing file"),
        (bytes(1000), "a", "1000 bytes are no disk"),
        (b"", "a", "0 bytes are no disk"),
        (bytes(512), "UP", "must be lowercase"),
    ):
        file.write_bytes(content)
        refused = heft("image", "import-disk", file, name, check=False)
        assert refused.returncode == 1
        assert says in refused.stderr, refused.stderr
    refused = heft("image", "import-disk", "--format", "iso", file, "a", check=False)
    assert "unknown format of disks 'iso' (there are: raw, qcow2, vmdk)" in refused.stderr
    refused = heft("image", "import-disk", tmp_path / "none", "a", check=False)
    assert "none: no such file" in refused.stderr
    heft.daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
    refused = heft("image", "export-disk", BUSYBOX, tmp_path / "out", check=False)
    assert f"{BUSYBOX} is not a disk image" in refused.stderr
    assert kinds(heft) == {f"{BUSYBOX}:latest": "image"}
    assert ls(tmp_path) == ["bad"]


def test_a_client_that_goes_leaves_nothing(heft: Client) -> None:
    command = [*heft.program, "image", "import-disk", "-", "team/half"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=heft.environment) as client:
        assert client.stdin is not None
        client.stdin.write(NOISE)
        client.stdin.flush()
        client.kill()
    deadline = time.monotonic() + 10
    while ls(heft.daemon.data / "images/tmp"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert kinds(heft) == {}


def test_much_of_nothing_takes_little(heft: Client, tmp_path: Path) -> None:
    file, status = tmp_path / "large", Path(f"/proc/{heft.daemon.pid}/status")
    with file.open("wb") as target:
        target.truncate(2 * GIB)

    def peak() -> int:
        (line,) = (each for each in status.read_text().splitlines() if each.startswith("VmHWM"))
        return int(line.split()[1]) << 10

    before = peak()
    heft("image", "import-disk", file, "team/large")
    heft("image", "export-disk", "team/large", tmp_path / "out")
    assert peak() - before < 40 * MIB
    assert (tmp_path / "out").stat().st_size == 2 * GIB
    assert taken(tmp_path / "out") < MIB


def skopeo(source: str, target: str) -> None:
    flags = ("--src-tls-verify=false", "--dest-tls-verify=false")
    command = ["skopeo", "--insecure-policy", "copy", "-q", *flags, source, target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_to_registries_archives_and_back(
    heft: Client, served: Served, files: dict[str, Path], tmp_path: Path
) -> None:
    for form, file in files.items():
        name = f"{served.host}/team/{form}:1"
        image_id = heft("image", "import-disk", file, name).stdout
        heft("push", name)
        command = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"]
        manifest = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert manifest["artifactType"] == DISK_TYPE
        assert manifest["config"]["mediaType"] == artifact.CONFIG_TYPE
        (layer,) = manifest["layers"]
        assert layer["mediaType"].startswith(f"application/vnd.heft.disk.{form}")
        heft("save", "-o", tmp_path / "saved.tar", name)
        heft("image", "cp", name, f"{tmp_path}/layout-{form}/")
        copied = f"{served.host}/copied/{form}:2"
        skopeo(f"docker://{name}", f"oci:{tmp_path}/oci-{form}:1")
        skopeo(f"oci:{tmp_path}/oci-{form}:1", f"docker://{copied}")
        skopeo(f"oci-archive:{tmp_path}/saved.tar:1", f"dir:{tmp_path}/dir-{form}")
        (image_digest,) = json.loads(heft("image", "inspect", name).stdout)[0]["RepoDigests"]

        def gone(image_id: str = image_id) -> None:
            heft("rmi", "--force", image_id.strip())
            assert ls(heft.daemon.data / "images/blobs/sha256") == []

        gone()
        assert heft("pull", "-q", copied).stdout == f"{copied}\n"
        assert heft("images", "-q", "--no-trunc").stdout == image_id
        gone()
        heft("pull", "-q", image_digest)
        gone()
        for place in ("saved.tar", f"layout-{form}", f"oci-{form}", f"dir-{form}"):
            heft("image", "cp", "--quiet", f"{tmp_path}/{place}", "team/copied:3")
            assert heft("images", "-q", "--no-trunc").stdout == image_id
            assert kinds(heft) == {"team/copied:3": f"disk/{form}"}
            heft("image", "export-disk", "--quiet", "team/copied:3", tmp_path / "out")
            assert digest(tmp_path / "out") == digest(file)
            gone()
        assert heft("load", "-i", tmp_path / "saved.tar").stdout == f"Loaded image: {name}\n"
        gone()


def test_saved_beside_images(heft: Client, files: dict[str, Path], tmp_path: Path) -> None:
    heft.daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
    heft("image", "import-disk", files["vmdk"], "team/disk:1")
    heft("save", "-o", tmp_path / "both.tar", "team/disk:1", BUSYBOX)
    heft("rmi", "team/disk:1", BUSYBOX)
    heft("load", "-i", tmp_path / "both.tar")
    assert kinds(heft) == {"team/disk:1": "disk/vmdk", f"{BUSYBOX}:latest": "image"}
    skopeo(f"docker-archive:{tmp_path}/both.tar", f"dir:{tmp_path}/dir")


def test_fsck_finds_damage_and_fetches_it_again(
    heft: Client, served: Served, files: dict[str, Path], tmp_path: Path
) -> None:
    name = f"{served.host}/team/whole:1"
    heft("image", "import-disk", files["raw"], name)
    heft("push", name)
    (shown,) = json.loads(heft("image", "inspect", name).stdout)
    blob = heft.daemon.data / "images/blobs/sha256" / shown["Disk"]["Blob"]["Digest"][7:]
    content = bytearray(blob.read_bytes())
    content[-100] ^= 1
    blob.write_bytes(content)
    refused = heft("image", "export-disk", name, tmp_path / "out", check=False)
    assert refused.returncode == 1
    assert not (tmp_path / "out").exists()
    found = heft("fsck", check=False)
    assert found.returncode == 4
    assert f"heft pull {name.removesuffix(':1')}@sha256" in found.stdout
    assert heft("fsck", "--repair", check=False).returncode == 1
    assert heft("fsck").returncode == 0
    heft("image", "export-disk", name, tmp_path / "out")
    assert digest(tmp_path / "out") == digest(files["raw"])


# What a registry may say


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    bench.trash.start()
    await bench.images.start()
    yield bench
    await bench.images.remote.close()
    await bench.trash.close()


def sha(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def config(form: str, file: bytes, **other: object) -> bytes:
    about = {"format": form, "digest": sha(file), "size": len(file), "virtualSize": len(file)}
    about |= {"architecture": "amd64", "created": "2026-01-01T00:00:00Z"}
    return json.dumps(about | other).encode()


RAW = NOISE[:MIB]
PACKED = zstandard.compress(RAW)
BOMB = zstandard.compress(bytes(64 * MIB))
BACKED = disks.qcow2(GIB, backing=512)
LIES = {
    "backing": (config("qcow2", BACKED, virtualSize=GIB), BACKED, "it has a backing file"),
    "another": (config("raw", RAW[::-1]), PACKED, "where its configuration says"),
    "size": (config("raw", RAW, size=512), PACKED, "where its configuration says"),
    "shown": (config("raw", RAW, virtualSize=GIB), PACKED, "where its configuration says"),
    "bomb": (config("raw", RAW), BOMB, "where its configuration says"),
    "broken": (config("raw", RAW), PACKED[:-9], "unexpected end of zstd data"),
    "garbage": (config("raw", RAW), RAW, "damaged zstd data"),
    "format": (config("iso", RAW), PACKED, "invalid configuration of a disk: 'iso'"),
    "negative": (config("raw", RAW, size=-1), PACKED, "-1 bytes"),
    "typeless": (b"{}", PACKED, "invalid configuration of a disk"),
}  # fmt: skip


@pytest.mark.parametrize("case", LIES)
async def test_what_a_registry_lies_about(bench: Bench, case: str) -> None:
    about, blob, says = LIES[case]
    form = "qcow2" if case == "backing" else "raw"
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPES[0], "artifactType": DISK_TYPE,
        "config": {"mediaType": artifact.CONFIG_TYPE, "digest": sha(about), "size": len(about)},
        "layers": [
            {"mediaType": artifact.MEDIA_TYPES[form], "digest": sha(blob), "size": len(blob)}
        ],
    }).encode()  # fmt: skip
    with registries.proxy("") as proxy:
        for content in (about, blob):
            proxy.troubles.append(Trouble(f"/blobs/{sha(content)}", say(content), times=99))
        proxy.troubles.append(Trouble("/manifests/", say(manifest, MANIFEST_TYPES[0]), times=99))
        proxy.troubles.append(Trouble("GET /v2/$", say(b"{}"), times=99))
        with pytest.raises(HeftError, match=says):
            await bench.images.remote.pull(f"{proxy.host}/bad:1", "", NOBODY, lambda *_: None)
    assert not bench.images.list()
    assert not [e for kind in ("blobs/sha256", "tmp") for e in ls(bench.place / "images" / kind)]


async def test_pulled_at_once(bench: Bench, served: Served) -> None:
    name = f"{served.host}/team/twice:1"

    def progress(*_: object) -> None:
        pass

    image = await bench.images.import_disk(once(RAW), reference=name, progress=progress)
    await bench.images.remote.push(name, NOBODY, progress)
    bench.images.remove(name, force=True)
    pulls = (bench.images.remote.pull(name, "", NOBODY, progress) for _ in range(3))
    pulled = await asyncio.gather(*pulls)
    assert {each.image.id for each in pulled} == {image.id}
    assert ls(bench.place / "images/partial") == []


# The daemon is killed


@pytest.mark.parametrize("point", ["disk.blob", "disk.config", "disk.recorded"])
def test_killed_while_importing(tmp_path: Path, point: str) -> None:
    daemon = Daemon(tmp_path / "daemon").start(HEFT_FAULT=point)
    content = disks.qcow2(GIB)
    with pytest.raises((OSError, HTTPException)):
        daemon.request("POST", "/heft/v1/disks?name=disk", content)
    daemon.wait_dead()
    daemon.start()
    images = daemon.request("GET", "/images/json").json
    assert len(images) == (point == "disk.recorded")
    assert len(ls(daemon.data / "images/blobs/sha256")) == 2 * len(images)
    assert ls(daemon.data / "images/tmp") == []
    assert daemon.request("POST", "/heft/v1/disks?name=disk", content).status == 200
    assert daemon.request("GET", "/heft/v1/disks/disk").body == content
    daemon.clean_up()
