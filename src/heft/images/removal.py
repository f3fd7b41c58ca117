"""`rmi` and `image prune`: names and images go, unless somebody needs them.

The rules and their wording are moby's (daemon/images/image_delete.go): a running machine's image
cannot be removed at all, one that a stopped machine uses or that has several names only by force.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import Conflict
from heft.images.reference import Reference, id_prefix, is_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from heft.images.store import Store
    from heft.model.image import Image

_SHORT = 12


@dataclass(frozen=True, slots=True)
class ImageUser:
    """A machine, and the image that it was made of."""

    machine_id: str
    image_id: str
    running: bool
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    """A name that was taken away, or an image or layer that was deleted: one of the two."""

    untagged: str = ""
    deleted: str = ""


def remove(
    store: Store, image: Image, reference: str, *, force: bool, users: Sequence[ImageUser]
) -> tuple[Removed, ...]:
    """Remove a name of an image, or the image with the last of them. Raises `Conflict`."""
    store.forget_remains(frozenset(user.image_id for user in users))
    users = [user for user in users if user.image_id == image.id]
    removed: list[Removed] = []
    names = store.references(image.id)
    only_name = _in_one_repository(names)
    if not _is_id(store, image, reference):
        if not force and only_name and users:
            raise Conflict(
                f'conflict: unable to remove repository reference "{reference}" (must force) -'
                f" container {users[0].machine_id[:_SHORT]} is using its referenced image"
                f" {_short(image)}"
            )
        name = Reference.parse(reference).with_default_tag()
        for each in (str(name), *_only_digests(store, image, name)):
            _untag(store, image, each, removed)
        if store.references(image.id):
            return tuple(removed)
        if _conflict(image, [], force=force, users=users):
            return tuple(removed)  # the name was all that could be taken away
    elif conflict := _conflict(image, [] if only_name else names, force=force, users=users):
        raise Conflict(conflict)
    _delete(store, image, removed, remains=bool(users))
    return tuple(removed)


def _only_digests(store: Store, image: Image, name: Reference) -> list[str]:
    """Give an image's names in a repository if all but this one are digests: they go with it."""
    if name.digest:
        return []
    others = [Reference.parse(each) for each in store.references(image.id) if each != str(name)]
    own = [each for each in others if each.name == name.name]
    return [] if any(each.tag for each in own) else [str(each) for each in own]


def prune(
    store: Store, *, keep: Callable[[Image], bool], in_use: frozenset[str]
) -> tuple[tuple[Removed, ...], int]:
    """Remove the images that nobody uses and `keep` does not want; give bytes freed too."""
    store.forget_remains(in_use)
    removed: list[Removed] = []
    freed = 0
    for image in tuple(store.images.values()):
        if image.id not in in_use and not keep(image):
            freed += _delete(store, image, removed, remains=False)
    return tuple(removed), freed


def _untag(store: Store, image: Image, name: str, removed: list[Removed]) -> None:
    familiar = Reference.parse(name).familiar()
    store.unname(name)
    removed.append(Removed(untagged=familiar))
    store.publish("untag", image, familiar)


def _delete(store: Store, image: Image, removed: list[Removed], *, remains: bool) -> int:
    names = [Reference.parse(name).familiar() for name in store.references(image.id)]
    chains, freed = store.delete(image, remains=remains)
    for name in names:
        removed.append(Removed(untagged=name))
        store.publish("untag", image, name)
    removed.append(Removed(deleted=image.id))
    removed.extend(Removed(deleted=chain) for chain in chains)
    store.publish("delete", image)
    return freed


def _conflict(
    image: Image, names: Sequence[str], *, force: bool, users: Sequence[ImageUser]
) -> str:
    """Say what speaks against removing an image; nothing if nothing does."""
    running = next((user for user in users if user.running), None)
    if running is not None:
        return (
            f"conflict: unable to delete {_short(image)} (cannot be forced) - image is being used"
            f" by running container {running.machine_id[:_SHORT]}"
        )
    if force:
        return ""
    soft = f"conflict: unable to delete {_short(image)} (must be forced) - image is"
    if len(names) > 1:
        return f"{soft} referenced in multiple repositories"
    if users:
        return f"{soft} being used by stopped container {users[0].machine_id[:_SHORT]}"
    return ""


def _in_one_repository(names: Sequence[str]) -> bool:
    """Say whether an image has at most one tag, and digests in the same repository only."""
    references = [Reference.parse(name) for name in names]
    tags = [reference for reference in references if reference.tag]
    return len(tags) <= 1 and len({reference.name for reference in references}) <= 1


def _is_id(store: Store, image: Image, reference: str) -> bool:
    """Say whether an image was meant by its id; what is its name as well was meant as the name."""
    prefix = id_prefix(reference)
    if not prefix or not image.id.startswith(f"sha256:{prefix}"):
        return False
    if is_digest(reference) or is_digest(f"sha256:{reference}"):
        return True
    return store.names.get(str(Reference.parse(reference).with_default_tag())) != image.id


def _short(image: Image) -> str:
    return image.id.removeprefix("sha256:")[:_SHORT]
