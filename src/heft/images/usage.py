"""What images take up on the disk, and how much of it they share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.images.bases import chain_of
from heft.images.layers import chain_ids

if TYPE_CHECKING:
    from heft.images.store import Store


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one image takes up, in bytes: its layers as applied, and its base if it has been made.

    `shared` is what another image has too, `base` the base alone.
    """

    size: int
    shared: int
    base: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What all layers and bases take up, those too that only machines have; and by image id."""

    size: int
    images: dict[str, Footprint]


def measure(store: Store) -> Usage:
    """Add up what was measured when layers and bases were made."""
    layers = {record.chain: record.size for record in store.layers}
    bases = {record.chain: record.allocated for record in store.bases}
    chains = {image.id: chain_ids(image.diff_ids) for image in store.images.values()}
    tops = {image.id: chain_of(image.diff_ids) for image in store.images.values()}
    users = Counter(chain for each in chains.values() for chain in each)
    shown = Counter(tops.values())

    def footprint(image_id: str) -> Footprint:
        base = bases.get(tops[image_id], 0)
        shared = sum(layers.get(chain, 0) for chain in chains[image_id] if users[chain] > 1)
        return Footprint(
            size=sum(layers.get(chain, 0) for chain in chains[image_id]) + base,
            shared=shared + (base if shown[tops[image_id]] > 1 else 0),
            base=base,
        )

    total = sum(layers.values()) + sum(bases.values())
    return Usage(total, {image_id: footprint(image_id) for image_id in chains})
