"""Blobs that are lost, of images made here: no registry has them, but they can come again.

The tar of a layer is made of the layer's directory, the configuration of what the image is known
by. What has the digest is the blob, byte by byte; what has not is thrown away.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from heft.errors import HeftError, NoSpace
from heft.images import configs
from heft.images.blobs import digest_of
from heft.images.layers import chain_ids
from heft.images.piping import run_child

if TYPE_CHECKING:
    from heft.images.store import Store
    from heft.model.image import Image


async def recompose(store: Store, image: Image) -> dict[str, str]:
    """Make the missing blobs of an image again; give of what, by digest, for those that it could.

    Raises `NoSpace`.
    """
    made: dict[str, str] = {}
    if image.id not in store.blobs and image.disk is None:
        content = _config(image)
        if digest_of(content) == image.id:
            await store.blobs.add(content)
            made[image.id] = "of what is known of the image"
    for layer, chain in zip(image.layers, chain_ids(image.diff_ids), strict=True):
        plain = layer.digest == layer.diff_id
        if plain and layer.digest not in store.blobs and await _layer(store, chain, layer.digest):
            made[layer.digest] = "of its layer"
    return made


def _config(image: Image) -> bytes:
    """Write the configuration as `commit` and `import` do."""
    return configs.encode(
        configs.ImageConfig(
            architecture=image.architecture,
            os=image.os,
            variant=image.variant,
            created=image.created,
            author=image.author,
            comment=image.comment,
            config=image.config,
            rootfs=configs.RootFS(diff_ids=list(image.diff_ids)),
            history=list(image.history),
        )
    )


async def _layer(store: Store, chain: str, digest: str) -> bool:
    record = store.layers.get(chain)
    if record is None:
        return False
    with store.layers.workplace() as place:
        try:
            written = await run_child(
                "heft.files.repack",
                *(str(store.layers.path(record)), str(place / "tar")),
                source=Path(os.devnull),
                what=f"cannot make the tar of layer {chain} again",
                told=lambda _: None,
            )
        except NoSpace:
            raise
        except HeftError:
            return False  # the layer is damaged too, or is none that such a tar gave
        if written["digest"] != digest:
            return False
        store.blobs.adopt(place / "tar", digest)
        return True
