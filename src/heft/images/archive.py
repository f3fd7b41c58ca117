"""Archives of images, as they are in a tar: of `docker save`, OCI layouts, skopeo's `dir:`.

Formats: moby's image-spec v1.2 (`manifest.json`), OCI image-spec, image-layout.md (`index.json`,
`oci-layout`, `blobs/`). An archive that has both is read by the first, which has the names.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

import msgspec

from heft.errors import HeftError, InvalidArgument
from heft.images import configs, platforms
from heft.images.reference import Reference, is_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from heft.images.platforms import Platform

MANIFEST = "manifest.json"
INDEX = "index.json"
LAYOUT = "oci-layout"
REPOSITORIES = "repositories"
VERSION = "version"
BLOBS = "blobs/sha256/"

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
DISK_TYPE = "application/vnd.heft.disk.v1"
"""The artifact type of a disk image (`heft.images.disks.artifact`)."""
IMAGE_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
_ATTESTATION = "vnd.docker.reference.type"
_MOST_LINKS = 8
_DEEPEST_INDEX = 4


class File(msgspec.Struct, frozen=True, array_like=True):
    """A file of an archive, by the number that it was spooled under."""

    number: int
    size: int
    digest: str


class ArchivedImage(msgspec.Struct, frozen=True):
    """One image of an archive; layers from the lowest up; its manifest, where there is one.

    Of an artifact, `artifact` is the media type of the configuration, and `layers` its blobs.
    """

    config: File
    layers: tuple[File, ...]
    names: tuple[Reference, ...]
    artifact: str = ""
    manifest: File | None = None


class ManifestItem(msgspec.Struct, frozen=True, rename="pascal"):
    """One image in `manifest.json`."""

    config: str
    layers: list[str] = []
    repo_tags: list[str] = []


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A reference to a blob (OCI image-spec, descriptor.md)."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}
    platform: dict[str, Any] = {}
    artifact_type: str = ""


class Index(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A list of images (OCI image-spec, image-index.md)."""

    schema_version: int
    media_type: str = ""
    manifests: list[Descriptor] = []

    @property
    def images(self) -> list[Descriptor]:
        """Give those of images, without what is said about these."""
        return [each for each in self.manifests if _ATTESTATION not in each.annotations]

    def best(self, wanted: Platform) -> Descriptor | None:
        """Give the image that fits a platform best; of several alike, the first."""
        fits = [(wanted.runs(platforms.of(each.platform)), each) for each in self.images]
        fitting = [(fit, each) for fit, each in fits if fit >= 0]
        return min(fitting, key=lambda pair: pair[0])[1] if fitting else None


class Manifest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One image (OCI image-spec, manifest.md)."""

    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor
    layers: list[Descriptor]


class Archive:
    """What a spooled archive holds; `read` gives the content of one of its files."""

    def __init__(
        self, files: Mapping[str, File], links: Mapping[str, str], read: Callable[[File], bytes]
    ) -> None:
        self._files = files
        self._links = links
        self._read = read

    def read(self, file: File) -> bytes:
        """Give a document of it."""
        return self._read(file)

    def images(self) -> list[ArchivedImage]:
        """Give all images. Raises `InvalidArgument` for what is no archive of images."""
        self._check_blobs()
        if MANIFEST in self._files and VERSION in self._files:
            return [self._by_directory()]
        if MANIFEST in self._files:
            return [*self._by_manifest(), *self._artifacts()]
        if INDEX in self._files:
            return self._by_index(self._json(INDEX, Index), ())
        raise InvalidArgument(
            "invalid archive: neither manifest.json nor index.json is in it",
            hint="a root file system is taken in by `import`",
        )

    def _check_blobs(self) -> None:
        for name, file in self._files.items():
            if name.startswith(BLOBS) and file.digest != f"sha256:{name[len(BLOBS) :]}":
                raise InvalidArgument(f"invalid archive: {name} has the digest {file.digest}")

    def _find(self, name: str) -> File:
        """Find a file by its name, through links within the archive."""
        path = posixpath.normpath(name.lstrip("/"))
        for _ in range(_MOST_LINKS):
            if path in self._files:
                return self._files[path]
            if path not in self._links:
                break
            path = self._links[path]
        raise InvalidArgument(f"invalid archive: {name} is missing")

    def _json(self, name: str, kind: type[configs.T]) -> configs.T:
        return configs.decode_json(self._read(self._find(name)), kind, name)

    def _blob(self, descriptor: Descriptor) -> File:
        if not is_digest(descriptor.digest):
            raise InvalidArgument(f"invalid archive: digest {descriptor.digest!r}")
        file = self._find(BLOBS + descriptor.digest.removeprefix("sha256:"))
        return _sized(file, descriptor)

    # Docker's own

    def _by_manifest(self) -> list[ArchivedImage]:
        return [
            ArchivedImage(
                self._find(item.config),
                tuple(map(self._find, item.layers)),
                tuple(map(_tagged, item.repo_tags)),
            )
            for item in self._json(MANIFEST, list[ManifestItem])
        ]

    # skopeo's `dir:` (containers/image, directory/directory_transport.go)

    def _by_directory(self) -> ArchivedImage:
        found = self._json(MANIFEST, Manifest)
        return _of_manifest(found, self._find(MANIFEST), self._beside, ())

    def _beside(self, descriptor: Descriptor) -> File:
        """Find a blob that lies beside the manifest under its digest in hex."""
        if not is_digest(descriptor.digest):
            raise InvalidArgument(f"invalid archive: digest {descriptor.digest!r}")
        file = self._find(descriptor.digest.removeprefix("sha256:"))
        if file.digest != descriptor.digest:
            raise InvalidArgument(
                f"invalid archive: {descriptor.digest} has the digest {file.digest}"
            )
        return _sized(file, descriptor)

    # OCI

    def _by_index(self, index: Index, names: tuple[Reference, ...]) -> list[ArchivedImage]:
        """Read the manifests of an index; the same one under several names is one image."""
        found: dict[str, ArchivedImage] = {}
        for descriptor in index.images:
            own = (*names, *_names(descriptor.annotations))
            image = self._image(descriptor, own)
            known = found.get(descriptor.digest)
            merged = dict.fromkeys((*(known.names if known else ()), *image.names))
            found[descriptor.digest] = msgspec.structs.replace(image, names=tuple(merged))
        return list(found.values())

    def _image(
        self, descriptor: Descriptor, names: tuple[Reference, ...], depth: int = 0
    ) -> ArchivedImage:
        file = self._blob(descriptor)
        content = self._read(file)
        if descriptor.media_type in INDEX_TYPES and depth < _DEEPEST_INDEX:
            index = configs.decode_json(content, Index, "image index")
            return self._image(_for_host(index), names, depth + 1)
        if descriptor.media_type not in MANIFEST_TYPES:
            raise InvalidArgument(f"invalid archive: media type {descriptor.media_type!r}")
        manifest = configs.decode_json(content, Manifest, "image manifest")
        return _of_manifest(manifest, file, self._blob, names)

    def _artifacts(self) -> list[ArchivedImage]:
        """Read what `manifest.json` has no word for: the index's disk images."""
        if INDEX not in self._files:
            return []
        index = self._json(INDEX, Index)
        found = [each for each in index.manifests if each.artifact_type == DISK_TYPE]
        return self._by_index(msgspec.structs.replace(index, manifests=found), ())


def _tagged(name: str) -> Reference:
    try:
        return Reference.parse(name).with_default_tag()
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid archive: name {name[:200]!r}: {error}") from error


def _sized(file: File, descriptor: Descriptor) -> File:
    if file.size != descriptor.size:
        raise InvalidArgument(
            f"invalid archive: {descriptor.digest} has {file.size} bytes, where"
            f" {descriptor.size} are said"
        )
    return file


def _of_manifest(
    manifest: Manifest,
    file: File,
    find: Callable[[Descriptor], File],
    names: tuple[Reference, ...],
) -> ArchivedImage:
    kind = manifest.config.media_type
    return ArchivedImage(
        find(manifest.config),
        tuple(map(find, manifest.layers)),
        names,
        "" if kind in configs.CONFIG_TYPES else kind,
        file,
    )


def _for_host(index: Index) -> Descriptor:
    """Choose the image for this host among those for several platforms; the only one, if so."""
    here = platforms.parse("")
    if (best := index.best(here)) is not None:
        return best
    if len(index.images) == 1:
        return index.images[0]
    raise InvalidArgument(f"invalid archive: no image for {here} is in it")


def _names(annotations: Mapping[str, str]) -> tuple[Reference, ...]:
    """Read an image's name from a descriptor; a bare tag names nothing."""
    text = annotations.get(IMAGE_NAME) or annotations.get(REF_NAME, "")
    if ":" not in text and "/" not in text:
        return ()
    try:
        return (Reference.parse(text).with_default_tag(),)
    except HeftError:
        return ()  # the annotation is free text in other tools' hands
