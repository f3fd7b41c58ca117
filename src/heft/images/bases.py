"""Bases: all layers of an image merged into one read-only EROFS file.

A weight that has a kernel of its own shows it to its machines as a disk. A base is known by the
chain id of its topmost layer and made when it is first wanted; every machine of the image shares
it. The same layers give the same bytes, so that a base can be made again under machines that have
an upper on it already.

A file counts when it is recorded, and it is recorded when it is on the disk: what a killed daemon
left is found at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from heft.errors import HostError, NotFound
from heft.failures import translated
from heft.faults import reach
from heft.host import seals
from heft.host.seals import Seal
from heft.images.layers import chain_ids
from heft.images.piping import run_child
from heft.store.database import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from heft.host.trash import Trash
    from heft.images.layers import Layers
    from heft.store.database import Database

log = logging.getLogger(__name__)

NOTHING = "nothing"
"""Stands for the chain id of an image without layers."""
TELL_SECONDS = 0.1
"""How often it is told how far the making of a base is."""
_NAMESPACE = uuid.UUID("6e0f8d0e-6a0c-4b0b-9f37-1f5cbe9a3c54")
"""A constant of Heft's own, from which the file systems get their UUIDs (RFC 4122, version 5)."""


class BaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A base that is there, and what its file was like when it was finished.

    `allocated`: the bytes that it takes on the disk.
    """

    chain: str
    seal: Seal
    allocated: int


@dataclass(eq=False, slots=True)
class _Making:
    """A base that is being made, for all who want it."""

    listeners: list[Callable[[int, int], None]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def tell(self, done: int, total: int) -> None:
        for listener in self.listeners:
            listener(done, total)


class Bases:
    """All bases, in files ROOT/CHAIN.erofs that only root can reach.

    Whoever wants one sees to it that its layers stay meanwhile.
    """

    def __init__(self, root: Path, layers: Layers, database: Database, trash: Trash) -> None:
        self._root = root
        self._layers = layers
        self._trash = trash
        self._table = Table(database, "image_bases", BaseRecord)
        self._records = {record.chain: record for record in self._table}
        self._making: dict[str, _Making] = {}

    def start(self) -> None:
        """Throw away files that no record names, and records without file."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        there = set(os.listdir(self._root))
        for record in self:
            if self.path(record.chain).name not in there:
                self._forget(record.chain)
        for name in there - {self.path(chain).name for chain in self._records}:
            self._trash.throw(self._root / name)

    def __iter__(self) -> Iterator[BaseRecord]:
        return iter(tuple(self._records.values()))

    def get(self, chain: str) -> BaseRecord | None:
        """Give the base of these layers, if it has been made."""
        return self._records.get(chain)

    def path(self, chain: str) -> Path:
        """Give where a base is, or would be."""
        return self._root / f"{chain.removeprefix('sha256:')}.erofs"

    async def ensure(self, diff_ids: Sequence[str], told: Callable[[int, int], None]) -> Path:
        """Give the base of these layers (from the lowest up), made if it is missing or damaged.

        Who wants one that is being made waits for it; it is given up when the last of them does.
        `told` is called with the bytes made so far, and about how many there will be. Raises
        `NotFound` for a layer, `NotSupported`, `NoSpace`, `HostError`; then nothing is left.
        """
        chain = chain_of(diff_ids)
        if chain in self._making or not await self._is_sound(chain):
            await self._wait(self._begin(chain, diff_ids), told)
        return self.path(chain)

    def _begin(self, chain: str, diff_ids: Sequence[str]) -> _Making:
        """Let it be made, unless it is already."""
        making = self._making.get(chain)
        if making is None:
            making = self._making[chain] = _Making()
            making.task = asyncio.create_task(self._make(chain, diff_ids, making))
        return making

    async def _wait(self, making: _Making, told: Callable[[int, int], None]) -> None:
        """Wait for a base; cancelled as the last who does, leave nothing of it."""
        assert making.task is not None
        making.listeners.append(told)
        try:
            await asyncio.shield(making.task)
        finally:
            making.listeners.remove(told)
            if not making.listeners and not making.task.done():
                making.task.cancel()
                await asyncio.wait([making.task])

    async def _make(self, chain: str, diff_ids: Sequence[str], making: _Making) -> None:
        try:
            lowers = self._layers.paths(diff_ids)
            total = self._layers.size(diff_ids)
            with self._layers.workplace() as place:
                file, view = place / "base", place / "view"
                with translated(f"make {view}"):
                    view.mkdir()
                making.tell(0, total)
                seal = await write_base(
                    file, view, chain, lowers, lambda done: making.tell(min(done, total), total)
                )
                reach("base.written")
                with translated(f"keep the base of {chain}"):
                    allocated = file.stat().st_blocks * 512
                    # Machines that run have an old one open: it is not written over.
                    if self.path(chain).is_dir():
                        self._trash.throw(self.path(chain))
                    file.rename(self.path(chain))
                reach("base.renamed")
                self._keep(BaseRecord(chain=chain, seal=seal, allocated=allocated))
                reach("base.recorded")
                making.tell(total, total)
        finally:
            del self._making[chain]

    async def _is_sound(self, chain: str) -> bool:
        """Say whether a base is there and looks as it did."""
        if (record := self._records.get(chain)) is None:
            return False
        path = self.path(chain)
        damage = await asyncio.to_thread(seals.look, path, record.seal)
        if damage == seals.TOUCHED:
            damage = await asyncio.to_thread(seals.read, path, record.seal)
            if not damage and self._records.get(chain) is record:
                seal = msgspec.structs.replace(record.seal, modified=path.stat().st_mtime_ns)
                self._keep(msgspec.structs.replace(record, seal=seal))
        if damage:
            log.warning("base %s is damaged and made again: %s", path, damage)
        return not damage

    async def verify(self, chain: str) -> None:
        """Read all of a base. Raises `NotFound`, and `HostError` if it is damaged."""
        if (record := self._records.get(chain)) is None:
            raise NotFound(f"there is no base of {chain}")
        path = self.path(chain)
        if damage := await asyncio.to_thread(seals.read, path, record.seal):
            raise HostError(f"base {path} is damaged: {damage}", hint="remove it: it is made again")

    def discard(self, chains: Iterable[str]) -> int:
        """Remove bases; give the bytes that they had. No harm where there is none."""
        freed = 0
        for chain in chains:
            if (record := self._records.get(chain)) is not None:
                freed += record.allocated
                self._forget(chain)
                self._trash.throw(self.path(chain))
        return freed

    def _keep(self, record: BaseRecord) -> None:
        self._table.put(record.chain, record)
        self._records[record.chain] = record

    def _forget(self, chain: str) -> None:
        self._table.delete(chain)
        del self._records[chain]


def chain_of(diff_ids: Sequence[str]) -> str:
    """Give what the base of these layers is known by."""
    return chain_ids(diff_ids)[-1] if diff_ids else NOTHING


async def write_base(
    file: Path, view: Path, chain: str, lowers: Sequence[Path], told: Callable[[int], None]
) -> Seal:
    """Make a base in a process of its own, and tell how large it is by now. Raises `HostError`."""

    async def watch() -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            if file.exists():
                told(file.stat().st_size)

    watcher = asyncio.create_task(watch())
    try:
        done = await run_child(
            "heft.images.merge",
            *(str(file), str(uuid.uuid5(_NAMESPACE, chain)), str(view), *map(str, lowers)),
            source=Path(os.devnull),
            what=f"cannot make the base of {chain}",
            told=lambda _: None,
        )
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])
    return msgspec.convert(done, Seal)
