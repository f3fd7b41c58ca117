"""Images of crafted layers, loaded into a store of the test's own."""

import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from heft.host import mounts
from heft.host.trash import Trash
from heft.images.catalog import Images
from heft.model.image import Image
from heft.store.database import Database

Member = tuple[tarfile.TarInfo, bytes]


def entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: Any) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def directory(name: str, **fields: Any) -> Member:
    return entry(name, kind=tarfile.DIRTYPE, **fields)


def link(name: str, target: str) -> Member:
    return entry(name, kind=tarfile.SYMTYPE, linkname=target)


def hard(name: str, target: str) -> Member:
    return entry(name, kind=tarfile.LNKTYPE, linkname=target)


def pack(*members: Member) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def archive(*layers: bytes, name: str = "t") -> bytes:
    """Give what `docker save` would for an image of these layers."""
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    config = json.dumps({"os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    paths = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = json.dumps([{"Config": "c.json", "RepoTags": [name], "Layers": paths}])
    return pack(
        *(entry(path, layer) for path, layer in zip(paths, layers, strict=True)),
        entry("c.json", config.encode()),
        entry("manifest.json", manifest.encode()),
    )


async def once(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 100_000):
        yield data[at : at + 100_000]


class Bench:
    """A store of images, and a place to look at them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.trash = Trash(place / "trash")
        self.images = Images(
            place / "images", Database(place / "store"), lambda *_: None, self.trash
        )
        self.stack = AsyncExitStack()

    async def image(self, *members: list[Member], name: str = "t") -> Image:
        """Load an image of layers with these entries."""
        data = archive(*(pack(*each) for each in members), name=name)
        await self.images.load(once(data), progress=lambda *_: None)
        return self.images.resolve(name)

    async def layers(self, *members: list[Member]) -> tuple[Path, ...]:
        """Load an image of layers with these entries; give their directories."""
        return self.images.layer_paths((await self.image(*members)).diff_ids)

    async def merged(self, *members: list[Member]) -> Path:
        """Load an image, and give it as a machine sees it."""
        layers = await self.layers(*members)
        view = self.place / "view"
        view.mkdir()
        mounts.overlay(view, layers)
        self.stack.callback(mounts.unmount, view)
        return view
