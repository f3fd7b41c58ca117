"""Disk images in the store: imported, taken in from elsewhere, exported.

What comes in is read by a child process; what it finds must be what the configuration says.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from heft.errors import InvalidArgument
from heft.faults import reach
from heft.images import configs
from heft.images.archive import Descriptor
from heft.images.blobs import digest_of
from heft.images.disks import artifact, formats
from heft.images.importing import name_for
from heft.images.piping import run_child

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from pathlib import Path

    from heft.images.importing import Progress
    from heft.images.reference import Reference
    from heft.images.store import Hold, Store
    from heft.model.image import Disk, Image

_READER = "heft.images.disks.reading"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a disk image is to be. `form` is one of `formats.FORMATS`, empty: what the file says."""

    names: tuple[Reference, ...]
    form: str
    architecture: str


def wanted(reference: str, form: str, platform: str) -> Wanted:
    """Check what was asked for, before the first byte is read. Raises `InvalidArgument`."""
    if not reference:
        raise InvalidArgument("a disk image needs a name")
    if form and form not in formats.FORMATS:
        known = ", ".join(formats.FORMATS)
        raise InvalidArgument(f"unknown format of disks {form!r}", hint=f"there are: {known}")
    _, architecture, _ = configs.platform_parts(platform)
    return Wanted(name_for(reference), form, architecture)


async def import_disk(
    store: Store, source: AsyncIterator[bytes], asked: Wanted, progress: Progress
) -> Image:
    """Make an image of a disk's file, or nothing. Raises `InvalidArgument`, `NoSpace`."""
    with store.layers.workplace() as place, store.hold() as hold:
        found = await run_child(
            _READER,
            *(str(place / "blob"), asked.form or "-"),
            source=source,
            what="cannot import the disk",
            told=lambda done: progress("", "Importing", done, 0),
        )
        config = artifact.DiskConfig(
            format=found["format"],
            digest=found["file_digest"],
            size=found["file_size"],
            virtual_size=found["virtual_size"],
            architecture=asked.architecture,
            created=configs.now(),
        )
        hold.blob(found["digest"])
        store.blobs.adopt(place / "blob", found["digest"])
        reach("disk.blob")
        content = msgspec.json.encode(config)
        blob = Descriptor(artifact.MEDIA_TYPES[config.format], found["digest"], found["size"])
        image = await record(store, hold, content, blob, asked.names)
    for name in asked.names:
        store.publish("tag", image, name.familiar())
    store.publish("import", image)
    return image


async def bring(store: Store, content: bytes, blob: Path, descriptor: Descriptor) -> None:
    """Let a file be the blob of the disk with this configuration; the caller holds it.

    What is in the store already is read again where its configuration is a new one. Raises
    `InvalidArgument` if it is not what configuration and descriptor say, `NoSpace`, `HostError`.
    """
    config = await asyncio.to_thread(artifact.decode, content)
    if artifact.MEDIA_TYPES[config.format] != descriptor.media_type:
        raise InvalidArgument(
            f"invalid manifest of a disk: {descriptor.media_type}, where its configuration says"
            f" {config.format}"
        )
    there = descriptor.digest in store.blobs
    if there and digest_of(content) in store.images:
        return
    found = await run_child(
        _READER,
        *("-", descriptor.media_type),
        source=store.blobs.path(descriptor.digest) if there else blob,
        what=f"cannot take in the disk {descriptor.digest}",
        told=lambda _: None,
    )
    if found["digest"] != descriptor.digest:
        raise InvalidArgument(f"disk {descriptor.digest} has the digest {found['digest']}")
    real = (found["file_digest"], found["file_size"], found["virtual_size"])
    if real != (config.digest, config.size, config.virtual_size):
        raise InvalidArgument(
            f"disk {descriptor.digest} is {real[0]} of {real[1]} bytes, showing {real[2]}, where"
            f" its configuration says {config.digest} of {config.size}, showing"
            f" {config.virtual_size}"
        )
    if not there:
        store.blobs.adopt(blob, descriptor.digest)
    reach("disk.blob")


async def record(
    store: Store, hold: Hold, content: bytes, blob: Descriptor, names: Sequence[Reference]
) -> Image:
    """Let there be the image of a configuration, whose blob is in the store."""
    image_id = await store.blobs.add(content)
    hold.blob(image_id)
    reach("disk.config")
    image = await store.keep(artifact.image(content, image_id, blob.digest, blob.size), names)
    reach("disk.recorded")
    return image


async def export(store: Store, disk: Disk) -> AsyncGenerator[bytes, None]:
    """Give the disk's file. Raises `NotFound`, and at the end `HostError` if it is damaged."""
    with store.hold() as hold:
        hold.blob(disk.digest)
        blocks = store.blobs.blocks(disk.digest)
        if disk.format == formats.RAW:
            blocks = store.blobs.undone(disk.digest, disk.file_digest)
        async with contextlib.aclosing(blocks):
            async for block in blocks:
                yield block
