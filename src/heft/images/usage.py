"""What images take up on the disk, and how much of it they share.

It is measured when it is asked for, in blocks of the disk: layers as they are unpacked, with their
directories; blobs as they came in; bases. So the sum is what du(1) says of the store.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import ToolFailed
from heft.host.processes import run
from heft.images.bases import chain_of
from heft.images.layers import chain_ids

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.images.store import Store
    from heft.model.image import Image

_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one image takes up, in bytes: its blobs, its layers, and its base if it has been made.

    `shared` is what another image has too, `base` the base alone.
    """

    size: int
    shared: int
    base: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What the whole store takes up, also what only machines have, or no image yet; and images."""

    size: int
    images: dict[str, Footprint]


async def measure(store: Store) -> Usage:
    """Measure what there is; what comes or goes meanwhile is counted or not. Raises `HostError`."""
    images = tuple(store.images.values())
    taken = await asyncio.to_thread(_blobs, store, {d for image in images for d in image.blobs})
    total, directories = await _directories(store)
    taken |= {layer.chain: directories.get(layer.directory, 0) for layer in store.layers}
    bases = {f"base {base.chain}": base.allocated for base in store.bases}
    taken |= bases
    parts = {image.id: _parts(image) for image in images}
    users = Counter(part for each in parts.values() for part in each)

    def footprint(image_id: str) -> Footprint:
        own = {part: taken.get(part, 0) for part in parts[image_id]}
        return Footprint(
            size=sum(own.values()),
            shared=sum(size for part, size in own.items() if users[part] > 1),
            base=sum(size for part, size in own.items() if part in bases),
        )

    return Usage(total, {image_id: footprint(image_id) for image_id in parts})


def _parts(image: Image) -> set[str]:
    """Give the names of all that an image consists of, each once."""
    # A plain layer's diff id, its blob's digest and its chain id can be one: three things.
    parts = {f"blob {digest}" for digest in image.blobs}
    if image.disk is None:
        parts |= {*chain_ids(image.diff_ids), f"base {chain_of(image.diff_ids)}"}
    return parts


def _blobs(store: Store, digests: Iterable[str]) -> dict[str, int]:
    return {f"blob {digest}": store.blobs.taken(digest) for digest in digests}


async def _directories(store: Store) -> tuple[int, dict[str, int]]:
    """Give what the whole store takes up, and each layer's directory by its name."""
    root = store.place.parent
    command = ("du", "--block-size=1", "--max-depth=2", "--", str(root))
    # That something went while it looked is an error to du.
    done = await run(*command, check=False, seconds=_SECONDS)
    lines = (line.partition("\t") for line in os.fsdecode(done.stdout).splitlines())
    sizes = {path: int(size) for size, _, path in lines}
    if str(root) not in sizes:
        raise ToolFailed(command, done.status, os.fsdecode(done.stderr))
    layers = f"{root}/layers/"
    found = {path.removeprefix(layers): sizes[path] for path in sizes if path.startswith(layers)}
    return sizes[str(root)], found
