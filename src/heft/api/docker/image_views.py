"""Images as the API shows them, and which a list shows."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from heft.api import filters as f
from heft.api import times

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from heft.api.filters import Filters
    from heft.api.versions import Version
    from heft.images.archive import Descriptor
    from heft.model.image import Disk, Image

KNOWN = frozenset("before dangling label label! reference since until".split())
PRUNE_KNOWN = frozenset("dangling label label! until".split())


def created_seconds(image: Image) -> int:
    """Give when it was made, seconds since 1970; 0 where it does not say."""
    try:
        return int(datetime.datetime.fromisoformat(image.created).timestamp())
    except ValueError:
        return 0


def row(
    image: Image, tags: Sequence[str], digests: Sequence[str], users: int, version: Version
) -> dict[str, Any]:
    """Give an image's row in a list; `users` is how many machines run it."""
    shown = {
        "Id": image.id,
        "ParentId": "",
        "RepoTags": list(tags),
        "RepoDigests": list(digests),
        "Created": created_seconds(image),
        "Size": image.size,
        "SharedSize": -1,
        "Labels": image.config.labels or None,
        "Containers": users,
        "Kind": image.kind,
    }
    if version < (1, 43) and not (tags or digests):
        shown["RepoTags"], shown["RepoDigests"] = ["<none>:<none>"], ["<none>@<none>"]
    if version < (1, 44):
        shown["VirtualSize"] = image.size
    return shown


def manifest(
    image: Image, descriptor: Descriptor, content: int, users: Sequence[str]
) -> dict[str, Any]:
    """Give what a list shows of an image's manifest, of which each image here has one.

    `content` is the bytes of its blobs, `users` the machines that run it.
    """
    platform = {"os": image.os, "architecture": image.architecture}
    about = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    return {
        "ID": descriptor.digest,
        "Descriptor": about,
        "Available": True,
        "Size": {"Content": content, "Total": content + image.size},
        "Kind": "image",
        "ImageData": {
            "Platform": platform | ({"variant": image.variant} if image.variant else {}),
            "Containers": list(users),
            "Size": {"Unpacked": image.size},
        },
    }


def view(
    image: Image, tags: Sequence[str], digests: Sequence[str], version: Version
) -> dict[str, Any]:
    """Give the answer of `GET /images/{name}/json`."""
    shown = {
        "Id": image.id,
        "RepoTags": list(tags),
        "RepoDigests": list(digests),
        "Parent": "",
        "Comment": image.comment,
        "Created": image.created,
        "DockerVersion": "",
        "Author": image.author,
        "Config": config(image),
        "Architecture": image.architecture,
        "Os": image.os,
        "Size": image.size,
        "GraphDriver": {"Name": "overlay2", "Data": None},
        "RootFS": {"Type": "layers", "Layers": [layer.diff_id for layer in image.layers]},
        "Metadata": {"LastTagTime": times.text(image.tagged)},
    }
    if image.variant:
        shown["Variant"] = image.variant
    if image.disk is not None:
        shown["Disk"] = disk(image.disk)
    if version < (1, 44):
        shown["VirtualSize"] = image.size
    # Gone from Docker's answer with 1.45, which Compose 1.29 does not know: it fails without.
    shown["ContainerConfig"] = {"Volumes": image.config.volumes or None}
    if version < (1, 45):
        shown["Container"] = ""
    return shown


def disk(of: Disk) -> dict[str, Any]:
    """Give what a disk image is, for which Docker has no word; sizes are bytes."""
    return {
        "Format": of.format,
        "VirtualSize": of.virtual_size,
        "Size": of.file_size,
        "Digest": of.file_digest,
        "Blob": {"MediaType": of.media_type, "Digest": of.digest, "Size": of.size},
    }


def config(image: Image) -> dict[str, Any]:
    """Give its settings; what is not set is null or left out."""
    shown: dict[str, Any] = msgspec.to_builtins(image.config)
    for name in ("ExposedPorts", "Healthcheck", "StopSignal", "StopTimeout", "Shell"):
        if not shown[name]:
            del shown[name]
    shown.pop("NetworkDisabled")
    for name in ("Volumes", "OnBuild", "Labels"):
        shown[name] = shown[name] or None
    return shown


def select(
    images: Sequence[Image],
    wanted: Filters,
    *,
    tags: Callable[[str], Sequence[str]],
    resolve: Callable[[str], Image],
    now: int,
) -> list[Image]:
    """Give the images, which come newest first, that a list shows."""
    dangling = f.flag(wanted, "dangling")
    shown = [
        image
        for image in images
        if f.labels_fit(image.config.labels, wanted)
        and (dangling is None or dangling != bool(tags(image.id)))
        and _has_reference(tags(image.id), wanted.get("reference"))
    ]
    for reference in wanted.get("before", []):
        created = created_seconds(resolve(reference))
        shown = [image for image in shown if created_seconds(image) < created]
    for reference in wanted.get("since", []):
        created = created_seconds(resolve(reference))
        shown = [image for image in shown if created_seconds(image) > created]
    for moment in wanted.get("until", []):
        until = times.parse(moment, now=now) // times.SECOND
        shown = [image for image in shown if created_seconds(image) <= until]
    return shown


def _has_reference(tags: Sequence[str], wanted: Sequence[str] | None) -> bool:
    """Match `repository` or `repository:tag` patterns, as distribution's FamiliarMatch does."""
    if wanted is None:
        return True
    return any(
        f.like(pattern, tag) or f.like(pattern, tag.rpartition(":")[0])
        for pattern in wanted
        for tag in tags
    )
