"""`commit`: what a machine has changed becomes one more layer, over those of its image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import Conflict
from heft.faults import reach
from heft.images import configs, importing
from heft.images.changes import apply_changes
from heft.model.image import History

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from heft.images.reference import Reference
    from heft.images.store import Store
    from heft.model.config import Config
    from heft.model.image import Image


@dataclass(frozen=True, slots=True)
class Asked:
    """What the new image is to be, apart from the new layer."""

    base: str
    """The id of the image that the machine was made of."""
    names: tuple[Reference, ...]
    config: Config
    author: str
    comment: str
    created_by: str
    """The machine's command, for the history."""


def asked(
    base: str,
    reference: str,
    config: Config,
    changes: Sequence[str],
    *,
    author: str,
    comment: str,
    created_by: str,
) -> Asked:
    """Check what was asked for, before the first byte is read. Raises `InvalidArgument`."""
    names = importing.name_for(reference)
    return Asked(base, names, apply_changes(config, changes), author, comment, created_by)


async def commit(store: Store, source: AsyncIterator[bytes], asked: Asked) -> Image:
    """Make the image, or nothing."""
    base = store.images.get(asked.base)
    if base is None:
        raise Conflict(
            f"the container's image {asked.base} was removed: its layers cannot be shared any more",
            hint="use export and import",
        )
    with store.hold() as hold:
        below = [layer.diff_id for layer in base.layers]
        for digest in (base.id, *(layer.digest for layer in base.layers)):
            hold.blob(digest)
        layer, size = await importing.add_layer(store, hold, source, below, lambda *_: None)
        reach("commit.layer")
        created = configs.now()
        content = configs.ImageConfig(
            architecture=base.architecture,
            os=base.os,
            variant=base.variant,
            created=created,
            author=asked.author,
            comment=asked.comment,
            config=asked.config,
            rootfs=configs.RootFS(diff_ids=[*below, layer.diff_id]),
            history=[
                *base.history,
                History(
                    created=created,
                    created_by=asked.created_by,
                    author=asked.author,
                    comment=asked.comment,
                ),
            ],
        )
        image_id = await store.blobs.add(configs.encode(content))
        hold.blob(image_id)
        made = content.image(image_id, [*base.layers, layer], base.size + size)
        made = await store.keep(made, asked.names)
        reach("commit.recorded")
    for name in asked.names:
        store.publish("tag", made, name.familiar())
    return made
