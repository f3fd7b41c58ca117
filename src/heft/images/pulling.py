"""`pull`: an image comes in from a registry, or from a mirror of it.

All layers that are missing are fetched at once; each is unpacked as soon as those below it are,
while it and others still arrive. A layer that two pulls need is fetched and unpacked once.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from heft.errors import Forbidden, HeftError, InvalidArgument, NotFound, Unauthorized
from heft.faults import reach
from heft.images import configs, platforms
from heft.images.disks import artifact, keeping
from heft.images.importing import layer_of
from heft.images.layers import chain_ids
from heft.images.registry import manifests
from heft.images.registry.client import Registry
from heft.images.registry.credentials import NOBODY
from heft.images.registry.downloads import Downloads
from heft.images.registry.sharing import Shared

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from heft.images.archive import Descriptor, Manifest
    from heft.images.configs import ImageConfig
    from heft.images.importing import Progress
    from heft.images.piping import Source
    from heft.images.platforms import Platform
    from heft.images.reference import Reference
    from heft.images.registry.credentials import Credentials
    from heft.images.registry.downloads import Download
    from heft.images.registry.manifests import Document
    from heft.images.registry.web import Web
    from heft.images.store import Hold, Store
    from heft.model.image import Image, Layer

_SHORT = 12


@dataclass(frozen=True, slots=True)
class Pulled:
    """What came of a pull. `digest` is that of the manifest, or of the index that names it."""

    image: Image
    name: Reference
    digest: str
    newer: bool


class Pulling:
    """All pulls of one daemon into one store."""

    def __init__(self, store: Store, web: Web) -> None:
        self._store = store
        self._web = web
        self.downloads = Downloads(store.place.parent / "partial", store.trash)
        self._unpacking: Shared[Layer] = Shared()
        self._receiving: Shared[bytes] = Shared()

    async def pull(
        self, name: Reference, platform: str, credentials: Credentials, progress: Progress
    ) -> Pulled:
        """Pull one image; it gets the name.

        Raises `NotFound`, `Forbidden`, `InvalidArgument`, `NotSupported`, `HostError`.
        """
        platforms.parse(platform)
        self.downloads.sweep()
        registry, document = await self.find(name, credentials)
        progress(name.tag or name.digest, f"Pulling from {name.path}", 0, 0)
        found, claimed = await self.for_platform(registry, document, platform)
        manifest = await asyncio.to_thread(manifests.manifest, found)
        names = tuple(dict.fromkeys((name, replace(name, tag="", digest=document.digest))))
        known = self._store.names.get(str(name))
        content = await registry.small_blob(manifest.config.digest, manifest.config.size)
        if manifest.config.media_type == artifact.CONFIG_TYPE:
            image = await self._disk(registry, manifest, content, names, progress)
            self._store.publish("pull", image, name.familiar())
            return Pulled(image, name, document.digest, known != image.id)
        config = await asyncio.to_thread(configs.decode, content)
        _check(manifest, config, platform, claimed)
        with self._store.hold() as hold:
            blobs = self._store.blobs
            while True:
                for each in (content, found.content):
                    hold.blob(await blobs.add(each))
                layers = await self._layers(registry, manifest, config.diff_ids, hold, progress)
                await self._store.settle()
                needed = (manifest.config.digest, found.digest, *(layer.digest for layer in layers))
                if all(digest in blobs for digest in needed):
                    break  # else `fsck --repair` took a damaged one away meanwhile
            reach("pull.config")
            records = map(self._store.layers.get, chain_ids(config.diff_ids))
            size = sum(record.size for record in records if record)
            image = config.image(manifest.config.digest, layers, size)
            image = msgspec.structs.replace(image, manifest=found.digest)
            image = self._store.record(image, names)
            reach("pull.recorded")
        self._store.publish("pull", image, name.familiar())
        return Pulled(image, name, document.digest, known != image.id)

    async def find(self, name: Reference, credentials: Credentials) -> tuple[Registry, Document]:
        """Fetch the manifest from the first place that has it; the last one's error counts.

        That last one is the registry itself: a mirror is told nobody's password.
        """
        endpoints = self._web.configuration().endpoints(name)
        for endpoint in endpoints:
            given = credentials if endpoint is endpoints[-1] else NOBODY
            registry = Registry(self._web, endpoint, given)
            try:
                with explaining(name):
                    return registry, await registry.manifest(name.digest or name.tag)
            except HeftError:
                if endpoint is endpoints[-1]:
                    raise
        raise AssertionError("the registry itself is always there")

    async def for_platform(
        self, registry: Registry, document: Document, platform: str
    ) -> tuple[Document, Platform | None]:
        """Give the manifest for a platform, this host's if it is empty. Raises as `pull`.

        With it comes what an index says that its image is for.
        """
        if not document.is_index:
            return document, None
        index = await asyncio.to_thread(manifests.index, document)
        chosen = manifests.choose(index, platform)
        found = await registry.manifest(chosen.digest)
        if found.is_index:
            raise InvalidArgument("invalid image index: it leads to another one")
        if len(found.content) != chosen.size:
            raise InvalidArgument(
                f"invalid image index: it says that the manifest {chosen.digest} has {chosen.size}"
                f" bytes, which has {len(found.content)}"
            )
        return found, platforms.of(chosen.platform)

    async def _disk(
        self,
        registry: Registry,
        manifest: Manifest,
        content: bytes,
        names: Sequence[Reference],
        progress: Progress,
    ) -> Image:
        """Pull a disk image, which has one blob."""
        (blob,) = manifest.layers
        part = _Part(blob.digest.removeprefix("sha256:")[:_SHORT], progress)
        with self._store.hold() as hold:
            hold.blob(blob.digest)
            if blob.digest in self._store.blobs:
                progress(part.name, "Already exists", 0, 0)
                path = self._store.blobs.path(blob.digest)
                await keeping.bring(self._store, content, path, blob)
            else:
                async with self.downloads.fetching(
                    registry, blob.digest, blob.size, part.downloading
                ) as download:
                    received = await self._receiving.do(
                        blob.digest, lambda: self._receive(download, content, blob, part)
                    )
                if received != content:  # by a pull of the same disk under other words
                    path = self._store.blobs.path(blob.digest)
                    await keeping.bring(self._store, content, path, blob)
                progress(part.name, "Pull complete", 0, 0)
            return await keeping.record(self._store, hold, content, blob, names)

    async def _receive(
        self, download: Download, content: bytes, blob: Descriptor, part: _Part
    ) -> bytes:
        """Let what arrives be the blob of a disk; give the configuration that it has."""
        while blob.digest not in self._store.blobs:
            if await download.is_sound(download.beginnings):
                part.extracting = True
                part.progress(part.name, "Verifying", 0, 0)
                break  # else it is fetched again, a few times
        await keeping.bring(self._store, content, download.path, blob)
        return content

    # Layers

    async def _layers(
        self,
        registry: Registry,
        manifest: Manifest,
        diff_ids: tuple[str, ...],
        hold: Hold,
        progress: Progress,
    ) -> list[Layer]:
        """Make all layers that are missing; they are held."""
        chains = chain_ids(diff_ids)
        for chain, descriptor in zip(chains, manifest.layers, strict=True):
            hold.layer(chain)
            hold.blob(descriptor.digest)
        for diff_id in diff_ids:
            if known := self._store.layer(diff_id):
                hold.blob(known.digest)
        async with contextlib.AsyncExitStack() as stack:
            downloads: dict[str, Download] = {}
            parts: dict[str, _Part] = {}
            for number, descriptor in enumerate(manifest.layers):
                digest = descriptor.digest
                part = parts[digest] = _Part(digest.removeprefix("sha256:")[:_SHORT], progress)
                if self._there(chains[number], diff_ids[number]):
                    progress(part.name, "Already exists", 0, 0)
                elif digest not in downloads and not self._blob(descriptor, diff_ids[number]):
                    progress(part.name, "Pulling fs layer", 0, 0)
                    fetching = self.downloads.fetching(
                        registry, digest, descriptor.size, part.downloading
                    )
                    downloads[digest] = await stack.enter_async_context(fetching)
            return [
                await self._layer(
                    descriptor,
                    diff_ids[: number + 1],
                    downloads.get(descriptor.digest),
                    parts[descriptor.digest],
                    registry,
                )
                for number, descriptor in enumerate(manifest.layers)
            ]

    def _there(self, chain: str, diff_id: str) -> Layer | None:
        """Give a layer that is there already, on the same layers, with its blob."""
        known = self._store.layer(diff_id) if self._store.layers.get(chain) else None
        return known if known and known.digest in self._store.blobs else None

    def _blob(self, descriptor: Descriptor, diff_id: str) -> str:
        """Give the digest of a blob in the store that has this layer; empty if there is none."""
        known = self._store.layer(diff_id)
        if known and known.digest in self._store.blobs:  # `fsck` removes what is damaged
            return known.digest
        return descriptor.digest if descriptor.digest in self._store.blobs else ""

    async def _layer(
        self,
        descriptor: Descriptor,
        diff_ids: tuple[str, ...],
        download: Download | None,
        part: _Part,
        registry: Registry,
    ) -> Layer:
        chain = chain_ids(diff_ids)[-1]
        if known := self._there(chain, diff_ids[-1]):
            return known

        async def unpack() -> Layer:
            if download is not None or self._blob(descriptor, diff_ids[-1]):
                return await self._unpack(descriptor, diff_ids, download, part)
            # It was there when the pull began: `fsck --repair` took it away.
            async with self.downloads.fetching(
                registry, descriptor.digest, descriptor.size, part.downloading
            ) as fetched:
                return await self._unpack(descriptor, diff_ids, fetched, part)

        layer = await self._unpacking.do(f"{chain} {descriptor.digest}", unpack)
        part.progress(part.name, "Pull complete", 0, 0)
        return layer

    async def _unpack(
        self,
        descriptor: Descriptor,
        diff_ids: tuple[str, ...],
        download: Download | None,
        part: _Part,
    ) -> Layer:
        """Make a layer on those below it, and its blob a part of the store."""
        store, below, diff_id = self._store, diff_ids[:-1], diff_ids[-1]

        def told(done: int) -> None:
            part.extracting = True
            part.progress(part.name, "Extracting", min(done, descriptor.size), descriptor.size)

        with store.layers.workplace() as place:
            while True:
                blob = self._blob(descriptor, diff_id)
                beginning = download.beginnings if download else 0
                try:
                    if blob:
                        source: Source = store.blobs.path(blob)
                    else:
                        assert download is not None
                        await download.begun()
                        source = download.path if download.complete else download.blocks()
                    told(0)
                    applied = await store.layers.apply(source, below, place, told)
                    sound = blob or applied.digest == descriptor.digest
                except InvalidArgument:
                    if download is None or blob or await download.is_sound(beginning):
                        raise
                    continue
                if sound or download is None or await download.is_sound(beginning):
                    break
            if applied.record.diff_id != diff_id:
                raise InvalidArgument(
                    f"layer {descriptor.digest} has the diff id {applied.record.diff_id}, where the"
                    f" image's configuration says {diff_id}"
                )
            if download is not None and not blob:
                store.blobs.adopt(download.path, applied.digest)
            reach("pull.blob")
            store.layers.take_over(applied)
            reach("pull.layer")
        return layer_of(diff_id, applied.digest, applied.size, applied.compression)


@dataclass
class _Part:
    """A layer as it is told of: what still arrives is told only until it is unpacked."""

    name: str
    progress: Progress
    extracting: bool = False

    def downloading(self, status: str, done: int, total: int) -> None:
        if not self.extracting:
            self.progress(self.name, status, done, total)


def _check(
    manifest: Manifest, config: ImageConfig, platform: str, claimed: Platform | None
) -> None:
    """Refuse a configuration that is not about the manifest's layers, or not for the platform."""
    expected, there = len(config.diff_ids), len(manifest.layers)
    if expected != there:
        raise InvalidArgument(
            f"invalid manifest, layers length mismatch: the configuration has {expected},"
            f" the manifest {there}"
        )
    config.check_system()
    there_is = config.platform
    if claimed is not None and there_is.architecture and there_is[:2] != claimed[:2]:
        raise InvalidArgument(
            f"invalid image index: it says that the image is for {claimed}, which is for {there_is}"
        )
    named = config.os or "linux", config.architecture, config.variant
    if platform and config.architecture and not platforms.is_for(platforms.parse(platform), *named):
        raise NotFound(
            "image with reference was found but does not provide the specified platform"
            f" ({platform}): it is for {there_is}"
        )


@contextlib.contextmanager
def explaining(name: Reference) -> Iterator[None]:
    """Say what Docker says where what a registry refuses might be a matter of who asks."""
    try:
        yield
    except (Unauthorized, Forbidden) as error:
        if "blocked" in error.message:
            raise
        raise NotFound(
            f"pull access denied for {name.familiar_name}, repository does not exist or may require"
            f" 'docker login': {error}"
        ) from error
    except NotFound as error:
        raise NotFound(f"manifest for {name.familiar()} not found: {error}") from error
