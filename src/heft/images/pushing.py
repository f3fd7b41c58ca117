"""`push`: an image goes to a registry, without what is there already.

Blobs go as they are in the store; only a layer that was never compressed is, on its way. So does
the manifest of an image that was pulled: it has the same digest in every registry.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from heft.errors import NotFound
from heft.faults import reach
from heft.images import configs, platforms
from heft.images.archive import MANIFEST_TYPES, Descriptor, Manifest
from heft.images.blobs import digest_of
from heft.images.disks import artifact
from heft.images.intake import BLOCK
from heft.images.packing import pack
from heft.images.reference import Reference
from heft.images.registry import manifests
from heft.images.registry.client import Registry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from pathlib import Path

    from heft.images.importing import Progress
    from heft.images.registry.credentials import Credentials
    from heft.images.registry.web import Web
    from heft.images.store import Hold, Store
    from heft.model.image import Disk, Image, Layer

AT_ONCE = 3
_SHORT = 12


@dataclass(frozen=True, slots=True)
class Pushed:
    """What came of a push: the manifest, and its bytes."""

    tag: str
    digest: str
    size: int


class Pushing:
    """All pushes of one daemon."""

    def __init__(self, store: Store, web: Web) -> None:
        self._store = store
        self._web = web
        self._packed: dict[str, Descriptor] = {}
        """What plain layers of the store were compressed to, which is the same every time."""

    async def push(
        self, name: Reference, credentials: Credentials, progress: Progress, platform: str
    ) -> Pushed:
        """Push the image that has this name, which must be for this platform if there is one.

        Raises `NotFound`, `Unauthorized`, `Forbidden`, `HostError`.
        """
        image = self._store.images.get(self._store.names.get(str(name), ""))
        if image is None:
            raise NotFound(
                f"An image does not exist locally with the tag: {name.familiar_name}",
                hint=f"`heft tag` gives it the name {name.familiar()}",
            )
        named = image.os, image.architecture, image.variant
        if platform and not platforms.is_for(platforms.parse(platform), *named):
            raise NotFound(
                f"image with reference {name.familiar()} was found but its platform"
                f" ({image.platform}) does not match the specified platform ({platform})"
            )
        registry = Registry(
            self._web, self._web.configuration().primary(name), credentials, push=True
        )
        progress("", f"The push refers to repository [{name.name}]", 0, 0)
        self._packed = {k: v for k, v in self._packed.items() if k in self._store.blobs}
        with self._store.hold() as hold:
            if image.disk is None:
                layers = await self._layers(registry, image, name, hold, progress)
            else:
                await self._disk(registry, image, image.disk, hold, progress)
            size = self._store.blobs.size(image.id)
            if not await registry.has_blob(image.id):
                path = self._store.blobs.path(image.id)
                await registry.push_blob(image.id, size, reader(path), lambda _: None)
            reach("push.blob")
            if image.disk is None:
                config = Descriptor(configs.CONFIG_TYPE, image.id, size)
                content = await self._pulled(image, layers) or _manifest(config, layers)
            else:
                config = Descriptor(artifact.CONFIG_TYPE, image.id, size)
                content = artifact.manifest(image.disk, config)
            kind = msgspec.json.decode(content, type=Manifest).media_type or MANIFEST_TYPES[0]
            digest = await registry.put_manifest(name.tag, content, kind)
            reach("push.manifest")
            self._store.record(image, [Reference(name.domain, name.path, digest=digest)])
        self._store.publish("push", image, name.familiar())
        return Pushed(name.tag, digest, len(content))

    async def _pulled(self, image: Image, layers: list[Descriptor]) -> bytes:
        """Give the manifest that an image was pulled with, if it is of these very layers."""
        if not image.manifest or image.manifest not in self._store.blobs:
            return b""
        content = await self._store.blobs.read(image.manifest, manifests.LARGEST)
        pulled = msgspec.json.decode(content, type=Manifest)
        same = [layer.digest for layer in pulled.layers] == [layer.digest for layer in layers]
        return content if same else b""

    async def _disk(
        self, registry: Registry, image: Image, disk: Disk, hold: Hold, progress: Progress
    ) -> None:
        """Push the blob of a disk image, if it is not there."""
        for digest in image.blobs:
            hold.blob(digest)
        part = disk.digest.removeprefix("sha256:")[:_SHORT]
        progress(part, "Preparing", 0, 0)
        if await registry.has_blob(disk.digest):
            progress(part, "Layer already exists", 0, 0)
            return
        await registry.push_blob(
            disk.digest,
            disk.size,
            reader(self._store.blobs.path(disk.digest)),
            lambda done: progress(part, "Pushing", done, disk.size),
        )
        progress(part, "Pushed", 0, 0)

    async def _layers(
        self, registry: Registry, image: Image, name: Reference, hold: Hold, progress: Progress
    ) -> list[Descriptor]:
        """Push all layers that are not there, several at once; give them as a manifest has them."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(layer: Layer) -> Descriptor:
            async with turns:
                return await self._layer(registry, layer, name, progress)

        layers = {layer.digest: layer for layer in image.layers}
        for digest in image.blobs:
            hold.blob(digest)
        for layer in layers.values():
            progress(_part(layer), "Preparing", 0, 0)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {digest: group.create_task(one(each)) for digest, each in layers.items()}
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [tasks[layer.digest].result() for layer in image.layers]

    async def _layer(
        self, registry: Registry, layer: Layer, name: Reference, progress: Progress
    ) -> Descriptor:
        part = _part(layer)
        wanted = Descriptor(layer.media_type, layer.digest, layer.size)
        plain = layer.media_type == configs.LAYER_TYPE
        if plain and layer.digest in self._packed:
            wanted = self._packed[layer.digest]
        if await registry.has_blob(wanted.digest):
            progress(part, "Layer already exists", 0, 0)
            return wanted
        path = self._store.blobs.path(layer.digest)
        with contextlib.ExitStack() as stack:
            if plain:
                place = stack.enter_context(self._store.layers.workplace())
                progress(part, "Compressing", 0, 0)
                digest, size = await pack(path, place / "packed")
                path = place / "packed"
                wanted = Descriptor(f"{configs.LAYER_TYPE}+gzip", digest, size)
                self._packed[layer.digest] = wanted
                if await registry.has_blob(digest):
                    progress(part, "Layer already exists", 0, 0)
                    return wanted
            source = self._neighbour(layer, name)
            mounted = await registry.push_blob(
                wanted.digest,
                wanted.size,
                reader(path),
                lambda done: progress(part, "Pushing", done, wanted.size),
                source.path if source else "",
            )
        said = f"Mounted from {source.path}" if mounted and source else "Pushed"
        progress(part, said, 0, 0)
        return wanted

    def _neighbour(self, layer: Layer, name: Reference) -> Reference | None:
        """Give another repository of the same registry that probably has a layer."""
        for text, image_id in self._store.names.items():
            other = Reference.parse(text)
            if (
                other.digest
                and other.domain == name.domain
                and other.path != name.path
                and (image := self._store.images.get(image_id))
                and layer in image.layers
            ):
                return other
        return None


def _manifest(config: Descriptor, layers: list[Descriptor]) -> bytes:
    return msgspec.json.encode(
        Manifest(schema_version=2, media_type=MANIFEST_TYPES[0], config=config, layers=layers)
    )


def manifest_of(image: Image, sizes: Mapping[str, int]) -> tuple[Descriptor, int]:
    """Give an image's manifest, and the bytes of it and of all blobs; `sizes` are the blobs'."""
    total = sum(sizes.values())
    if image.manifest:
        return Descriptor(MANIFEST_TYPES[0], image.manifest, sizes[image.manifest]), total
    if image.disk is not None:
        config = Descriptor(artifact.CONFIG_TYPE, image.id, sizes[image.id])
        content = artifact.manifest(image.disk, config)
    else:
        config = Descriptor(configs.CONFIG_TYPE, image.id, sizes[image.id])
        layers = [Descriptor(each.media_type, each.digest, each.size) for each in image.layers]
        content = _manifest(config, layers)
    made = Descriptor(MANIFEST_TYPES[0], digest_of(content), len(content))
    return made, total + len(content)


def _part(layer: Layer) -> str:
    return layer.digest.removeprefix("sha256:")[:_SHORT]


def reader(path: Path) -> Callable[[int, int], AsyncGenerator[bytes, None]]:
    """Let any part of a file be read: so many bytes, from a position on."""

    async def read(at: int, count: int) -> AsyncGenerator[bytes, None]:
        with path.open("rb", buffering=0) as file:
            file.seek(at)
            while count and (block := await asyncio.to_thread(file.read, min(BLOCK, count))):
                count -= len(block)
                yield block

    return read
