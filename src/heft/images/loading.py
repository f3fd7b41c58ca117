"""`load`: images come in with their names, as `save`, `docker save` and OCI tools wrote them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from heft.errors import InvalidArgument
from heft.failures import translated
from heft.faults import reach
from heft.images import configs
from heft.images.archive import Archive, Descriptor, File
from heft.images.compression import LONGEST_MAGIC, Compression, detect
from heft.images.disks import artifact, keeping
from heft.images.importing import layer_of
from heft.images.intake import STORABLE
from heft.images.layers import MOST_LAYERS, chain_ids
from heft.images.piping import run_child

if TYPE_CHECKING:
    from pathlib import Path

    from heft.images.archive import ArchivedImage
    from heft.images.importing import Progress
    from heft.images.piping import Source
    from heft.images.reference import Reference
    from heft.images.store import Hold, Store
    from heft.model.image import Image, Layer


async def load(
    store: Store, source: Source, progress: Progress, *, only: Reference | None = None
) -> list[str]:
    """Take in all images of an archive; give what to tell the user, a line each.

    Images before one that is malformed stay. With `only` there must be one, which gets this name
    and not those that the archive has.
    """
    with store.layers.workplace() as place, store.hold() as hold:
        archive, directory = await spooled(place, source, progress)
        loading = _Loading(store, hold, place, directory, progress)
        lines: list[str] = []
        # In a thread: hostile JSON can take long to read.
        images = await asyncio.to_thread(archive.images)
        if only is not None:
            images = [msgspec.structs.replace(only_one(images, only), names=(only,))]
        for archived in images:
            lines.extend(await loading.image(archived))
        return lines


async def spooled(place: Path, source: Source, progress: Progress) -> tuple[Archive, Path]:
    """Take an archive apart in a work place; give where its files are, by their numbers, too.

    Raises `InvalidArgument` for what is no tar, `NoSpace`, `HostError`.
    """
    directory = place / "spool"
    with translated(f"make {directory}"):
        directory.mkdir()
    listing: dict[str, Any] = await run_child(
        "heft.images.spool",
        str(directory),
        source=source,
        what="cannot read the archive",
        told=lambda done: progress("", "Reading the archive", done, 0),
    )
    files = msgspec.convert(listing["files"], dict[str, File])
    return Archive(files, listing["links"], lambda file: _read(directory, file)), directory


def only_one(images: list[ArchivedImage], name: Reference) -> ArchivedImage:
    """Give the image of an archive that has one. Raises `InvalidArgument` for others."""
    if len(images) != 1:
        raise InvalidArgument(
            f"the archive has {len(images)} images, which cannot all be {name.familiar()}",
            hint="`heft load` takes in all of them",
        )
    return images[0]


def _read(spooled: Path, file: File) -> bytes:
    if file.size > configs.LARGEST:
        raise InvalidArgument(
            f"invalid archive: a document of {file.size} bytes", hint=f"at most {configs.LARGEST}"
        )
    return (spooled / str(file.number)).read_bytes()


@dataclass(frozen=True, slots=True)
class _Loading:
    store: Store
    hold: Hold
    place: Path
    spooled: Path
    progress: Progress

    async def image(self, archived: ArchivedImage) -> list[str]:
        """Take in one image."""
        content = _read(self.spooled, archived.config)
        if archived.artifact:
            return await self._artifact(archived, content)
        config = await asyncio.to_thread(configs.decode, content)
        config.check_system()
        expected, there = len(config.diff_ids), len(archived.layers)
        if expected != there:
            raise InvalidArgument(
                f"invalid manifest, layers length mismatch: expected {expected}, got {there}"
            )
        if there > MOST_LAYERS:
            raise InvalidArgument(f"invalid archive: {there} layers", hint=f"at most {MOST_LAYERS}")
        layers: list[Layer] = []
        for file in archived.layers:
            layers.append(await self._layer(file, config.diff_ids, len(layers)))
        image_id = await self.store.blobs.add(content)
        self.hold.blob(image_id)
        reach("import.config")
        records = map(self.store.layers.get, chain_ids(config.diff_ids))
        size = sum(record.size for record in records if record)
        lines = [line for name in archived.names for line in self._renamed(name, image_id)]
        image = await self.store.keep(config.image(image_id, layers, size), archived.names)
        reach("import.recorded")
        self.store.publish("load", image)
        return lines + _lines(image, archived.names)

    async def _artifact(self, archived: ArchivedImage, content: bytes) -> list[str]:
        """Take in a disk image. Raises `NotSupported` for other artifacts."""
        if archived.artifact != artifact.CONFIG_TYPE:
            raise artifact.unknown(archived.artifact)
        config = await asyncio.to_thread(artifact.decode, content)
        if len(archived.layers) != 1:
            raise InvalidArgument(f"invalid archive: a disk of {len(archived.layers)} blobs")
        (file,) = archived.layers
        blob = Descriptor(artifact.MEDIA_TYPES[config.format], file.digest, file.size)
        path = self.spooled / str(file.number)
        image_id = archived.config.digest
        lines = [line for name in archived.names for line in self._renamed(name, image_id)]
        self.hold.blob(blob.digest)
        await keeping.bring(self.store, content, path, blob)
        image = await keeping.record(self.store, self.hold, content, blob, archived.names)
        self.store.publish("load", image)
        return lines + _lines(image, archived.names)

    def _renamed(self, name: Reference, image_id: str) -> list[str]:
        known = self.store.names.get(str(name))
        if known in (None, image_id):
            return []
        return [
            f"The image {name.familiar()} already exists, renaming the old one with ID {known}"
            " to empty string"
        ]

    async def _layer(self, file: File, diff_ids: tuple[str, ...], number: int) -> Layer:
        """Make a layer of the image, unless there is the same on the same layers already."""
        diff_id, below = diff_ids[number], diff_ids[:number]
        part = diff_id.removeprefix("sha256:")[:12]
        chain = chain_ids(diff_ids[: number + 1])[-1]
        self.hold.layer(chain)
        known = self.store.layer(diff_id) if self.store.layers.get(chain) else None
        if known is not None and known.digest in self.store.blobs:
            self.hold.blob(known.digest)
            self.progress(part, "Layer already exists", 0, 0)
            return known
        self.progress(part, "Loading layer", 0, file.size)
        layer = await self._apply(file, diff_id, below)
        self.progress(part, "Loading layer", file.size, file.size)
        return layer

    async def _apply(self, file: File, diff_id: str, below: tuple[str, ...]) -> Layer:
        blobs = self.store.blobs
        path = self.spooled / str(file.number)
        if file.digest in blobs:
            path = blobs.path(file.digest)  # the archive's file became this blob a layer ago
        storable = compression_of(path) in STORABLE
        kept = None if storable else self.place / f"{file.number}.{len(below)}"
        applied = await self.store.layers.apply(
            path, below, self.place, lambda _: None, keep=kept or file.digest
        )
        if applied.record.diff_id != diff_id:
            raise InvalidArgument(
                f'invalid diffID for layer {len(below)}: expected "{diff_id}", got'
                f' "{applied.record.diff_id}"'
            )
        self.hold.blob(applied.digest)
        if applied.digest not in blobs:
            blobs.adopt(kept or path, applied.digest)
        reach("import.blob")
        self.store.layers.take_over(applied)
        reach("import.layer")
        return layer_of(diff_id, applied.digest, applied.size, applied.compression)


def compression_of(path: Path) -> Compression:
    """Tell by its beginning what a file is compressed with."""
    with path.open("rb") as file:
        return detect(file.read(LONGEST_MAGIC))


def _lines(image: Image, names: tuple[Reference, ...]) -> list[str]:
    if not names:
        return [f"Loaded image ID: {image.id}"]
    return [f"Loaded image: {name.familiar()}" for name in names]
