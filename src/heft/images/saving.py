"""`save`: images as one tar that Docker (old and new) loads and OCI tools read.

It is an OCI layout with Docker's `manifest.json` and `repositories` beside it, as Docker has
written it since version 25. The same images give the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from heft.errors import HeftError, HostError
from heft.images import archive, configs
from heft.images.archive import Descriptor, Index, Manifest, ManifestItem
from heft.images.compression import Compression
from heft.images.disks import artifact
from heft.images.layers import chain_ids
from heft.images.reference import Reference

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from heft.images.store import Store
    from heft.model.image import Disk, Image, Layer

LAYOUT_VERSION = b'{"imageLayoutVersion":"1.0.0"}'
"""What the file `oci-layout` says (image-spec, image-layout.md)."""
_BLOCK = 1 << 20
_ZSTD = f"+{Compression.ZSTD}"


@dataclass
class Selection:
    """Images to save, each with the names that it is to have."""

    names: dict[str, list[Reference]] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)

    def add(self, image: Image, names: Sequence[Reference] = ()) -> None:
        """Add an image, and names to it."""
        self.images[image.id] = image
        known = self.names.setdefault(image.id, [])
        known.extend(name for name in names if name not in known)


def select(store: Store, resolve: Callable[[str], Image], references: Sequence[str]) -> Selection:
    """Find the images; a repository without tag means all its tags. Raises `NotFound`."""
    selection = Selection()
    for text in references:
        name = _name(text)
        if name and not name.tag and not name.digest and (tags := _tags(store, name)):
            for each in tags:
                selection.add(store.images[store.names[str(each)]], [each])
        else:
            image = resolve(text)
            selection.add(image, [name] if name and name.tag and str(name) in store.names else [])
    return selection


def _tags(store: Store, repository: Reference) -> list[Reference]:
    names = map(Reference.parse, sorted(store.names))
    return [name for name in names if name.tag and name.name == repository.name]


def _name(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except HeftError:
        return None


async def save(store: Store, selection: Selection) -> AsyncGenerator[bytes, None]:
    """Give the tar. Raises `HostError` when a blob turns out to be damaged."""
    with store.hold() as hold:
        for image in selection.images.values():
            for digest in image.blobs:
                hold.blob(digest)
        contents = _Contents(store)
        for image in selection.images.values():
            await contents.add(image, selection.names[image.id])
        yield _directory("blobs") + _directory("blobs/sha256")
        for path, part in sorted(contents.parts.items()):
            yield header(path, part.size)
            async with contextlib.aclosing(part.blocks()) as blocks:
                async for block in blocks:
                    yield block
            yield bytes(-part.size % tarfile.BLOCKSIZE)
        for path, text in contents.documents():
            yield header(path, len(text)) + text + bytes(-len(text) % tarfile.BLOCKSIZE)
        yield bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True, slots=True)
class _Part:
    """A blob to be written: from the store, decompressed for it, or given."""

    size: int
    blocks: Callable[[], AsyncGenerator[bytes, None]]


class _Contents:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.parts: dict[str, _Part] = {}
        self._index: list[Descriptor] = []
        self._manifest: list[ManifestItem] = []
        self._repositories: dict[str, dict[str, str]] = {}

    async def add(self, image: Image, names: Sequence[Reference]) -> None:
        blobs = self._store.blobs
        if image.disk is not None:
            self._add_disk(image, image.disk, names)
            return
        chains = chain_ids([layer.diff_id for layer in image.layers])
        layers = [
            self._layer(layer, chain) for layer, chain in zip(image.layers, chains, strict=True)
        ]
        config = Descriptor(configs.CONFIG_TYPE, image.id, blobs.size(image.id))
        self._stored(image.id)
        manifest = Manifest(
            schema_version=2,
            media_type=archive.MANIFEST_TYPES[0],
            config=config,
            layers=layers,
        )
        platform = {"architecture": image.architecture, "os": image.os}
        if image.variant:
            platform["variant"] = image.variant
        self._list(msgspec.json.encode(manifest), names, platform)
        self._manifest.append(
            ManifestItem(
                blob_path(image.id),
                [blob_path(layer.digest) for layer in layers],
                [name.familiar() for name in names],
            )
        )
        for name in names:
            if layers:
                tags = self._repositories.setdefault(name.familiar_name, {})
                tags[name.tag] = layers[-1].digest.removeprefix("sha256:")

    def _add_disk(self, image: Image, disk: Disk, names: Sequence[Reference]) -> None:
        """Add a disk image, which is in the index alone: Docker has no word for it."""
        for digest in image.blobs:
            self._stored(digest)
        size = self._store.blobs.size(image.id)
        content = artifact.manifest(disk, Descriptor(artifact.CONFIG_TYPE, image.id, size))
        self._list(content, names, {}, archive.DISK_TYPE)

    def _list(
        self, manifest: bytes, names: Sequence[Reference], platform: dict[str, str], kind: str = ""
    ) -> None:
        """Add a manifest, and to the index for each of its names; `kind`: an artifact's."""
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        self.parts[blob_path(digest)] = _Part(len(manifest), lambda: _once(manifest))
        media_type, size = archive.MANIFEST_TYPES[0], len(manifest)
        for called in [named(name) for name in names] or [{}]:
            self._index.append(Descriptor(media_type, digest, size, called, platform, kind))

    def _layer(self, layer: Layer, chain: str) -> Descriptor:
        """Add a layer's blob; one that Docker 20 could not decompress is written plain."""
        if not layer.media_type.endswith(_ZSTD):
            self._stored(layer.digest)
            return Descriptor(layer.media_type, layer.digest, layer.size)
        record = self._store.layers.get(chain)
        if record is None:
            raise HostError(f"layer {layer.diff_id} is missing from the store")
        blobs = self._store.blobs
        self.parts[blob_path(layer.diff_id)] = _Part(
            record.plain_size, lambda: blobs.undone(layer.digest, layer.diff_id)
        )
        return Descriptor(configs.LAYER_TYPE, layer.diff_id, record.plain_size)

    def _stored(self, digest: str) -> None:
        blobs = self._store.blobs
        self.parts[blob_path(digest)] = _Part(blobs.size(digest), lambda: blobs.blocks(digest))

    def documents(self) -> Iterator[tuple[str, bytes]]:
        index = Index(schema_version=2, media_type=archive.INDEX_TYPES[0], manifests=self._index)
        yield archive.INDEX, msgspec.json.encode(index)
        if self._manifest:
            yield archive.MANIFEST, msgspec.json.encode(self._manifest)
        yield archive.LAYOUT, LAYOUT_VERSION
        if self._manifest:
            yield archive.REPOSITORIES, msgspec.json.encode(self._repositories)


def named(name: Reference) -> dict[str, str]:
    """Give the annotations that are a name in an index."""
    return {archive.IMAGE_NAME: str(name), archive.REF_NAME: name.tag}


def blob_path(digest: str) -> str:
    """Give where a layout has a blob."""
    return archive.BLOBS + digest.removeprefix("sha256:")


async def _once(content: bytes) -> AsyncGenerator[bytes, None]:
    yield content


def header(path: str, size: int) -> bytes:
    """Give what stands before a file in a tar."""
    info = tarfile.TarInfo(path)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def _directory(path: str) -> bytes:
    info = tarfile.TarInfo(path)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info.tobuf(tarfile.USTAR_FORMAT)
