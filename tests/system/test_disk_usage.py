"""`system df` beside du(1): what it says is what is on the disk."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from heft.cli.human import size
from tests.harness import disks
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar
from tests.harness.layers import entry, pack

pytestmark = pytest.mark.usefixtures("clean_host")

MIB = 1 << 20
NOISE = random.Random(3).randbytes(64 * MIB)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "d").start()
    daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
    yield daemon
    daemon.clean_up()


def du(*paths: Path) -> int:
    command = ["du", "--summarize", "--total", "--block-size=1", *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1].split("\t")[0])


def written(path: Path) -> int:
    """Give the bytes of all files, as Docker counts volumes and machines."""
    files = (f"{top}/{name}" for top, _, names in os.walk(path) for name in names)
    return sum(os.lstat(file).st_size for file in files)


def test_all_that_there_is(daemon: Daemon, tmp_path: Path) -> None:
    heft, store = Client("heft", daemon), daemon.data / "images"
    machine = ("run", "--name", "box", "--network", "none", "-v", "full:/v", BUSYBOX)
    heft(*machine, "sh", "-c", "echo more > /more; head -c 3000000 /dev/urandom | tee /f > /v/f")
    heft("commit", "box", "upon:1")
    (tmp_path / "disk").write_bytes(disks.qcow2(1 << 30) + NOISE[:MIB])
    heft("image", "import-disk", tmp_path / "disk", "disk:1")
    body = {"image": BUSYBOX, "weight": "heavy"}
    assert daemon.request("POST", "/heft/v1/bases", body).status == 200
    usage = daemon.request("GET", "/system/df").json
    assert usage["LayersSize"] == du(store)
    images = {image["RepoTags"][0].partition(":")[0]: image for image in usage["Images"]}
    base = next((store / "bases").iterdir())
    assert images[BUSYBOX]["BaseSize"] == du(base)
    shared = {images[name]["SharedSize"] for name in (BUSYBOX, "upon")}
    assert len(shared) == 1
    assert images["disk"]["SharedSize"] == 0
    parts = sum(image["Size"] - image["SharedSize"] for image in images.values()) + shared.pop()
    layers, bases = (list((store / kind).iterdir()) for kind in ("layers", "bases"))
    assert parts == du(store / "blobs/sha256", *layers, *bases) - 4096
    assert images["disk"]["Size"] == parts - sum(
        images[name]["Size"] - images[name]["SharedSize"] for name in (BUSYBOX, "upon")
    ) - images["upon"]["SharedSize"]  # fmt: skip
    (box,) = usage["Containers"]
    assert box["SizeRw"] == written(daemon.data / "machines" / box["Id"] / "upper")
    (volume,) = usage["Volumes"]
    assert volume["UsageData"] == {"RefCount": 1, "Size": 3_000_000}
    assert (usage["BuildCache"], usage["BuilderSize"]) == ([], 0)
    rows = [line.split() for line in heft("system", "df", "--verbose").stdout.splitlines()]
    assert size(images["disk"]["Size"]) in next(row for row in rows if row[:1] == ["disk"])
    heft("rm", "-v", "box")
    freed = daemon.request("POST", '/images/prune?filters={"dangling":["false"]}').json
    assert freed["SpaceReclaimed"] > parts * 0.9
    assert daemon.request("GET", "/system/df").json["LayersSize"] == du(store) < 100_000


def test_a_commit_is_as_much_work_as_was_written(daemon: Daemon) -> None:
    heft, store = Client("heft", daemon), daemon.data / "images"
    daemon.request("POST", "/images/create?fromSrc=-&repo=large", pack(entry("large", NOISE)))
    heft("create", "--name", "box", "large", "/none")
    upper = pack(entry("small", NOISE[:MIB]))
    daemon.request("PUT", "/containers/box/archive?path=/", upper)

    def moved() -> dict[str, int]:
        lines = Path(f"/proc/{daemon.pid}/io").read_text().splitlines()
        return {name: int(count) for name, count in (line.split(": ") for line in lines)}

    before, taken = moved(), du(store)
    heft("commit", "box", "larger")
    after = moved()  # children that have ended count with who waited for them
    assert after["rchar"] - before["rchar"] < 16 * MIB
    assert after["wchar"] - before["wchar"] < 8 * MIB
    assert MIB <= du(store) - taken < 3 * MIB
