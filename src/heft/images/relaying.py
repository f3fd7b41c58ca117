"""Images from and to registries as archives, past the store: `image cp` between other places.

Blobs pass as they are, and none is unpacked. What a registry gives is checked as it passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import tarfile
from typing import TYPE_CHECKING

import msgspec

from heft.errors import NotSupported
from heft.images import archive, configs
from heft.images.archive import Descriptor, Index, Manifest
from heft.images.compression import Compression
from heft.images.disks import artifact
from heft.images.intake import STORABLE
from heft.images.loading import compression_of, only_one, spooled
from heft.images.pushing import reader
from heft.images.registry import manifests
from heft.images.registry.client import Registry, wrong_digest
from heft.images.saving import LAYOUT_VERSION, blob_path, header, named

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from heft.images.archive import Archive, ArchivedImage
    from heft.images.importing import Progress
    from heft.images.pulling import Pulling
    from heft.images.reference import Reference
    from heft.images.registry.credentials import Credentials
    from heft.images.registry.manifests import Document
    from heft.images.registry.web import Web
    from heft.images.store import Store

_SHORT = 12


async def fetch(
    pulling: Pulling, name: Reference, credentials: Credentials
) -> AsyncGenerator[bytes, None]:
    """Give what a registry has for this host's platform, as an OCI layout in a tar.

    Raises as `Pulling.pull`, here; later `InvalidArgument` and `HostError`.
    """
    registry, document = await pulling.find(name, credentials)
    document, _ = await pulling.for_platform(registry, document, "")
    manifest = await asyncio.to_thread(manifests.manifest, document)
    return _archive(registry, document, manifest, name)


async def _archive(
    registry: Registry, document: Document, manifest: Manifest, name: Reference
) -> AsyncGenerator[bytes, None]:
    kind = archive.DISK_TYPE if manifest.config.media_type == artifact.CONFIG_TYPE else ""
    listed = Descriptor(
        document.media_type, document.digest, len(document.content), named(name), {}, kind
    )
    index = Index(schema_version=2, media_type=archive.INDEX_TYPES[0], manifests=[listed])
    for path, content in (
        (archive.LAYOUT, LAYOUT_VERSION),
        (archive.INDEX, msgspec.json.encode(index)),
        (blob_path(document.digest), document.content),
    ):
        yield header(path, len(content)) + content + bytes(-len(content) % tarfile.BLOCKSIZE)
    blobs = {each.digest: each.size for each in (manifest.config, *manifest.layers)}
    for digest, size in blobs.items():
        yield header(blob_path(digest), size)
        hashed = hashlib.sha256()
        async with contextlib.aclosing(registry.blob(digest, size)) as blocks:
            async for block in blocks:
                hashed.update(block)
                yield block
        if (came := f"sha256:{hashed.hexdigest()}") != digest:
            raise wrong_digest(registry.endpoint, digest, came)
        yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


async def send(
    store: Store,
    web: Web,
    source: AsyncIterator[bytes],
    name: Reference,
    credentials: Credentials,
    progress: Progress,
) -> str:
    """Bring the one image of an archive to a registry under a name; give its manifest's digest.

    Raises `InvalidArgument` for what is no such archive, else as `Pushing.push`.
    """
    with store.layers.workplace() as place:
        found, directory = await spooled(place, source, progress)
        image = only_one(await asyncio.to_thread(found.images), name)
        registry = Registry(web, web.configuration().primary(name), credentials, push=True)
        content, kind = await asyncio.to_thread(_manifest, found, image, directory)
        for file in dict.fromkeys((*image.layers, image.config)):
            part = file.digest.removeprefix("sha256:")[:_SHORT]
            if await registry.has_blob(file.digest):
                progress(part, "Layer already exists", 0, 0)
                continue

            def told(done: int, part: str = part, size: int = file.size) -> None:
                progress(part, "Pushing", done, size)

            blocks = reader(directory / str(file.number))
            await registry.push_blob(file.digest, file.size, blocks, told)
            progress(part, "Pushed", 0, 0)
        return await registry.put_manifest(name.tag, content, kind)


def _manifest(found: Archive, image: ArchivedImage, directory: Path) -> tuple[bytes, str]:
    """Give the manifest that the archive has, else one of the same blobs; and its media type."""
    if image.manifest is not None:
        content = found.read(image.manifest)
        kept = configs.decode_json(content, Manifest, "image manifest")
        return content, kept.media_type or archive.MANIFEST_TYPES[0]
    layers = []
    for file in image.layers:
        compression = compression_of(directory / str(file.number))
        if compression not in STORABLE:
            raise NotSupported(
                f"registries have no layers that are compressed with {compression}",
                hint="`heft load` and `heft push` compress it anew",
            )
        plain = compression is Compression.NONE
        kind = configs.LAYER_TYPE if plain else f"{configs.LAYER_TYPE}+{compression}"
        layers.append(Descriptor(kind, file.digest, file.size))
    config = Descriptor(configs.CONFIG_TYPE, image.config.digest, image.config.size)
    made = Manifest(
        schema_version=2, media_type=archive.MANIFEST_TYPES[0], config=config, layers=layers
    )
    return msgspec.json.encode(made), archive.MANIFEST_TYPES[0]
