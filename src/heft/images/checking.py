"""`fsck`: everything in the store is read and compared with what it should be.

A blob must have the content that its name says; a layer's directory must be what its blob makes
of it, which is tried in a work place beside it; a base must be what it was when it was made; and
what is named must be there. Child processes do the reading.

To repair, layers are made again of their blobs and bases of their layers. A damaged blob is
removed: the next load or pull of its image brings it back. A layer that a machine runs on stays as
it is, since overlayfs forbids a change under it.
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
from heft.images.reference import Reference

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from heft.images.importing import Progress
    from heft.images.layers import Applied
    from heft.images.removal import ImageUser
    from heft.images.store import Store
    from heft.model.image import Image

_SHORT = 12
LOAD_AGAIN = "pull, load or import the image again"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is damaged: `kind` is blob, layer, base, name or machine.

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
    found: list[Finding] = field(default_factory=list)
    _bad: set[str] = field(default_factory=set)
    """Digests of damaged blobs, and chain ids of layers that are damaged or stand on such."""
    _renewed: set[str] = field(default_factory=set)
    """Chain ids of layers that were made again."""

    async def run(self) -> list[Finding]:
        """Check everything; give what is damaged. Raises `NoSpace`, and `HostError`."""
        images = tuple(self.store.images.values())
        with self.store.hold() as hold:
            for image in images:
                for digest in (image.id, *(layer.digest for layer in image.layers)):
                    hold.blob(digest)
                for chain in chain_ids(image.diff_ids):
                    hold.layer(chain)
            self._check_references()
            await self._check_blobs(images)
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

    async def _check_blobs(self, images: Sequence[Image]) -> None:
        self.progress("", "Checking blobs", 0, 0)
        wanted = {image.id for image in images}
        wanted.update(layer.digest for image in images for layer in image.layers)
        names = "".join(f"{digest.removeprefix('sha256:')}\n" for digest in sorted(wanted))
        directory = self.store.blobs.path(next(iter(wanted))).parent if wanted else None
        if directory is None:
            return
        answer = await run_child(
            "heft.images.sums",
            str(directory),
            source=_once(names.encode()),
            what="cannot check the blobs",
            told=lambda _: None,
        )
        for name, problem in answer["wrong"].items():
            digest = f"sha256:{name}"
            self._bad.add(digest)
            done = ""
            if self.repair and digest in self.store.blobs:
                self.store.blobs.delete(digest)
                done = "it was removed, so that a load brings it back"
            concerned = [image for image in images if digest in _digests(image)]
            self._tell("blob", digest, problem, done, LOAD_AGAIN, images=concerned)

    # Layers

    async def _check_layer(self, image: Image, number: int, chain: str) -> None:
        """Compare a layer with what its blob makes, unless blob or layers below are damaged."""
        below, layer = image.diff_ids[:number], image.layers[number]
        chains = chain_ids(image.diff_ids)
        record = self.store.layers.get(chain)
        if layer.digest in self._bad or (number and chains[number - 1] in self._bad):
            self._bad.add(chain)
            if record is None:
                self._tell_layer(chain, "it is missing", todo=LOAD_AGAIN)
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
                self._tell_layer(chain, f"its blob makes no layer: {error}", todo=LOAD_AGAIN)
                return
            problem = await self._problem(chain, applied)
            if problem:
                self._renew(chain, applied, problem)

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

    def _renew(self, chain: str, applied: Applied, problem: str) -> None:
        """Put the layer that was made in the place of the damaged one, if that may be."""
        running = sorted(user.machine_id for user in self._users_of(chain) if user.running)
        if applied.record.chain == chain and self.repair and not running:
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


def _digests(image: Image) -> tuple[str, ...]:
    return (image.id, *(layer.digest for layer in image.layers))


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
