"""Configurations of images: the JSON of the OCI image specification (config.md), which is Docker's.

An image's id is the digest of this JSON, so what came in is kept as it is, byte by byte; what Heft
writes itself has sorted keys and leaves out what is empty.
"""

from __future__ import annotations

import datetime
import time
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from heft.errors import InvalidArgument
from heft.images import platforms
from heft.images.reference import is_digest
from heft.model.config import Config
from heft.model.image import History, Image, Layer

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST = 8 << 20
"""Bytes of a configuration, a manifest or an index."""

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
CONFIG_TYPES = frozenset({CONFIG_TYPE, "application/vnd.docker.container.image.v1+json"})
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
STRING_OR_LIST = frozenset({"Cmd", "Entrypoint", "Shell"})
"""Lists that old Docker wrote as one string (moby, api/types/strslice)."""
T = TypeVar("T")


class RootFS(msgspec.Struct, frozen=True):
    """The layers, from the lowest up, by the digests of their tars."""

    type: str = "layers"
    diff_ids: list[str] = []


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that mean something to Heft."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    created: str = ""
    author: str = ""
    comment: str = ""
    config: Config = Config()
    rootfs: RootFS = RootFS()
    history: list[History] = []

    @property
    def platform(self) -> platforms.Platform:
        """Give what it is for."""
        return platforms.normalize(self.os, self.architecture, self.variant)

    def check_system(self) -> None:
        """Refuse what no machine can be made of. Raises `InvalidArgument`."""
        if self.platform.system not in ("", "linux"):
            raise InvalidArgument(f"image operating system {self.os!r} cannot be used on this host")

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """Give the digests of the layers' tars, from the lowest up."""
        return tuple(self.rootfs.diff_ids)

    def image(self, image_id: str, layers: Sequence[Layer], size: int) -> Image:
        """Give the image that has this configuration; its platform in the words of all others."""
        named = self.platform
        other = named.architecture != self.architecture.lower()
        return Image(
            id=image_id,
            created=self.created,
            architecture=named.architecture,
            os=named.system,
            variant=self.variant.lower() or (named.variant if other else ""),
            author=self.author,
            comment=self.comment,
            config=self.config,
            layers=tuple(layers),
            history=tuple(self.history),
            size=size,
        )


def decode(content: bytes) -> ImageConfig:
    """Read a configuration. Raises `InvalidArgument`."""
    config = decode_json(content, ImageConfig, "image configuration")
    if config.rootfs.type != "layers":
        raise InvalidArgument(f"invalid image configuration: rootfs type {config.rootfs.type!r}")
    for diff_id in config.diff_ids:
        if not is_digest(diff_id):
            raise InvalidArgument(f"invalid image configuration: diff id {diff_id!r}")
    return config


def decode_json(content: bytes, kind: type[T], what: str) -> T:
    """Read JSON as Go does: `null` is the same as absent. Raises `InvalidArgument`."""
    try:
        return msgspec.convert(_tidy(msgspec.json.decode(content)), kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"invalid {what}: {error}") from error


def _tidy(value: Any) -> Any:
    if isinstance(value, dict):
        tidy = {key: _tidy(each) for key, each in value.items() if each is not None}
        for name in STRING_OR_LIST & tidy.keys():
            if isinstance(tidy[name], str):
                tidy[name] = [tidy[name]]
        return tidy
    if isinstance(value, list):
        return [_tidy(each) for each in value]
    return value


def encode(config: ImageConfig) -> bytes:
    """Write a configuration."""
    written = _without_empty(msgspec.to_builtins(config))
    written["rootfs"] = {"type": "layers", "diff_ids": config.rootfs.diff_ids}
    return msgspec.json.encode(written, order="sorted")


def _without_empty(value: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_empty(each) if key == "config" else each
        for key, each in value.items()
        if each
    }


def new(
    config: Config,
    *,
    diff_ids: Sequence[str],
    platform: str,
    history: Sequence[History],
    created: str = "",
) -> ImageConfig:
    """Make the configuration of a new image; `created` is now unless it is given."""
    system, architecture, variant = platform_parts(platform)
    return ImageConfig(
        architecture=architecture,
        os=system,
        variant=variant,
        created=created or now(),
        comment=history[-1].comment if history else "",
        config=config,
        rootfs=RootFS(diff_ids=list(diff_ids)),
        history=list(history),
    )


def now() -> str:
    """Give the time as RFC 3339."""
    return text_of(time.time_ns())


def text_of(moment: int) -> str:
    """Give a time, nanoseconds since 1970, as RFC 3339."""
    seconds, fraction = divmod(moment, 10**9)
    text = datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09}Z"


def platform_parts(platform: str) -> tuple[str, str, str]:
    """Give what a configuration says of `os[/arch[/variant]]`; empty is this host's.

    The usual variant of arm64 is written where it was asked for, as Docker does. Raises
    `InvalidArgument`.
    """
    found = platforms.parse(platform)
    given = platform.count("/") == 2 and found.architecture == "arm64"
    return found.system, found.architecture, found.variant or ("v8" if given else "")
