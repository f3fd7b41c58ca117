"""Layers as directories that overlayfs can stack.

A layer's directory depends on the layers below it (what a hard link or a missing parent directory
takes over from there), so it is known by its chain id: the digest over its own tar's digest and all
below (OCI image-spec, config.md, "Layer ChainID"). Directories have short names of their own, as
the mount options of an overlay must fit into one page.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from heft.errors import InvalidArgument, NotFound
from heft.failures import translated
from heft.faults import reach
from heft.images.compression import Compression
from heft.images.piping import run_child
from heft.store.database import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from heft.host.trash import Trash
    from heft.images.piping import Source
    from heft.store.database import Database

MOST_LAYERS = 127
"""As many as Docker stacks; the mount options of more would not fit into a page."""


class LayerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that is there: `size` its files' bytes, `plain_size` those of its tar."""

    chain: str
    diff_id: str
    directory: str
    size: int
    plain_size: int


class Applied(msgspec.Struct, frozen=True):
    """What came of a tar: the layer, and the blob that was kept of it."""

    record: LayerRecord
    digest: str
    size: int
    compression: Compression
    directory: Path
    """Where the layer is until it is taken over."""


class Layers:
    """All layers, in ROOT/NAME; `place` is a directory on the same disk for unfinished ones."""

    def __init__(self, root: Path, place: Path, database: Database, trash: Trash) -> None:
        self._root = root
        self._place = place
        self._trash = trash
        self._table = Table(database, "image_layers", LayerRecord)
        self._records = {record.chain: record for record in self._table}
        self._new: list[LayerRecord] = []

    def start(self) -> None:
        """Throw away directories that no record names, and records without directory."""
        self._root.mkdir(mode=0o711, parents=True, exist_ok=True)
        there = set(os.listdir(self._root))
        for record in tuple(self._records.values()):
            if record.directory not in there:
                self._forget(record.chain)
        for name in there - {record.directory for record in self._records.values()}:
            self._trash.throw(self._root / name)

    def get(self, chain: str) -> LayerRecord | None:
        """Give the layer that ends this chain."""
        return self._records.get(chain)

    def __iter__(self) -> Iterator[LayerRecord]:
        return iter(tuple(self._records.values()))

    def path(self, record: LayerRecord) -> Path:
        """Give its directory."""
        return self._root / record.directory

    def paths(self, diff_ids: Sequence[str]) -> tuple[Path, ...]:
        """Give the directories of an image's layers, from the lowest up. Raises `NotFound`."""
        found = []
        for chain, diff_id in zip(chain_ids(diff_ids), diff_ids, strict=True):
            record = self._records.get(chain)
            if record is None:
                raise NotFound(f"layer {diff_id} is missing from the store")
            found.append(self.path(record))
        return tuple(found)

    def size(self, diff_ids: Sequence[str]) -> int:
        """Give the bytes of all files of an image's layers, those that are hidden too."""
        records = (self._records.get(chain) for chain in chain_ids(diff_ids))
        return sum(record.size for record in records if record is not None)

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """Give an empty directory that is thrown away afterwards, with what is still in it."""
        place = self._place / secrets.token_hex(8)
        with translated(f"make {place}"):
            place.mkdir(mode=0o711)
        try:
            yield place
        finally:
            self._trash.throw(place)

    async def apply(
        self,
        source: Source,
        below: Sequence[str],
        place: Path,
        told: Callable[[int], None],
        *,
        keep: Path | str | None = None,
    ) -> Applied:
        """Make a layer of a tar on top of the layers `below`, in a work place; keep the tar too.

        What is kept already has a digest to give in place of a file: it is believed.

        Raises `InvalidArgument` if the tar is malformed, `NoSpace`, `HostError`.
        """
        if len(below) >= MOST_LAYERS:
            raise InvalidArgument("max depth exceeded", hint=f"at most {MOST_LAYERS} layers")
        name = secrets.token_hex(5)
        tree, view = place / name, place / f"{name}.below"
        with translated("apply the layer"):
            tree.mkdir(mode=0o755)
            view.mkdir()
        lowers = [str(path) for path in self.paths(below)]
        kept = str(keep) if keep else "-"
        done = await run_child(
            "heft.images.unpack",
            str(tree),
            kept,
            str(view),
            *lowers,
            source=source,
            what="cannot apply the layer",
            told=told,
        )
        diff_id = done["plain_digest"]
        record = LayerRecord(
            chain=chain_ids((*below, diff_id))[-1],
            diff_id=diff_id,
            directory=name,
            size=done["applied"],
            plain_size=done["plain_size"],
        )
        return Applied(record, done["digest"], done["size"], Compression(done["compression"]), tree)

    def take_over(self, applied: Applied) -> LayerRecord:
        """Let a finished layer be one of the store's, unless there is the same already.

        It is forgotten if the daemon ends before it is `settled`.
        """
        record = applied.record
        if (known := self._records.get(record.chain)) is not None:
            return known
        with translated("keep the layer"):
            applied.directory.rename(self._root / record.directory)
        self._records[record.chain] = record
        self._new.append(record)
        return record

    @property
    def unsettled(self) -> tuple[LayerRecord, ...]:
        """Give the layers that were taken over, and might not be on the disk yet."""
        return tuple(self._new)

    def settled(self, records: Iterable[LayerRecord]) -> None:
        """Record layers that are on the disk now."""
        for record in records:
            self._new.remove(record)
            self._table.put(record.chain, record)

    def replace(self, applied: Applied) -> None:
        """Let a layer, on the disk, take the place of one of its chain, which nobody may use."""
        record = applied.record
        old = self._records.get(record.chain)
        with translated("keep the layer"):
            applied.directory.rename(self._root / record.directory)
        reach("fsck.placed")
        self._table.put(record.chain, record)
        self._records[record.chain] = record
        reach("fsck.recorded")
        if old is not None:
            self._trash.throw(self.path(old))

    def discard(self, chains: Iterable[str]) -> int:
        """Remove layers; give the bytes that their files had."""
        freed = 0
        for chain in chains:
            if (record := self._records.get(chain)) is not None:
                freed += record.size
                self._forget(chain)
                self._trash.throw(self.path(record))
        return freed

    def _forget(self, chain: str) -> None:
        self._table.delete(chain)
        record = self._records.pop(chain)
        if record in self._new:
            self._new.remove(record)


def chain_ids(diff_ids: Sequence[str]) -> tuple[str, ...]:
    """Give the chain id of every layer, from the lowest up."""
    chains: list[str] = []
    for diff_id in diff_ids:
        text = f"{chains[-1]} {diff_id}" if chains else ""
        chains.append(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" if text else diff_id)
    return tuple(chains)
