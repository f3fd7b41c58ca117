"""Images: found by name, made, named, removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heft.errors import InvalidArgument, NotFound, NotSupported
from heft.images import committing, importing, loading, removal, saving, usage
from heft.images.bases import chain_of
from heft.images.checking import Check
from heft.images.disks import keeping
from heft.images.history import history
from heft.images.importing import Progress
from heft.images.layers import chain_ids
from heft.images.pushing import manifest_of
from heft.images.reference import Reference, id_prefix, is_digest
from heft.images.remote import Remote
from heft.images.removal import ImageUser, Removed
from heft.images.store import Store
from heft.layout import DEFAULT_CONFIGURATION

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from heft.host.trash import Trash
    from heft.images.archive import Descriptor
    from heft.images.checking import Finding
    from heft.images.registry.credentials import Credentials
    from heft.images.usage import Usage
    from heft.model.image import Disk, Image
    from heft.store.database import Database

__all__ = ["ImageUser", "Images", "Progress", "Removed"]


class Images:
    """All images. A reference is a name (`latest` unless it has a tag), an id, or its beginning."""

    def __init__(
        self,
        root: Path,
        database: Database,
        publish: Callable[[str, str, dict[str, str]], None],
        trash: Trash,
        registries: Path = DEFAULT_CONFIGURATION,
    ) -> None:
        self._store = Store(root, database, publish, trash)
        self.remote = Remote(self._store, registries)

    async def start(self) -> None:
        """Drop what an earlier daemon left half made."""
        self._store.start()
        self.remote.start()

    # Looking

    def resolve(self, reference: str) -> Image:
        """Find an image. Raises `NotFound`, and `InvalidArgument` for what can name none."""
        images = self._store.images
        if is_digest(digest := reference if ":" in reference else f"sha256:{reference}"):
            if digest not in images:
                raise NotFound(f"No such image: {reference}")
            return images[digest]
        name = Reference.parse(reference).with_default_tag()
        if (known := self._store.names.get(str(name))) is not None:
            return images[known]
        prefix = id_prefix(reference)
        found = [each for each in images if prefix and each.startswith(f"sha256:{prefix}")]
        if len(found) > 1:
            raise InvalidArgument(
                f"image id {reference} is ambiguous", hint=f"{len(found)} ids begin so"
            )
        if not found:
            raise NotFound(f"No such image: {name.familiar()}")
        return images[found[0]]

    def runnable(self, reference: str) -> Image:
        """Find an image that machines can be made of. Raises `NotSupported` for others, `NotFound`.

        Otherwise as `resolve`.
        """
        image = self.resolve(reference)
        if image.disk is not None:
            raise NotSupported(
                f"{reference} is a disk image ({image.disk.format}), and not the image of a"
                " container: Heft keeps and passes on disks, but boots none yet",
                hint="`heft image export-disk` gives its file, for other programs",
            )
        return image

    def list(self) -> tuple[Image, ...]:
        """Give all images, the newest first."""
        images = self._store.images.values()
        return tuple(sorted(images, key=lambda image: (image.created, image.id), reverse=True))

    def tags(self, image_id: str) -> tuple[str, ...]:
        """Give an image's names with a tag, as Docker shows them."""
        names = map(Reference.parse, self._store.references(image_id))
        return tuple(name.familiar() for name in names if name.tag and not name.digest)

    def digests(self, image_id: str) -> tuple[str, ...]:
        """Give an image's names with a digest, as Docker shows them."""
        names = map(Reference.parse, self._store.references(image_id))
        return tuple(name.familiar() for name in names if name.digest)

    def layer_paths(self, diff_ids: Sequence[str]) -> tuple[Path, ...]:
        """Give the directories of layers, from the lowest up. Raises `NotFound`."""
        return self._store.layers.paths(diff_ids)

    def layers(self, diff_ids: Sequence[str]) -> tuple[tuple[str, int], ...]:
        """Give the chain ids of layers, from the lowest up, and the bytes of each one's files."""
        records = map(self._store.layers.get, chains := chain_ids(diff_ids))
        sizes = (record.size if record else 0 for record in records)
        return tuple(zip(chains, sizes, strict=True))

    def manifest(self, image: Image) -> tuple[Descriptor, int]:
        """Give an image's manifest, and the bytes of all that it names and of itself.

        It is the one that the image was pulled with; of others, that of its blobs as they are.
        """
        return manifest_of(image, self._store.blobs.sizes(image.blobs))

    # Bases

    async def ensure_base(self, diff_ids: Sequence[str], progress: Progress) -> Path:
        """Give the base of these layers, made if it is missing or damaged (`Bases.ensure`).

        Raises `NotFound` for a layer, `NotSupported`, `NoSpace`, `HostError`.
        """
        chain = chain_of(diff_ids)
        with self._store.hold() as hold:
            for layer in (*chain_ids(diff_ids), chain):
                hold.layer(layer)
            return await self._store.bases.ensure(
                diff_ids, lambda done, total: progress("", "Making the base", done, total)
            )

    def base(self, diff_ids: Sequence[str]) -> Path | None:
        """Give the base of these layers if it has been made; it is not looked at."""
        chain = chain_of(diff_ids)
        return self._store.bases.path(chain) if self._store.bases.get(chain) else None

    async def verify_base(self, diff_ids: Sequence[str]) -> None:
        """Read all of a base. Raises `NotFound`, and `HostError` if it is damaged."""
        await self._store.bases.verify(chain_of(diff_ids))

    def history(self, image: Image) -> Sequence[dict[str, Any]]:
        """Give how an image came to be, the newest step first, as Docker's API shows it."""
        return history(image, self._store.layers, self.tags(image.id))

    async def check(
        self,
        users: Callable[[], Sequence[ImageUser]],
        *,
        repair: bool,
        known: Mapping[str, Credentials],
        progress: Progress,
    ) -> Sequence[Finding]:
        """Read everything; give what is damaged, and with `repair` what was done about it.

        `users` gives the machines as they are then, `known` credentials by registry. Raises
        `NoSpace`, `HostError`.
        """

        async def fetch(name: Reference, image: Image) -> None:
            await self.remote.restore(name, image, known, progress)

        return await Check(self._store, users, repair, progress, fetch).run()

    async def usage(self) -> Usage:
        """Say what images take up on the disk. Raises `HostError`."""
        return await usage.measure(self._store)

    # Making

    async def import_tar(
        self,
        source: AsyncIterator[bytes],
        *,
        reference: str = "",
        changes: Sequence[str] = (),
        message: str = "",
        platform: str = "",
        progress: Progress,
    ) -> Image:
        """Make an image of one layer of a tar, compressed or not.

        Raises `InvalidArgument` for a bad reference, change, platform or tar; `NoSpace`.
        """
        comment = message or "Imported from -"
        asked = importing.wanted([reference], changes, comment, platform)
        return await importing.import_tar(self._store, source, asked, progress)

    async def import_disk(
        self,
        source: AsyncIterator[bytes],
        *,
        reference: str,
        form: str = "",
        platform: str = "",
        progress: Progress,
    ) -> Image:
        """Make an image of the file of a disk; `form`: its format, empty: what it says itself.

        Raises `InvalidArgument` for a bad reference, format, platform or disk; `NoSpace`.
        """
        asked = keeping.wanted(reference, form, platform)
        return await keeping.import_disk(self._store, source, asked, progress)

    def export_disk(self, reference: str) -> tuple[Disk, AsyncGenerator[bytes, None]]:
        """Give what an image's disk is, and its file. Raises `NotFound`, `InvalidArgument`."""
        image = self.resolve(reference)
        if image.disk is None:
            raise InvalidArgument(
                f"{reference} is not a disk image", hint="`heft save` gives containers' images"
            )
        self._store.blobs.size(image.disk.digest)
        return image.disk, keeping.export(self._store, image.disk)

    async def bootstrap(
        self,
        template: str,
        *,
        options: Mapping[str, str | Sequence[str]],
        reference: str = "",
        progress: Progress,
    ) -> Image:
        """Make an image from a template; it gets the template's names unless one is given.

        Raises `NotFound` for the template, `InvalidArgument`, `NotSupported`, `ToolFailed`.
        """
        return await importing.bootstrap(self._store, template, options, reference, progress)

    async def commit(self, source: AsyncIterator[bytes], asked: committing.Asked) -> Image:
        """Make an image of another's layers and the tar of one more.

        Raises `Conflict` if the other was removed, `InvalidArgument` for the tar; `NoSpace`.
        """
        return await committing.commit(self._store, source, asked)

    async def load(self, source: AsyncIterator[bytes], *, progress: Progress) -> Sequence[str]:
        """Take in the images of an archive; give what to tell the user, a line each.

        Raises `InvalidArgument` for what is no archive of images, or a malformed one; `NoSpace`.
        """
        return await loading.load(self._store, source, progress)

    async def take(
        self, source: AsyncIterator[bytes], name: str, *, progress: Progress
    ) -> Sequence[str]:
        """Take in the one image of an archive, under this name; otherwise as `load`."""
        only = Reference.parse(name)
        if only.digest:
            raise InvalidArgument(f"an image cannot be named {name}: give it a tag")
        return await loading.load(self._store, source, progress, only=only.with_default_tag())

    def save(self, references: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """Give images as one tar. Raises `NotFound` here, not at the first block."""
        selection = saving.select(self._store, self.resolve, references)
        return saving.save(self._store, selection)

    # Names and removal

    def tag(self, source: str, target: str) -> None:
        """Give an image one more name; another image loses it. Raises `NotFound`."""
        image = self.resolve(source)
        name = Reference.parse(target)
        if name.digest:
            raise InvalidArgument("refusing to create a tag with a digest reference")
        name = name.with_default_tag()
        self._store.record(image, [name])
        self._store.publish("tag", image, name.familiar())

    def remove(
        self,
        reference: str,
        *,
        force: bool = False,
        users: Sequence[ImageUser] = (),
        prune_parents: bool = True,  # noqa: ARG002 - images here have no parents of their own
    ) -> tuple[Removed, ...]:
        """Remove a name, or an image with its last one. Raises `NotFound` and `Conflict`."""
        image = self.resolve(reference)
        return removal.remove(self._store, image, reference, force=force, users=users)

    def prune(
        self, *, keep: Callable[[Image], bool], in_use: frozenset[str]
    ) -> tuple[tuple[Removed, ...], int]:
        """Remove the images that no machine uses and `keep` does not want; give bytes freed too."""
        return removal.prune(self._store, keep=keep, in_use=in_use)
