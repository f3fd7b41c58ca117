"""`import`: a tar of a root file system becomes an image of one layer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import InvalidArgument
from heft.faults import reach
from heft.images import configs
from heft.images.changes import apply_changes
from heft.images.reference import Reference
from heft.images.templates import registry
from heft.images.templates.base import choose
from heft.model.config import Config
from heft.model.image import History, Layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from heft.images.compression import Compression
    from heft.images.piping import Source
    from heft.images.store import Hold, Store
    from heft.model.image import Image

Progress = Callable[[str, str, int, int], None]
"""Told how far something is: part, status, bytes done, bytes in all (0: unknown)."""


def name_for(reference: str) -> tuple[Reference, ...]:
    """Give the name that a new image gets, if any. Raises `InvalidArgument`."""
    if not reference:
        return ()
    name = Reference.parse(reference)
    if name.digest:
        raise InvalidArgument("cannot import digest reference")
    return (name.with_default_tag(),)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an image is to be, apart from its files. `created` is RFC 3339, empty for now."""

    names: tuple[Reference, ...]
    config: Config
    comment: str
    platform: str = ""
    created: str = ""


def wanted(
    references: Sequence[str],
    changes: Sequence[str],
    comment: str,
    platform: str = "",
    created: str = "",
) -> Wanted:
    """Check what was asked for, before the first byte is read. Raises `InvalidArgument`."""
    names = tuple(name for reference in references for name in name_for(reference))
    config = apply_changes(Config(), changes)
    configs.platform_parts(platform)
    return Wanted(names, config, comment, platform, created)


async def import_tar(store: Store, source: Source, asked: Wanted, progress: Progress) -> Image:
    """Make an image of one layer, or nothing."""
    with store.hold() as hold:
        layer, size = await add_layer(store, hold, source, (), progress)
        created = asked.created or configs.now()
        content = configs.new(
            asked.config,
            diff_ids=[layer.diff_id],
            platform=asked.platform,
            history=[History(created=created, comment=asked.comment)],
            created=created,
        )
        encoded = configs.encode(content)
        image_id = await store.blobs.add(encoded)
        hold.blob(image_id)
        reach("import.config")
        image = await store.keep(content.image(image_id, [layer], size), asked.names)
        reach("import.recorded")
    for name in asked.names:
        store.publish("tag", image, name.familiar())
    store.publish("import", image)
    return image


async def bootstrap(
    store: Store,
    name: str,
    options: Mapping[str, str | Sequence[str]],
    reference: str,
    progress: Progress,
) -> Image:
    """Make an image from a template."""
    template = registry.template(name)
    choices = choose(template, name, options)
    with store.layers.workplace() as place:
        built = await template.build(choices, place, lambda doing: progress("", doing, 0, 0))
        async with contextlib.aclosing(built.tar) as tar:
            names = [reference] if reference else built.names
            asked = wanted(names, built.changes, built.comment, built.platform, built.created)
            return await import_tar(store, tar, asked, progress)


async def add_layer(
    store: Store, hold: Hold, source: Source, below: Sequence[str], progress: Progress
) -> tuple[Layer, int]:
    """Make layer and blob of a tar that comes in; give it, and the bytes of its files."""
    with store.layers.workplace() as place:
        kept = place / "blob"
        applied = await store.layers.apply(
            source, below, place, lambda done: progress("", "Importing", done, 0), keep=kept
        )
        hold.blob(applied.digest)
        store.blobs.adopt(kept, applied.digest)
        reach("import.blob")
        hold.layer(applied.record.chain)
        record = store.layers.take_over(applied)
        reach("import.layer")
    return layer_of(record.diff_id, applied.digest, applied.size, applied.compression), record.size


def layer_of(diff_id: str, digest: str, size: int, compression: Compression) -> Layer:
    """Describe a layer as an image has it."""
    suffix = f"+{compression}" if compression else ""
    return Layer(
        diff_id=diff_id, digest=digest, size=size, media_type=f"{configs.LAYER_TYPE}{suffix}"
    )
