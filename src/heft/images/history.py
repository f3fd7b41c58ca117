"""How an image came to be, as `docker history` shows it."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from heft.images.layers import chain_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heft.images.layers import Layers
    from heft.model.image import Image


def history(image: Image, layers: Layers, tags: Sequence[str]) -> list[dict[str, Any]]:
    """Give the steps, the newest first; sizes are bytes of the layers' files."""
    chains = iter(chain_ids([layer.diff_id for layer in image.layers]))
    steps = []
    for step in image.history:
        chain = None if step.empty_layer else next(chains, None)
        record = layers.get(chain) if chain else None
        steps.append(
            {
                "Id": "<missing>",
                "Created": _seconds(step.created),
                "CreatedBy": step.created_by,
                "Tags": None,
                "Size": record.size if record else 0,
                "Comment": step.comment,
            }
        )
    steps.reverse()
    if steps:
        steps[0].update(Id=image.id, Tags=list(tags) or None)
    return steps


def _seconds(created: str) -> int:
    try:
        return int(datetime.datetime.fromisoformat(created).timestamp())
    except ValueError:
        return 0
