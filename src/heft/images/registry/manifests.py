"""What a registry says an image consists of: manifests, and indexes of them by platform.

OCI image-spec (manifest.md, image-index.md) and Docker's image manifest version 2, schema 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import InvalidArgument, NotFound, NotSupported
from heft.images import configs, platforms
from heft.images.archive import INDEX_TYPES, MANIFEST_TYPES, Descriptor, Index, Manifest
from heft.images.disks import artifact
from heft.images.layers import MOST_LAYERS
from heft.images.reference import is_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST = 4 << 20
"""Bytes of a manifest (OCI distribution-spec, "Pushing manifests")."""
ACCEPTED = (*MANIFEST_TYPES, *INDEX_TYPES)
LAYER_TYPES = frozenset(
    f"{base}{suffix}"
    for base, suffixes in {
        "application/vnd.oci.image.layer.v1.tar": ("", "+gzip", "+zstd"),
        "application/vnd.docker.image.rootfs.diff.tar": ("", ".gzip", ".zstd"),
    }.items()
    for suffix in suffixes
)
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"
_FOREIGN = ("foreign", "nondistributable")


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or an index as it came: its bytes, and the digest of them."""

    content: bytes
    media_type: str
    digest: str

    @property
    def is_index(self) -> bool:
        """Say whether it is about several platforms."""
        return self.media_type in INDEX_TYPES

    def descriptor(self) -> Descriptor:
        """Give what others know it by."""
        return Descriptor(self.media_type, self.digest, len(self.content))


def media_type_of(content: bytes, header: str) -> str:
    """Tell what a document is: it says so itself, or the header does. Raises `InvalidArgument`."""
    head = configs.decode_json(content, dict, "manifest")
    media_type = head.get("mediaType") or header.partition(";")[0].strip()
    if not isinstance(media_type, str):
        raise InvalidArgument("invalid manifest: its media type is no text")
    if media_type.startswith(_SCHEMA_1) or head.get("schemaVersion") == 1:
        raise NotSupported(
            "the image is in Docker's first format (schema 1), which nobody reads any more",
            hint="`docker pull` and `docker push` of a version before 26 convert it",
        )
    if media_type not in ACCEPTED:
        raise NotSupported(f"unsupported manifest of media type {media_type!r}")
    return media_type


def index(document: Document) -> Index:
    """Read an index. Raises `InvalidArgument`."""
    return configs.decode_json(document.content, Index, "image index")


def manifest(document: Document) -> Manifest:
    """Read the manifest of an image, or a disk image. Raises `InvalidArgument`, `NotSupported`."""
    read = configs.decode_json(document.content, Manifest, "image manifest")
    if read.config.media_type == artifact.CONFIG_TYPE:
        _check(read.config, artifact.LARGEST_CONFIG)
        _check(artifact.only_blob(read.layers), 1 << 62)
        return read
    if read.config.media_type not in configs.CONFIG_TYPES:
        raise artifact.unknown(read.config.media_type)
    if len(read.layers) > MOST_LAYERS:
        raise InvalidArgument(
            f"invalid image manifest: {len(read.layers)} layers", hint=f"at most {MOST_LAYERS}"
        )
    _check(read.config, configs.LARGEST)
    for layer in read.layers:
        if any(word in layer.media_type for word in _FOREIGN):
            raise NotSupported(
                f"layer {layer.digest} is foreign ({layer.media_type}): registries do not have it"
            )
        if layer.media_type not in LAYER_TYPES:
            raise NotSupported(
                f"layer {layer.digest} has the unsupported media type {layer.media_type!r}"
            )
        _check(layer, 1 << 62)
    return read


def _check(descriptor: Descriptor, most: int) -> None:
    if not is_digest(descriptor.digest):
        raise InvalidArgument(f"invalid image manifest: digest {descriptor.digest[:100]!r}")
    if not 0 <= descriptor.size <= most:
        raise InvalidArgument(
            f"invalid image manifest: {descriptor.digest} of {descriptor.size} bytes"
        )


def choose(found: Index, platform: str) -> Descriptor:
    """Choose the image for a platform, this host's if it is empty. Raises `NotFound`."""
    wanted = platforms.parse(platform)
    chosen = found.best(wanted)
    if chosen is None:
        there = ", ".join(dict.fromkeys(str(platforms.of(each.platform)) for each in found.images))
        raise NotFound(
            f"no matching manifest for {wanted} in the manifest list entries",
            hint=f"there are: {there[:500]}",
        )
    _check(chosen, LARGEST)
    return chosen


def platforms_of(found: Index) -> Sequence[dict[str, object]]:
    """Give the platforms that an index has images for, in its words."""
    return [each.platform for each in found.images]
