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
    tagged: int = 0
    """When a name was last given to it, nanoseconds since 1970."""

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """Give the digests of the layers' tars, from the lowest up."""
        return tuple(layer.diff_id for layer in self.layers)

    @property
    def platform(self) -> str:
        """Give `os/architecture[/variant]`."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
