"""What there is: images, their names, the blobs and layers that they consist of, and their bases.

An operation that makes an image first puts blobs and layers in place, lets them come to the disk,
once for all of them, then records the image and its names in one transaction. What no image needs
is dropped, unless an operation under way holds it (`Hold`); what a killed daemon left is found at
the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Self

import msgspec

from heft.failures import translated
from heft.host.threads import in_own_thread
from heft.images.bases import Bases, chain_of
from heft.images.blobs import Blobs
from heft.images.disk import spread, sync
from heft.images.layers import Layers, chain_ids
from heft.model.image import Image
from heft.store.database import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from heft.host.trash import Trash
    from heft.images.reference import Reference
    from heft.model.image import Layer
    from heft.store.database import Database


class _Name(msgspec.Struct, frozen=True):
    reference: str
    image: str


class Store:
    """The images of one daemon."""

    def __init__(
        self,
        root: Path,
        database: Database,
        publish: Callable[[str, str, dict[str, str]], None],
        trash: Trash,
    ) -> None:
        self.place = root / "tmp"
        """Where unfinished things are."""
        self.blobs = Blobs(root / "blobs", self.place, trash)
        self.layers = Layers(root / "layers", self.place, database, trash)
        self.bases = Bases(root / "bases", self.layers, database, trash)
        self._database = database
        self._publish = publish
        self.trash = trash
        self._images_table = Table(database, "images", Image)
        self._names_table = Table(database, "image_names", _Name)
        self._remains_table = Table(database, "image_remains", Image)
        self.images = {image.id: image for image in self._images_table}
        self.names = {name.reference: name.image for name in self._names_table}
        """Image ids by references in full."""
        self.remains = {image.id: image for image in self._remains_table}
        """Images that were removed while machines had their layers; nobody sees them."""
        self._held: Counter[str] = Counter()
        self._settling = asyncio.Lock()

    def start(self) -> None:
        """Drop what an earlier daemon left half made."""
        self.place.mkdir(mode=0o711, parents=True, exist_ok=True)
        spread(self.place)
        for entry in self.place.iterdir():
            self.trash.throw(entry)
        self.blobs.start()
        self.layers.start()
        self.bases.start()
        self.drop_unused(tuple(self.blobs), tuple(layer.chain for layer in self.layers))

    # Images and names

    def references(self, image_id: str) -> list[str]:
        """Give all references to an image, in full, sorted."""
        return sorted(name for name, image in self.names.items() if image == image_id)

    def layer(self, diff_id: str) -> Layer | None:
        """Give a layer of this tar as some image has it: its blob is in the store."""
        layers = (layer for image in self.images.values() for layer in image.layers)
        return next((layer for layer in layers if layer.diff_id == diff_id), None)

    async def settle(self) -> None:
        """Let all that was put in place come to the disk, before something counts on it.

        A loss of power must not leave a record of what is not there. Raises `NoSpace`, `HostError`.
        """
        async with self._settling:
            if not self.blobs.unsettled and not self.layers.unsettled:
                return
            layers, self.blobs.unsettled = self.layers.unsettled, False
            try:
                await self.sync()
            except BaseException:
                self.blobs.unsettled = True
                raise
            self.layers.settled(each for each in layers if each in self.layers.unsettled)

    async def sync(self) -> None:
        """Write back the file system of the store. Raises `NoSpace`, `HostError`."""
        with translated("bring images to the disk"):
            await in_own_thread(lambda: sync(str(self.place)))

    async def keep(self, image: Image, references: Iterable[Reference] = ()) -> Image:
        """Record an image whose blobs and layers were just put in place: `settle`, `record`."""
        await self.settle()
        return self.record(image, references)

    def record(self, image: Image, references: Iterable[Reference] = ()) -> Image:
        """Take in an image with its names, which may have been another's."""
        names = [str(reference) for reference in references]
        known = self.images.get(image.id)
        if known is None or any(digest not in self.blobs for digest in known.blobs):
            known = image  # what was lost of it has just come again, maybe compressed otherwise
        image = msgspec.structs.replace(
            known,
            manifest=known.manifest or image.manifest,
            tagged=time.time_ns() if names else known.tagged,
        )
        with self.transaction():
            self._images_table.put(image.id, image)
            for name in names:
                self._names_table.put(name, _Name(name, image.id))
        self.images[image.id] = image
        self.names.update(dict.fromkeys(names, image.id))
        return image

    def unname(self, reference: str) -> None:
        """Take a name away."""
        self._names_table.delete(reference)
        del self.names[reference]

    def delete(self, image: Image, *, remains: bool) -> tuple[list[str], int]:
        """Remove an image and its names; give chain ids of layers that went, and bytes freed.

        `remains`: machines need its layers, which stay until `forget_remains`.
        """
        names = self.references(image.id)
        with self.transaction():
            self._images_table.delete(image.id)
            for name in names:
                self._names_table.delete(name)
            if remains:
                self._remains_table.put(image.id, image)
        del self.images[image.id]
        for name in names:
            del self.names[name]
        if remains:
            self.remains[image.id] = image
        return self.drop_unused(*_parts(image))

    def forget_remains(self, in_use: frozenset[str]) -> None:
        """Drop what is left of removed images that are not among these, which machines have."""
        for image in [each for each in self.remains.values() if each.id not in in_use]:
            self._remains_table.delete(image.id)
            del self.remains[image.id]
            self.drop_unused(*_parts(image))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Let all writes within be done, or none; nothing may be awaited within."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def publish(self, action: str, image: Image, name: str = "") -> None:
        """Tell what happened to an image."""
        about = {**image.config.labels, "name": name or image.id}
        self._publish(action, image.id, about)

    # What they consist of

    def hold(self) -> Hold:
        """Begin an operation that makes an image."""
        return Hold(self, self._held)

    def drop_unused(self, digests: Iterable[str], chains: Iterable[str]) -> tuple[list[str], int]:
        """Drop those of these blobs and layers that nothing needs, and all bases that nothing does.

        Gives the chain ids of the layers that went, from the topmost down, and bytes freed.
        """
        needed = set(+self._held)
        shown = set(needed)
        for image in self.images.values():
            needed.update(*_parts(image))
        for image in self.remains.values():
            needed.update(_parts(image)[1])
        for image in (*self.images.values(), *self.remains.values()):
            if image.disk is None:
                shown.add(chain_of(image.diff_ids))
        freed = sum(map(self.blobs.delete, set(digests) - needed))
        freed += self.bases.discard(base.chain for base in self.bases if base.chain not in shown)
        unused = [chain for chain in dict.fromkeys(chains) if chain not in needed][::-1]
        return unused, freed + self.layers.discard(unused)


class Hold:
    """What an operation under way has put in place, or counts on: it is not dropped meanwhile."""

    def __init__(self, store: Store, held: Counter[str]) -> None:
        self._store = store
        self._held = held
        self._digests: list[str] = []
        self._chains: list[str] = []

    def blob(self, digest: str) -> None:
        """Keep a blob."""
        self._digests.append(digest)
        self._held[digest] += 1

    def layer(self, chain: str) -> None:
        """Keep a layer."""
        self._chains.append(chain)
        self._held[chain] += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go; what no image came to need is dropped."""
        self._held.subtract(self._digests)
        self._held.subtract(self._chains)
        self._store.drop_unused(self._digests, self._chains)


def _parts(image: Image) -> tuple[list[str], list[str]]:
    """Give the digests of an image's blobs, and the chain ids of its layers from the lowest up."""
    return list(image.blobs), list(chain_ids(image.diff_ids))
