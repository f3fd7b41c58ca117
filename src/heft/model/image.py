"""Images as Heft knows them: an OCI image's identity, configuration and layers."""

from __future__ import annotations

import msgspec

from heft.model.config import Config


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable set of file changes.

    `diff_id` is the digest of the uncompressed tar, `digest` that of the blob as stored (the same
    where the blob is not compressed), `size` the blob's bytes, `media_type` an OCI one.
    """

    diff_id: str
    digest: str
    size: int
    media_type: str


class History(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a layer came to be (OCI image-spec, config.md, `history`)."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """A disk image (`heft.images.disks`).

    `digest`, `size` and `media_type` are those of the blob as stored; `file_digest` and `file_size`
    those of the disk's file, which is in `format`; `virtual_size` that of the disk in it. Bytes.
    """

    format: str
    digest: str
    size: int
    media_type: str
    file_digest: str
    file_size: int
    virtual_size: int


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """One image in the store.

    `id` is the digest of the configuration blob (`sha256:…`); `created` is RFC 3339;
    `size` the bytes of the layers when applied; `layers` go from the lowest up.
    """

    id: str
    created: str
    architecture: str
    os: str
    variant: str = ""
    author: str = ""
    comment: str = ""
    config: Config
    layers: tuple[Layer, ...] = ()
    history: tuple[History, ...] = ()
    size: int = 0
    manifest: str = ""
    """The digest of the manifest that it was first pulled with; none where it never was."""
    tagged: int = 0
    """When a name was last given to it, nanoseconds since 1970."""
    disk: Disk | None = None
    """What a disk image has in place of layers: it is an image to be kept and passed on only."""

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """Give the digests of the layers' tars, from the lowest up."""
        return tuple(layer.diff_id for layer in self.layers)

    @property
    def blobs(self) -> tuple[str, ...]:
        """Give the digests of all blobs: configuration, manifest, and what these are about."""
        content = (self.disk.digest,) if self.disk else (layer.digest for layer in self.layers)
        manifest = (self.manifest,) if self.manifest else ()
        return (self.id, *manifest, *content)

    @property
    def kind(self) -> str:
        """Give `image`, or `disk/FORMAT`."""
        return f"disk/{self.disk.format}" if self.disk else "image"

    @property
    def platform(self) -> str:
        """Give `os/architecture[/variant]`."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
