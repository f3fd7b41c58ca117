"""Images between Heft's store, archives, directories, skopeo and another host's Heft."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from heft.images.archive import MANIFEST_TYPES
from tests.harness import registries
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar

pytestmark = pytest.mark.usefixtures("clean_host")

IMAGE = "team/two:1"


@pytest.fixture(scope="module")
def module_heft(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    daemon = Daemon(tmp_path_factory.mktemp("d")).start()
    try:
        daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
        heft = Client("heft", daemon)
        words = ("sh", "-c", "echo mine > /etc/mark")
        heft("run", "--name", "maker", "--network", "none", BUSYBOX, *words)
        heft("commit", "maker", IMAGE)
        heft("rm", "maker")
        yield heft
    finally:
        daemon.clean_up()


@pytest.fixture
def heft(module_heft: Client) -> Iterator[Client]:
    before = _ids(module_heft)
    yield module_heft
    for name in sorted(_ids(module_heft).keys() - before.keys()):
        module_heft("rmi", name)
    assert _ids(module_heft) == before
    assert not list((module_heft.daemon.data / "images/tmp").iterdir())


def _ids(heft: Client) -> dict[str, str]:
    form = "{{.Repository}}:{{.Tag}} {{.ID}}"
    rows = heft("images", "--no-trunc", "--format", form).stdout.splitlines()
    return dict(row.split(" ") for row in rows)


def _do(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _skopeo(source: str, target: str, *flags: str) -> None:
    _do("skopeo", "copy", "--quiet", "--insecure-policy", *flags, source, target)


def _runs(heft: Client, name: str) -> bool:
    done = heft("run", "--rm", "--network", "none", name, "cat", "/etc/mark")
    return done.stdout == "mine\n"


def test_skopeo_reads_what_is_saved(heft: Client, tmp_path: Path) -> None:
    heft("save", "-o", str(tmp_path / "saved.tar"), IMAGE)
    heft("image", "cp", IMAGE, f"{tmp_path}/layout/")
    image_id = _ids(heft)[IMAGE]
    for source in (
        f"docker-archive:{tmp_path}/saved.tar:docker.io/{IMAGE}",
        f"oci-archive:{tmp_path}/saved.tar:1",
        f"oci:{tmp_path}/layout:1",
    ):
        shown = json.loads(_do("skopeo", "inspect", "--raw", source))
        # What skopeo makes a manifest of for Docker's archive names the same configuration.
        assert shown["config"]["digest"] == image_id
        _skopeo(source, f"dir:{tmp_path}/out")
        shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("packed", ["", "gzip", "xz", "zstd"])
def test_what_skopeo_writes_is_loaded(heft: Client, tmp_path: Path, packed: str) -> None:
    saved, name = f"{tmp_path}/saved.tar", "docker.io/team/copied:2"
    heft("save", "-o", saved, IMAGE)
    source = f"docker-archive:{saved}"
    for form in (f"docker-archive:{tmp_path}/d.tar:{name}", f"oci-archive:{tmp_path}/o.tar:{name}"):
        _skopeo(source, form)
        file = form.split(":")[1]
        if packed:
            _do(packed, file)
            (written,) = tmp_path.glob(f"{Path(file).name}.*")
            file = str(written)
        assert "Loaded image: team/copied:2" in heft("load", "-i", file).stdout
        assert _runs(heft, "team/copied:2")  # the id is skopeo's: it writes the configuration anew
        heft("rmi", "team/copied:2")


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("transport", ["oci", "dir"])
def test_directories_of_skopeo(
    heft: Client, tmp_path: Path, transport: str, compression: str
) -> None:
    heft("save", "-o", f"{tmp_path}/saved.tar", IMAGE)
    target = f"{transport}:{tmp_path}/there" + (":tag" if transport == "oci" else "")
    flags = ["--dest-compress-format", compression]
    flags += ["--dest-compress", "--format", "oci"] if transport == "dir" else []
    _skopeo(f"docker-archive:{tmp_path}/saved.tar", target, *flags)
    # By itself its layers are there already: their blobs are to come from skopeo.
    other = Daemon(tmp_path / "o").start()
    try:
        second = Client("heft", other)
        second("image", "cp", f"{tmp_path}/there", "mine:1")
        assert list(_ids(second)) == ["mine:1"]
        assert _runs(second, "mine:1")
        assert second("fsck").stdout == "nothing is damaged\n"
    finally:
        other.clean_up()


def test_registries(heft: Client, tmp_path: Path) -> None:
    with registries.registry(tmp_path / "r", 5009) as there:
        first, second = f"docker://{there.host}/a:1", f"docker://{there.host}/other/b:2"
        heft("image", "cp", IMAGE, first)
        heft("image", "cp", first, second)
        heft("image", "cp", second, f"{tmp_path}/layout/")
        heft("image", "cp", f"{tmp_path}/layout", f"docker://{there.host}/c")
        manifest = _manifest(f"{there.host}/v2/a/manifests/1")
        assert manifest == _manifest(f"{there.host}/v2/other/b/manifests/2")
        assert manifest == _manifest(f"{there.host}/v2/c/manifests/latest")
        named = json.loads((tmp_path / "layout/index.json").read_text())["manifests"][0]
        assert named["digest"] == f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        assert json.loads(manifest)["config"]["digest"] == _ids(heft)[IMAGE]
        _skopeo(f"docker://{there.host}/c", f"dir:{tmp_path}/dir", "--src-tls-verify=false")
        heft("image", "cp", f"{tmp_path}/dir", first)
        assert manifest == _manifest(f"{there.host}/v2/a/manifests/1")
        heft("image", "cp", second, "mine:1")
        assert _runs(heft, "mine:1")
        heft("rmi", "mine:1")

        blob = there.blob(json.loads(manifest)["layers"][0]["digest"])
        blob.write_bytes(bytes(blob.stat().st_size))
        digest = json.loads(manifest)["layers"][0]["digest"]
        wrong = f"{there.host}/a: what came as blob {digest} has the digest sha256:"
        for source, said in ((first, wrong), (f"{first}1", "not found")):
            for target in (f"{tmp_path}/b.tar", f"docker://{there.host}/d:1"):
                done = heft("image", "cp", source, target, check=False)
                assert done.returncode == 1, done.stderr
                assert said in done.stderr, done.stderr
        assert not (tmp_path / "b.tar").exists()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            _manifest(f"{there.host}/v2/d/manifests/1")


def _manifest(place: str) -> bytes:
    kinds = {"Accept": ", ".join(MANIFEST_TYPES)}
    with urllib.request.urlopen(urllib.request.Request(f"http://{place}", headers=kinds)) as answer:
        content: bytes = answer.read()
        return content


def test_from_any_place_to_any(heft: Client, tmp_path: Path) -> None:
    image_id = _ids(heft)[IMAGE]
    heft("image", "cp", IMAGE, f"{tmp_path}/a.tar")
    heft("image", "cp", f"{tmp_path}/a.tar", f"{tmp_path}/layout/")
    heft("image", "cp", BUSYBOX, f"{tmp_path}/layout")
    heft("image", "cp", BUSYBOX, f"{tmp_path}/layout")
    index = json.loads((tmp_path / "layout/index.json").read_text())
    assert len(index["manifests"]) == 2
    refused = heft("image", "cp", f"{tmp_path}/layout", "x:1", check=False)
    assert "has 2 images" in refused.stderr
    assert heft("load", "-i", str(_packed(tmp_path))).stdout.count("Loaded image: ") == 2
    heft("image", "cp", f"{tmp_path}/a.tar", "renamed")
    heft("image", "cp", "renamed", "again:3")
    assert _ids(heft)["renamed:latest"] == _ids(heft)["again:3"] == image_id
    with (tmp_path / "b.tar").open("wb") as file:
        subprocess.run(
            [*heft.program, "image", "cp", IMAGE, "-"],
            env=heft.environment,
            stdout=file,
            check=True,
        )
    assert (tmp_path / "b.tar").read_bytes() == (tmp_path / "a.tar").read_bytes()


def _packed(place: Path) -> Path:
    target = place / "packed.tar"
    with tarfile.open(target, "w") as tar:
        tar.add(place / "layout", ".")
    return target


def test_what_is_refused_leaves_nothing(heft: Client, tmp_path: Path) -> None:
    good = tmp_path / "good.tar"
    heft("image", "cp", IMAGE, str(good))
    content = bytearray(good.read_bytes())
    cut, evil = tmp_path / "cut.tar", tmp_path / "evil.tar"
    cut.write_bytes(content[: len(content) // 2])
    content[len(content) // 3] ^= 1
    evil.write_bytes(content)
    (tmp_path / "empty").mkdir()
    before = sorted(os.listdir(tmp_path))
    for source, says in (
        (cut, "end"),
        (evil, "digest"),
        (tmp_path / "empty", "holds no image"),
        (tmp_path / "nothing", "no such file"),
    ):
        for target in (f"{tmp_path}/new/", "new:1"):
            refused = heft("image", "cp", str(source), target, check=False)
            assert refused.returncode == 1, (source, target)
            assert says in refused.stderr, (source, target)
    assert sorted(os.listdir(tmp_path)) == before
    for words in (("nothing:1", f"{tmp_path}/x.tar"), (str(good), "Upper"), (IMAGE, "ssh://host")):
        assert heft("image", "cp", *words, check=False).returncode == 1
    assert sorted(os.listdir(tmp_path)) == before


def test_layouts_that_are_not_whole(heft: Client, tmp_path: Path) -> None:
    layout, home = tmp_path / "layout", tmp_path / "home"
    home.mkdir()
    heft("image", "cp", IMAGE, f"{layout}/")
    whole = sorted(os.listdir(layout / "blobs/sha256"))
    (layout / "blobs/sha256/.half.1").write_bytes(b"of a copy that was killed")
    heft("image", "cp", str(layout), f"{home}/copy/")
    assert sorted(os.listdir(home / "copy/blobs/sha256")) == whole
    shutil.rmtree(home / "copy")
    largest = max((layout / "blobs/sha256").iterdir(), key=lambda blob: blob.stat().st_size)
    largest.unlink()
    digest = {"digest": ["sha256"]}
    for index, says in (
        ((layout / "index.json").read_text(), "has not all of its image sha256:"),
        (json.dumps({"manifests": [digest]}), "is not an image index"),
        (json.dumps({"manifests": [{"digest": "sha256:../../x"}]}), "has not all of"),
        ("[" * 100_000, "is not an image index"),
    ):
        (layout / "index.json").write_text(index)
        refused = heft("image", "cp", str(layout), f"{home}/a/copy/", check=False)
        assert refused.returncode == 1
        assert says in refused.stderr
        assert not list(home.iterdir())
    shutil.rmtree(layout / "blobs")
    refused = heft("image", "cp", str(layout), "new:1", check=False)
    assert f"open {layout}/blobs/sha256: no such file" in refused.stderr


def test_copies_into_one_layout_at_once(heft: Client, tmp_path: Path) -> None:
    commands = [[*heft.program, "image", "cp", each, f"{tmp_path}/l/"] for each in (IMAGE, BUSYBOX)]
    copies = [subprocess.Popen(each, env=heft.environment) for each in commands * 2]
    assert [copy.wait(timeout=60) for copy in copies] == [0] * 4
    index = json.loads((tmp_path / "l/index.json").read_text())
    assert len(index["manifests"]) == 2


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Client]:
    """A Heft that is reached by ssh, at a port of this host's."""
    daemon = Daemon(tmp_path / "other").start()
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    for name in ("host", "user"):
        _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name)
    settings = f"""
        ListenAddress 127.0.0.1:2222
        HostKey {keys}/host
        AuthorizedKeysFile {keys}/user.pub
        PermitRootLogin yes
        StrictModes no
        UsePAM no
        PidFile none
        SetEnv HEFT_HOST=unix://{daemon.socket} PATH={Path(sys.executable).parent}:/usr/bin:/bin
    """
    (keys / "sshd_config").write_text(settings)
    known = (keys / "host.pub").read_text()
    (keys / "known").write_text(f"[127.0.0.1]:2222 {known}")
    (keys / "config").write_text(f"UserKnownHostsFile {keys}/known\nIdentityFile {keys}/user\n")
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin/ssh"
    ssh.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {keys}/config "$@"\n')
    ssh.chmod(0o755)
    separation = Path("/run/sshd")  # sshd(8) wants it, empty
    made = not separation.exists()
    separation.mkdir(exist_ok=True)
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", keys / "sshd_config"])
    try:
        yield Client("heft", daemon)
    finally:
        server.terminate()
        server.wait()
        daemon.clean_up()
        if made:
            separation.rmdir()


def test_to_another_host_and_back(
    heft: Client, host: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    image_id = _ids(heft)[IMAGE]
    environment = {**heft.environment, "PATH": os.environ["PATH"]}

    def copy(*words: str) -> subprocess.CompletedProcess[str]:
        command = [*heft.program, "image", "cp", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    there = "ssh://root@127.0.0.1:2222"
    deadline = time.monotonic() + 20
    while (done := copy(IMAGE, f"{there}/far:1")).returncode and time.monotonic() < deadline:
        time.sleep(0.1)
    assert done.returncode == 0, done.stderr
    assert _ids(host) == {"far:1": image_id}
    assert copy(f"{there}/far:1", "back:1").returncode == 0
    assert _ids(heft)["back:1"] == image_id
    assert copy(f"{there}/far:1", f"{tmp_path}/far.tar").returncode == 0
    missing = copy(f"{there}/nothing", f"{tmp_path}/nothing.tar")
    assert missing.returncode == 1
    assert "No such image: nothing" in missing.stderr
    assert not (tmp_path / "nothing.tar").exists()
