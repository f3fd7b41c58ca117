"""The store of images: made, found, named, saved, loaded, removed; nothing half made stays."""

import asyncio
import bz2
import gzip
import hashlib
import io
import json
import lzma
import shutil
import socket
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from heft.errors import Conflict, HostError, InvalidArgument, NotFound, ToolFailed
from heft.host.processes import run
from heft.host.trash import Trash
from heft.images.catalog import Images, ImageUser, Removed
from heft.model.image import Image
from heft.store.database import Database
from tests.harness.daemon import Daemon
from tests.harness.layers import archive, entry, pack

pytestmark = pytest.mark.usefixtures("clean_host")

Events = list[tuple[str, str]]
DIGEST = "sha256:" + "0" * 64


def root_tar(**files: str) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, text in (files or {"file": "content"}).items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return target.getvalue()


async def once(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 50_000):
        yield data[at : at + 50_000]


async def collected(blocks: AsyncIterator[bytes]) -> bytes:
    return b"".join([block async for block in blocks])


def quiet(*_: object) -> None:
    """Take no interest in progress."""


class Bench:
    """A store that can be opened again, as after a kill."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.events: Events = []
        self.trash = Trash(place / "trash")
        self.images = self._open()

    def _open(self) -> Images:
        def publish(action: str, actor: str, attributes: dict[str, str]) -> None:
            self.events.append((action, attributes["name"]))

        database = Database(self.place / "store")
        return Images(self.place / "images", database, publish, self.trash)

    async def again(self) -> Images:
        """Start over with what is on the disk."""
        self.images = self._open()
        await self.images.start()
        return self.images

    async def make(self, name: str = "", *changes: str, **files: str) -> Image:
        """Import an image."""
        return await self.images.import_tar(
            once(root_tar(**files)), reference=name, changes=changes, progress=quiet
        )

    def files(self) -> dict[str, int]:
        """Count what is on the disk."""
        root = self.place / "images"
        places = {"blobs": root / "blobs/sha256", "layers": root / "layers", "tmp": root / "tmp"}
        return {name: len(list(path.iterdir())) for name, path in places.items()}


NOTHING = {"blobs": 0, "layers": 0, "tmp": 0}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    bench.trash.start()
    await bench.images.start()
    yield bench
    assert bench.files()["tmp"] == 0
    await bench.trash.close()


# Making


async def test_import(bench: Bench) -> None:
    progress: list[tuple[str, str, int, int]] = []
    image = await bench.images.import_tar(
        once(root_tar(file="content")),
        reference="box",
        changes=['CMD ["sh"]', "ENV A=1"],
        message="made by hand",
        platform="linux/arm/v7",
        progress=lambda *told: progress.append(told),
    )
    assert image.config.cmd == ["sh"]
    assert image.config.env == ["A=1"]
    assert (image.comment, image.platform, image.size) == ("made by hand", "linux/arm/v7", 7)
    assert bench.images.tags(image.id) == ("box:latest",)
    assert bench.images.digests(image.id) == ()
    (path,) = bench.images.layer_paths([layer.diff_id for layer in image.layers])
    assert (path / "file").read_text() == "content"
    assert bench.images.history(image) == [
        {
            "Id": image.id,
            "Created": bench.images.history(image)[0]["Created"],
            "CreatedBy": "",
            "Tags": ["box:latest"],
            "Size": 7,
            "Comment": "made by hand",
        }
    ]
    assert bench.events == [("tag", "box:latest"), ("import", image.id)]
    assert progress[-1] == ("", "Importing", len(root_tar(file="content")), 0)
    assert bench.files() == {"blobs": 2, "layers": 1, "tmp": 0}


@pytest.mark.parametrize(
    ("compress", "media"),
    [
        (bytes, "tar"),
        (gzip.compress, "tar+gzip"),
        (bz2.compress, "tar"),
        (lzma.compress, "tar"),
        (zstandard.ZstdCompressor().compress, "tar+zstd"),
    ],
    ids=["none", "gzip", "bzip2", "xz", "zstd"],
)
async def test_compressed(bench: Bench, compress: Callable[[bytes], bytes], media: str) -> None:
    """Every compression comes in, and what is saved of it comes back the same."""
    plain = root_tar(a="a" * 100_000)
    image = await bench.images.import_tar(once(compress(plain)), reference="x", progress=quiet)
    (layer,) = image.layers
    assert layer.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    assert layer.media_type == f"application/vnd.oci.image.layer.v1.{media}"
    saved = await collected(bench.images.save(["x"]))
    bench.images.remove("x")
    assert bench.files() == NOTHING
    await bench.images.load(once(saved), progress=quiet)
    assert bench.images.resolve("x").id == image.id
    assert await collected(bench.images.save(["x"])) == saved


@pytest.mark.parametrize(
    "data",
    [b"no tar at all" * 1000, root_tar()[:700], gzip.compress(root_tar())[:-9]],
    ids=["text", "cut", "compressed and cut"],
)
async def test_what_is_no_tar(bench: Bench, data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="cannot apply the layer"):
        await bench.images.import_tar(once(data), reference="x", progress=quiet)
    assert bench.files() == NOTHING
    assert bench.events == []


async def test_nothing_is_an_empty_tar(bench: Bench) -> None:
    """As it is to Docker."""
    image = await bench.images.import_tar(once(b""), reference="x", progress=quiet)
    (root,) = bench.images.layer_paths([layer.diff_id for layer in image.layers])
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"reference": "Upper"},
        {"reference": f"x@{DIGEST}"},
        {"changes": ["RUN x"]},
        {"platform": "plan9/386"},
    ],
)
async def test_asked_wrongly(bench: Bench, wrong: dict[str, Any]) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("it is checked before anything is read")
        yield b""

    with pytest.raises(InvalidArgument):
        await bench.images.import_tar(unread(), progress=quiet, **wrong)


async def test_client_that_goes_away(bench: Bench) -> None:
    async def broken_off() -> AsyncIterator[bytes]:
        yield root_tar()[:600]
        raise InvalidArgument("the request's body ended early")

    with pytest.raises(InvalidArgument, match="ended early"):
        await bench.images.import_tar(broken_off(), progress=quiet)
    assert bench.files() == NOTHING


async def test_cancelled(bench: Bench) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield root_tar()[:600]
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(bench.images.import_tar(endless(), progress=quiet))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.files() == NOTHING


async def test_many_at_once(bench: Bench) -> None:
    """The same content under way several times, and removed meanwhile, is there in the end."""
    for _ in range(3):
        images = await asyncio.gather(*(bench.make(f"x{number}") for number in range(4)))
        assert len({image.layers for image in images}) == 1
        for number in range(3):
            bench.images.remove(f"x{number}", force=True)
        (path,) = bench.images.layer_paths([images[3].layers[0].diff_id])
        assert (path / "file").exists()
    bench.images.prune(keep=lambda _: False, in_use=frozenset())
    assert bench.files() == NOTHING


def test_daemon_killed_while_a_tar_comes_in(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "d").start()
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(str(daemon.socket))
    head = (
        "POST /images/create?fromSrc=-&repo=x HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n"
    )
    client.sendall(head.encode() + root_tar()[:600])
    places = daemon.data / "images/tmp"
    while not list(places.glob("*/blob")):
        time.sleep(0.01)
    daemon.kill()
    client.close()
    daemon.start()
    try:
        assert daemon.request("GET", "/images/json").json == []
        for place in ("tmp", "layers", "blobs/sha256"):
            assert list((daemon.data / "images" / place).iterdir()) == []
        assert not _with_argument(str(places))
    finally:
        daemon.clean_up()


# Finding


async def test_resolve(bench: Bench) -> None:
    image = await bench.make("r.example/box:1")
    bench.images.tag("r.example/box:1", "box")
    digits = image.id.removeprefix("sha256:")
    names = ["box", "box:latest", "docker.io/library/box", "r.example/box:1"]
    for reference in (*names, image.id, digits, digits[:12], f"sha256:{digits[:5]}"):
        assert bench.images.resolve(reference).id == image.id
    for missing in ("box:2", "r.example/box", "0" * 64, DIGEST, f"box@{DIGEST}"):
        with pytest.raises(NotFound, match="No such image: "):
            bench.images.resolve(missing)
    with pytest.raises(NotFound) as raised:
        bench.images.resolve("nothing")
    assert raised.value.message == "No such image: nothing:latest"
    with pytest.raises(InvalidArgument, match="invalid reference format"):
        bench.images.resolve("no name")


async def test_ambiguous_ids(bench: Bench) -> None:
    """With 17 images, two ids begin with the same digit."""
    images = [await bench.make("", f"LABEL n={number}") for number in range(17)]
    first = [image.id.removeprefix("sha256:")[0] for image in images]
    double = next(digit for digit in first if first.count(digit) > 1)
    with pytest.raises(InvalidArgument, match=f"image id {double} is ambiguous"):
        bench.images.resolve(double)
    bench.images.tag(images[0].id, double)
    assert bench.images.resolve(double).id == images[0].id


async def test_names_move(bench: Bench) -> None:
    first, second = await bench.make("box", a="1"), await bench.make("box", a="2")
    assert bench.images.tags(first.id) == ()
    assert bench.images.tags(second.id) == ("box:latest",)
    assert [image.id for image in bench.images.list()] == [second.id, first.id]
    with pytest.raises(InvalidArgument, match="refusing to create a tag with a digest reference"):
        bench.images.tag("box", f"x@{DIGEST}")


async def test_all_is_there_after_a_restart(bench: Bench) -> None:
    image = await bench.make("box")
    files = bench.files()
    images = await bench.again()
    assert images.resolve("box") == image
    assert bench.files() == files
    assert images.layer_paths([image.layers[0].diff_id])


# Removing


def users(image: Image, *, running: bool) -> list[ImageUser]:
    return [ImageUser("f" * 64, image.id, running, tuple(x.diff_id for x in image.layers))]


async def test_remove_names_then_the_image(bench: Bench) -> None:
    image = await bench.make("a")
    bench.images.tag("a", "b:2")
    assert bench.images.remove("a") == (Removed(untagged="a:latest"),)
    assert bench.images.remove("b:2") == (
        Removed(untagged="b:2"),
        Removed(deleted=image.id),
        Removed(deleted=image.layers[0].diff_id),
    )
    assert bench.files() == NOTHING
    assert bench.events[-3:] == [("untag", "a:latest"), ("untag", "b:2"), ("delete", image.id)]


async def test_remove_by_id(bench: Bench) -> None:
    image = await bench.make("a")
    bench.images.tag("a", "b")
    short = image.id.removeprefix("sha256:")[:12]
    with pytest.raises(Conflict) as raised:
        bench.images.remove(image.id)
    assert raised.value.message == (
        f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple"
        " repositories"
    )
    removed = bench.images.remove(short, force=True)
    assert [each.untagged for each in removed[:2]] == ["a:latest", "b:latest"]
    assert bench.files() == NOTHING


async def test_a_machines_image(bench: Bench) -> None:
    image = await bench.make("a")
    short = image.id.removeprefix("sha256:")[:12]
    for running in (True, False):
        with pytest.raises(Conflict) as raised:
            bench.images.remove("a", users=users(image, running=running))
        assert raised.value.message == (
            'conflict: unable to remove repository reference "a" (must force) - container'
            f" ffffffffffff is using its referenced image {short}"
        )
    with pytest.raises(Conflict) as raised:
        bench.images.remove(image.id, users=users(image, running=False))
    assert raised.value.message == (
        f"conflict: unable to delete {short} (must be forced) - image is being used by stopped"
        " container ffffffffffff"
    )
    with pytest.raises(Conflict) as raised:
        bench.images.remove(image.id, force=True, users=users(image, running=True))
    assert raised.value.message == (
        f"conflict: unable to delete {short} (cannot be forced) - image is being used by running"
        " container ffffffffffff"
    )
    removed = bench.images.remove("a", force=True, users=users(image, running=True))
    assert removed == (Removed(untagged="a:latest"),)
    assert bench.images.resolve(short) == image


async def test_layers_of_a_removed_image_stay_for_machines(bench: Bench) -> None:
    image = await bench.make("a")
    diff_ids = [layer.diff_id for layer in image.layers]
    removed = bench.images.remove("a", force=True, users=users(image, running=False))
    assert removed == (Removed(untagged="a:latest"), Removed(deleted=image.id))
    await bench.again()
    with pytest.raises(NotFound):
        bench.images.resolve("a")
    assert bench.images.layer_paths(diff_ids)[0].exists()
    bench.images.prune(keep=lambda _: True, in_use=frozenset({image.id}))
    assert bench.images.layer_paths(diff_ids)
    bench.images.prune(keep=lambda _: True, in_use=frozenset())
    with pytest.raises(NotFound, match="is missing"):
        bench.images.layer_paths(diff_ids)
    assert bench.files() == NOTHING


async def test_prune(bench: Bench) -> None:
    used, named = await bench.make("", a="1"), await bench.make("named", a="22")
    dangling = await bench.make("", a="333")
    blobs = {each.id: sum(map(bench.images._store.blobs.taken, each.blobs)) for each in
             (named, dangling)}  # fmt: skip
    removed, freed = bench.images.prune(
        keep=lambda image: bool(bench.images.tags(image.id)), in_use=frozenset({used.id})
    )
    assert (removed[0], freed) == (Removed(deleted=dangling.id), 3 + blobs[dangling.id])
    removed, freed = bench.images.prune(keep=lambda _: False, in_use=frozenset({used.id}))
    assert removed[:2] == (Removed(untagged="named:latest"), Removed(deleted=named.id))
    assert freed == 2 + blobs[named.id]
    assert [image.id for image in bench.images.list()] == [used.id]


# Archives


async def test_save_and_load(bench: Bench) -> None:
    one, two = await bench.make("box:1", a="1"), await bench.make("box:2", a="2")
    bench.images.tag("box:1", "r.example/other:x")
    bare = await bench.make("", a="3")
    saved = await collected(bench.images.save(["box", "r.example/other:x", bare.id]))
    assert saved == await collected(bench.images.save(["box", "r.example/other:x", bare.id]))
    bench.images.prune(keep=lambda _: False, in_use=frozenset())
    assert bench.files() == NOTHING
    lines = await bench.images.load(once(saved), progress=quiet)
    assert sorted(lines) == sorted(
        [
            "Loaded image: box:1",
            "Loaded image: r.example/other:x",
            "Loaded image: box:2",
            f"Loaded image ID: {bare.id}",
        ]
    )
    assert {image.id for image in bench.images.list()} == {one.id, two.id, bare.id}
    other = await bench.make("box:1", a="4")
    assert await bench.images.load(once(saved), progress=quiet)
    assert bench.images.tags(other.id) == ()


async def test_a_name_that_a_load_takes_away(bench: Bench) -> None:
    await bench.make("box", a="1")
    saved = await collected(bench.images.save(["box"]))
    old = await bench.make("box", a="2")
    lines = await bench.images.load(once(gzip.compress(saved)), progress=quiet)
    assert lines == [
        f"The image box:latest already exists, renaming the old one with ID {old.id} to empty"
        " string",
        "Loaded image: box:latest",
    ]


async def test_an_oci_layout_alone(bench: Bench) -> None:
    image = await bench.make("box")
    saved = await collected(bench.images.save(["box"]))
    bench.images.remove("box")
    target = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(saved)) as old,
        tarfile.open(fileobj=target, mode="w") as new,
    ):
        for info in old:
            if info.name not in ("manifest.json", "repositories"):
                new.addfile(info, old.extractfile(info) if info.isreg() else None)
    assert await bench.images.load(once(target.getvalue()), progress=quiet) == [
        "Loaded image: box:latest"
    ]
    assert bench.images.resolve("box").id == image.id


async def test_what_is_saved_exists(bench: Bench) -> None:
    with pytest.raises(NotFound, match="No such image: box:latest"):
        bench.images.save(["box"])


@pytest.fixture
def podman() -> Iterator[list[str]]:
    """A podman of its own; it wants short paths."""
    with tempfile.TemporaryDirectory(prefix="heft-") as place:
        yield ["podman", "--root", f"{place}/p", "--runroot", f"{place}/r", "--storage-driver=vfs"]


async def test_podman_reads_what_is_saved(bench: Bench, tmp_path: Path, podman: list[str]) -> None:
    """An independent reader, and writer, of both formats."""
    image = await bench.make("box", 'CMD ["true"]')
    saved = tmp_path / "saved.tar"
    saved.write_bytes(await collected(bench.images.save(["box"])))
    for form in ("docker-archive", "oci-archive"):
        pulled = await run(*podman, "pull", "-q", f"{form}:{saved}")
        assert pulled.stdout.decode().strip() == image.id.removeprefix("sha256:")
        written = tmp_path / form
        await run(*podman, "save", "--format", form, "-o", str(written), image.id)
        await run(*podman, "rmi", "-f", image.id)
        bench.images.remove(image.id, force=True)
        await bench.images.load(once(written.read_bytes()), progress=quiet)
        (loaded,) = bench.images.list()
        assert loaded.layers[0].diff_id == image.layers[0].diff_id
        assert loaded.config.cmd == ["true"]


async def test_damage_on_the_disk_does_not_get_out(bench: Bench) -> None:
    image = await bench.make("box")
    blob = bench.place / "images/blobs/sha256" / image.layers[0].digest.removeprefix("sha256:")
    content = bytearray(blob.read_bytes())
    content[600] ^= 1
    blob.write_bytes(content)
    with pytest.raises(HostError, match="is damaged on the disk"):
        await collected(bench.images.save(["box"]))


async def test_an_archive_of_too_few_layers(bench: Bench) -> None:
    await bench.make("box")
    saved = await collected(bench.images.save(["box"]))
    manifest = {"Config": "", "RepoTags": ["box:latest"], "Layers": []}
    target = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(saved)) as old,
        tarfile.open(fileobj=target, mode="w") as new,
    ):
        for info in old:
            file = old.extractfile(info) if info.isreg() else None
            if file and info.name == "manifest.json":
                manifest["Config"] = json.load(file)[0]["Config"]
                text = json.dumps([manifest]).encode()
                info.size, file = len(text), io.BytesIO(text)
            new.addfile(info, file)
    with pytest.raises(InvalidArgument, match="layers length mismatch: expected 1, got 0"):
        await bench.images.load(once(target.getvalue()), progress=quiet)


async def test_an_archive_of_too_many_layers(bench: Bench) -> None:
    saved = archive(*[pack(entry("f", b"1"))] * 128)
    with pytest.raises(InvalidArgument, match="invalid archive: 128 layers"):
        await bench.images.load(once(saved), progress=quiet)
    assert bench.files() == NOTHING


async def test_an_image_of_another_system_in_an_archive(bench: Bench) -> None:
    # As long as the other, so that the tar stays one.
    saved = archive(pack(entry("f", b"1"))).replace(b'"os": "linux",', b'"os":"darwin",')
    with pytest.raises(InvalidArgument, match="operating system 'darwin' cannot be used"):
        await bench.images.load(once(saved), progress=quiet)
    assert not bench.images.list()


# What a killed daemon leaves


async def test_leftovers_go_at_the_next_start(bench: Bench) -> None:
    image = await bench.make("box")
    files = bench.files()
    root = bench.place / "images"
    (root / "tmp/half/deep").mkdir(parents=True)
    (root / "layers/stray").mkdir()
    (root / "blobs/sha256" / ("0" * 64)).write_text("stray")
    images = await bench.again()
    assert bench.files() == files
    assert images.resolve("box") == image


async def test_a_layer_that_was_lost(bench: Bench) -> None:
    image = await bench.make("box")
    shutil.rmtree(bench.images.layer_paths([image.layers[0].diff_id])[0])
    images = await bench.again()
    with pytest.raises(NotFound, match="is missing from the store"):
        images.layer_paths([image.layers[0].diff_id])


# Templates


async def test_busybox(bench: Bench) -> None:
    told: list[str] = []
    image = await bench.images.bootstrap(
        "busybox", options={}, progress=lambda _, status, *__: told.append(status)
    )
    assert bench.images.tags(image.id) == ("busybox:latest",)
    assert image.config.cmd == ["sh"]
    assert image.size < 3_000_000
    (root,) = bench.images.layer_paths([image.layers[0].diff_id])
    done = await run("chroot", str(root), "/bin/sh", "-c", "id -un && ls -d /tmp && env true")
    assert done.stdout == b"root\n/tmp\n"
    assert told[0].startswith("Packing /")
    again = await bench.images.bootstrap("busybox", options={}, reference="mine:1", progress=quiet)
    assert again.id == image.id
    assert bench.images.tags(image.id) == ("busybox:latest", "mine:1")


async def test_debian_without_an_archive(bench: Bench) -> None:
    """The tests' network namespace has no way out: mmdebstrap fails, and says why."""
    with pytest.raises(ToolFailed, match="E: "):
        await bench.images.bootstrap(
            "debian", options={"mirror": "http://127.0.0.1:9/debian"}, progress=quiet
        )
    assert bench.files() == NOTHING


@pytest.mark.parametrize("platform", ["linux", "linux/arm64"])
async def test_debian_cancelled(bench: Bench, platform: str) -> None:
    """Whatever mmdebstrap has started ends with it."""
    begun = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.set()
        while await reader.read(1 << 16):
            pass
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    options = {"mirror": f"http://127.0.0.1:{port}/debian", "platform": platform}
    task = asyncio.create_task(bench.images.bootstrap("debian", options=options, progress=quiet))
    await asyncio.wait_for(begun.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.close()
    await server.wait_closed()
    assert bench.files() == NOTHING
    assert not _with_argument(str(bench.place))


def _with_argument(text: str) -> list[str]:
    """Give the processes that have a text in their command line."""
    entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [entry.name for entry in entries if text.encode() in _command(entry)]


def _command(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""
