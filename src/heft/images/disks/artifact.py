"""A disk image as registries have it: an artifact of one blob, and a configuration about it.

OCI image-spec 1.1, manifest.md, "Guidelines for Artifact Usage": the manifest of an image, with an
artifact type, a configuration of its own media type, and the content as the one layer. The blob of
a qcow2 or VMDK is the file as it is, that of a raw disk the file compressed with zstd.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from heft.errors import InvalidArgument, NotSupported
from heft.images import configs
from heft.images.archive import DISK_TYPE, MANIFEST_TYPES, Descriptor, Manifest
from heft.images.disks import formats
from heft.images.reference import is_digest
from heft.model.config import Config
from heft.model.image import Disk, Image

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIG_TYPE = "application/vnd.heft.disk.config.v1+json"
MEDIA_TYPES = {
    formats.QCOW2: "application/vnd.heft.disk.qcow2",
    formats.RAW: "application/vnd.heft.disk.raw+zstd",
    formats.VMDK: "application/vnd.heft.disk.vmdk",
}
"""Of the blob, by format."""
LARGEST_CONFIG = 1 << 16
TITLE = "org.opencontainers.image.title"


class DiskConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The configuration: what the disk's file is, whatever form its blob is in.

    `format` is one of `formats.FORMATS`, `digest` and `size` are the file's, `virtual_size` is that
    of the disk in it; bytes. `architecture` is in the words of OCI, `created` RFC 3339.
    """

    format: str
    digest: str
    size: int
    virtual_size: int
    architecture: str
    created: str


def decode(content: bytes) -> DiskConfig:
    """Read a configuration. Raises `InvalidArgument`."""
    config = configs.decode_json(content, DiskConfig, "configuration of a disk")
    if config.format not in MEDIA_TYPES or not is_digest(config.digest):
        raise InvalidArgument(f"invalid configuration of a disk: {config.format!r}")
    if not 0 < config.size <= formats.LARGEST:
        raise InvalidArgument(f"invalid configuration of a disk: {config.size} bytes")
    return config


def image(content: bytes, image_id: str, blob: str, size: int) -> Image:
    """Give the image of a configuration, and of a blob's digest and bytes."""
    config = decode(content)
    disk = Disk(
        format=config.format,
        digest=blob,
        size=size,
        media_type=MEDIA_TYPES[config.format],
        file_digest=config.digest,
        file_size=config.size,
        virtual_size=config.virtual_size,
    )
    return Image(
        id=image_id,
        created=config.created,
        architecture=config.architecture,
        os="",
        config=Config(),
        size=size,
        disk=disk,
    )


def manifest(disk: Disk, config: Descriptor) -> bytes:
    """Give the manifest of a disk, whose configuration this describes."""
    name = f"disk.{disk.format}{'.zst' if disk.format == formats.RAW else ''}"
    return msgspec.json.encode(
        Manifest(
            schema_version=2,
            media_type=MANIFEST_TYPES[0],
            artifact_type=DISK_TYPE,
            config=config,
            layers=[Descriptor(disk.media_type, disk.digest, disk.size, {TITLE: name})],
        )
    )


def unknown(media_type: str) -> NotSupported:
    """Give the error for an artifact of another kind."""
    return NotSupported(
        f"it is an artifact of type {media_type[:100]}, not an image",
        hint="tools of its kind read it",
    )


def only_blob(layers: Sequence[Descriptor]) -> Descriptor:
    """Give the one blob of a disk's manifest. Raises `InvalidArgument`."""
    if len(layers) != 1 or layers[0].media_type not in MEDIA_TYPES.values():
        there = ", ".join(layer.media_type for layer in layers[:3]) or "none"
        raise InvalidArgument(f"invalid manifest of a disk: it has the layers {there}")
    return layers[0]
