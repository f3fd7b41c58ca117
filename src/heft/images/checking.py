"""`fsck`: everything in the store is read and compared with what it should be.

A blob must have the content that its name says; a layer's directory must be what its blob makes
of it, which is tried in a work place beside it; a base must be what it was when it was made; and
what is named must be there. Child processes do the reading.

To repair, layers are made again of their blobs and bases of their layers. A damaged blob is
removed, and made again where it can be (`heft.images.recomposing`), or fetched where a registry has
the image; else the next load of it brings it back.
A layer that a machine runs on stays as it is, since overlayfs forbids a change under it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from heft.errors import HeftError, NoSpace
from heft.images.bases import chain_of
from heft.images.layers import chain_ids
from heft.images.piping import run_child
from heft.images.recomposing import recompose
from heft.images.reference import Reference

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from heft.images.importing import Progress
    from heft.images.layers import Applied
    from heft.images.removal import ImageUser
    from heft.images.store import Hold, Store
    from heft.model.image import Image

    Fetch = Callable[[Reference, Image], Awaitable[None]]
    """Brings back what is missing of an image, of the registry that has it under a name."""

_SHORT = 12
LOAD_AGAIN = "load, import or pull the image again"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is damaged: `kind` is blob, layer, base, name, machine or disk.

    `images` are names, or short ids; `machines` are ids. `done` says what was done about it, if
    anything; `todo` what is left to do.
    """

    kind: str
    name: str
    problem: str
    images: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    done: str = ""
    todo: str = ""


@dataclass(eq=False, slots=True)
class Check:
    """One check of a whole store; `users` says which machines there are, at any time."""

    store: Store
    users: Callable[[], Sequence[ImageUser]]
    repair: bool
    progress: Progress
    fetch: Fetch
    found: list[Finding] = field(default_factory=list)
    _bad: set[str] = field(default_factory=set)
    """Digests of damaged blobs, and chain ids of layers that are damaged or stand on such."""
    _recomposed: dict[str, str] = field(default_factory=dict)
    """Of what blobs were made again, by digest."""
    _renewed: set[str] = field(default_factory=set)
    """Chain ids of layers that were made again."""

    async def run(self) -> list[Finding]:
        """Check everything; give what is damaged. Raises `NoSpace`, and `HostError`."""
        images = tuple(self.store.images.values())
        with self.store.hold() as hold:
            for image in images:
                for digest in image.blobs:
                    hold.blob(digest)
                for chain in chain_ids(image.diff_ids):
                    hold.layer(chain)
            self._check_references()
            images = await self._check_blobs(images, hold)
            seen: set[str] = set()
            for image in images:
                for number, chain in enumerate(chain_ids(image.diff_ids)):
                    if chain not in seen:
                        seen.add(chain)
                        self.progress("", "Checking layers", len(seen), 0)
                        await self._check_layer(image, number, chain)
            await self._check_bases(images)
        return self.found

    # References

    def _check_references(self) -> None:
        store = self.store
        for name, image_id in sorted(store.names.items()):
            if image_id not in store.images:
                done, todo = "", "fsck --repair takes the name away"
                if self.repair:
                    store.unname(name)
                    done, todo = "the name was taken away", ""
                shown = Reference.parse(name).familiar()
                self._tell("name", shown, "its image is missing", done, todo)
        for user in self.users():
            lost = [
                diff_id
                for chain, diff_id in zip(chain_ids(user.layers), user.layers, strict=True)
                if store.layers.get(chain) is None
            ]
            if lost:
                problem = f"layers of its image are missing: {', '.join(lost)}"
                self._tell("machine", user.machine_id, problem, todo=LOAD_AGAIN)

    # Blobs

    async def _check_blobs(self, images: Sequence[Image], hold: Hold) -> tuple[Image, ...]:
        """Read all blobs; give the images as they are then."""
        self.progress("", "Checking blobs", 0, 0)
        wanted = {digest for image in images for digest in image.blobs}
        names = "".join(f"{digest.removeprefix('sha256:')}\n" for digest in sorted(wanted))
        directory = self.store.blobs.path(next(iter(wanted))).parent if wanted else None
        if directory is None:
            return ()
        answer = await run_child(
            "heft.images.sums",
            str(directory),
            source=_once(names.encode()),
            what="cannot check the blobs",
            told=lambda _: None,
        )
        wrong = {f"sha256:{name}": problem for name, problem in answer["wrong"].items()}
        if self.repair:
            for digest in wrong:
                self.store.blobs.delete(digest)
        if self.repair and wrong:
            for image in images:
                self._recomposed |= await recompose(self.store, image)
            await self.store.settle()
        refused = await self._fetch(images, hold) if self.repair and wrong else {}
        for digest, problem in wrong.items():
            concerned = [image for image in images if digest in image.blobs]
            self._tell_blob(digest, problem, concerned, refused)
        now = [self.store.images.get(image.id, image) for image in images]
        lost = {d for image in now for d in image.blobs if d not in self.store.blobs}
        self._bad |= lost | (set() if self.repair else wrong.keys())
        return tuple(now)

    async def _fetch(self, images: Sequence[Image], hold: Hold) -> dict[str, str]:
        """Fetch what is missing of images; say of which one it failed, by id, and why."""
        refused: dict[str, str] = {}
        for image in images:
            name = self._registered(image)
            if name is None or not self._lacks(image):
                continue
            self.progress("", f"Fetching {name.familiar()}", 0, 0)
            try:
                await self.fetch(name, image)
            except NoSpace:
                raise
            except HeftError as error:
                refused[image.id] = str(error)
            for digest in self.store.images.get(image.id, image).blobs:
                hold.blob(digest)
        return refused

    def _lacks(self, image: Image) -> bool:
        """Say whether a blob of an image, as it is now, is not there."""
        now = self.store.images.get(image.id, image)
        return any(digest not in self.store.blobs for digest in now.blobs)

    def _registered(self, image: Image) -> Reference | None:
        """Give the name under which a registry has exactly this image, if any is known."""
        names = map(Reference.parse, self.store.references(image.id))
        return next((name for name in names if name.digest), None)

    def _tell_blob(
        self, digest: str, problem: str, images: Sequence[Image], refused: dict[str, str]
    ) -> None:
        left = [image for image in images if self._lacks(image)]
        names = [str(name) for image in images if (name := self._registered(image))]
        if not self.repair:
            done, todo = "", f"fsck --repair, or: {self._advice(images)}"
        elif digest in self._recomposed:
            done, todo = f"it was made again {self._recomposed[digest]}", ""
        elif not left:
            done, todo = f"it was fetched again of {names[0]}", ""
        else:
            why = next((refused[image.id] for image in left if image.id in refused), "")
            done = f"it was removed, but not fetched: {why}" if why else "it was removed"
            todo = self._advice(left)
        self._tell("blob", digest, problem, done, todo, images=images)

    def _advice(self, images: Sequence[Image]) -> str:
        """Say what brings back what is missing of images."""
        names = [name for image in images if (name := self._registered(image))]
        return f"heft pull {names[0].familiar()}" if names else LOAD_AGAIN

    # Layers

    async def _check_layer(self, image: Image, number: int, chain: str) -> None:
        """Compare a layer with what its blob makes, unless blob or layers below are damaged."""
        below, layer = image.diff_ids[:number], image.layers[number]
        chains = chain_ids(image.diff_ids)
        record = self.store.layers.get(chain)
        if layer.digest in self._bad or (number and chains[number - 1] in self._bad):
            self._bad.add(chain)
            if record is None:
                self._tell_layer(chain, "it is missing", todo=self._advice([image]))
            return
        with self.store.layers.workplace() as place:
            try:
                applied = await self.store.layers.apply(
                    self.store.blobs.path(layer.digest), below, place, lambda _: None
                )
            except NoSpace:
                raise
            except HeftError as error:
                self._bad.add(chain)
                problem = f"its blob makes no layer: {error}"
                self._tell_layer(chain, problem, todo=self._advice([image]))
                return
            problem = await self._problem(chain, applied)
            if problem:
                await self._renew(chain, applied, problem)

    async def _problem(self, chain: str, applied: Applied) -> str:
        """Say what is wrong with a layer, beside the one that it should be."""
        if applied.record.chain != chain:
            return f"its blob is of another layer, {applied.record.diff_id}"
        record = self.store.layers.get(chain)
        if record is None:
            return "it is missing"
        answer = await run_child(
            "heft.images.comparison",
            *(str(applied.directory), str(self.store.layers.path(record))),
            source=Path(os.devnull),
            what=f"cannot compare the layer {chain}",
            told=lambda _: None,
        )
        more = answer["count"] - len(answer["first"])
        return ", ".join(answer["first"]) + (f", and {more} more" if more > 0 else "")

    async def _renew(self, chain: str, applied: Applied, problem: str) -> None:
        """Put the layer that was made in the place of the damaged one, if that may be."""
        running = sorted(user.machine_id for user in self._users_of(chain) if user.running)
        if applied.record.chain == chain and self.repair and not running:
            await self.store.sync()
            self.store.layers.replace(applied)
            self._renewed.add(chain)
            self._tell_layer(chain, problem, "it was made again of its blob")
            return
        self._bad.add(chain)
        if applied.record.chain != chain:
            self._tell_layer(chain, problem, todo=LOAD_AGAIN)
        elif running:
            stop = ", ".join(machine[:_SHORT] for machine in running)
            self._tell_layer(chain, problem, todo=f"stop {stop}, which run on it, then repair")
        else:
            self._tell_layer(chain, problem, todo="fsck --repair makes it of its blob")

    # Bases

    async def _check_bases(self, images: Sequence[Image]) -> None:
        for base in self.store.bases:
            self.progress("", "Checking bases", 0, 0)
            try:
                await self.store.bases.verify(base.chain)
                problem = ""
            except HeftError as error:
                problem = str(error)
            image = next((each for each in images if chain_of(each.diff_ids) == base.chain), None)
            chains = chain_ids(image.diff_ids) if image else ()
            if not problem and not self._renewed.isdisjoint(chains):
                problem = "it may have been made of a damaged layer"
            if problem:
                await self._rebase(base.chain, image, problem)

    async def _rebase(self, chain: str, image: Image | None, problem: str) -> None:
        """Make a base again; machines that run keep the file that they have open."""
        done, todo = "", "fsck --repair makes it of its layers"
        if self.repair:
            self.store.bases.discard([chain])
            done, todo = "it was removed, and is made again when it is needed", ""
            if image and self._bad.isdisjoint(chain_ids(image.diff_ids)):
                await self.store.bases.ensure(image.diff_ids, lambda *_: None)
                done = "it was made again of its layers"
        self._tell_layer(chain, problem, done, todo, kind="base")

    # Telling

    def _users_of(self, chain: str) -> list[ImageUser]:
        return [user for user in self.users() if chain in chain_ids(user.layers)]

    def _tell_layer(
        self, chain: str, problem: str, done: str = "", todo: str = "", *, kind: str = "layer"
    ) -> None:
        images = [each for each in self.store.images.values() if chain in chain_ids(each.diff_ids)]
        users = self._users_of(chain)
        self._tell(kind, chain, problem, done, todo, images=images, users=users)

    def _tell(
        self,
        kind: str,
        name: str,
        problem: str,
        done: str = "",
        todo: str = "",
        *,
        images: Sequence[Image] = (),
        users: Sequence[ImageUser] = (),
    ) -> None:
        names = [name for image in images for name in self._names(image)]
        machines = tuple(sorted(user.machine_id for user in users))
        self.found.append(
            Finding(
                kind=kind,
                name=name,
                problem=problem,
                images=tuple(names),
                machines=machines,
                done=done,
                todo=todo,
            )
        )

    def _names(self, image: Image) -> list[str]:
        names = [Reference.parse(name).familiar() for name in self.store.references(image.id)]
        return names or [image.id.removeprefix("sha256:")[:_SHORT]]


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
