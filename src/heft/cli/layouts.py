"""Directories of images, and their way from and to archives: blob by blob, nothing is unpacked.

An OCI layout (image-spec, image-layout.md) is `oci-layout`, `index.json` and `blobs/`. skopeo's
`dir:` has a manifest and blobs side by side; it can be read. What is written is always a layout.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import stat
import tarfile

from heft.cli.failures import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO, Any

INDEX, LAYOUT, BLOBS = "index.json", "oci-layout", "blobs/sha256"
LARGEST_INDEX = 8 << 20
_BLOCK = 1 << 20
_BLOB = re.compile(r"(?:\./)?blobs/sha256/([0-9a-f]{64})")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_VERSION = b'{"imageLayoutVersion":"1.0.0"}'
_REF_NAME = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"
_NOT_WHAT_WAS_EXPECTED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What JSON raises that is none, or is no such document."""


def pack(directory: str) -> Iterator[bytes]:
    """Give a directory of images as an archive. Raises `Failure` for one that is none."""
    if os.path.exists(f"{directory}/{INDEX}"):
        blobs = (f"{BLOBS}/{name}" for name in _listed(f"{directory}/{BLOBS}"))
        names = [LAYOUT, INDEX, *filter(_BLOB.fullmatch, blobs)]
    elif os.path.exists(f"{directory}/manifest.json"):
        names = _listed(directory)
    else:
        raise Failure(f"{directory} holds no image: neither {INDEX} nor manifest.json is in it")
    for name in names:
        yield from _member(directory, name)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError as error:
        raise _unreadable(directory, error) from None


def _unreadable(path: str, error: OSError) -> Failure:
    return Failure(f"open {path}: {(error.strerror or str(error)).lower()}")


def _member(directory: str, name: str) -> Iterator[bytes]:
    """Give a file as an archive has it; what is no regular file is left out."""
    path = f"{directory}/{name}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(path, error) from None
    with open(descriptor, "rb", 0) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return
        info = tarfile.TarInfo(name)
        info.size = left = status.st_size
        yield info.tobuf(tarfile.PAX_FORMAT)
        while left and (block := file.read(min(left, _BLOCK))):
            left -= len(block)
            yield block
        if left:
            raise Failure(f"{path} was cut while it was read")
    if padding := -info.size % tarfile.BLOCKSIZE:
        yield bytes(padding)


class _Stream(io.RawIOBase):
    """Blocks that come in, as a file to read."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Give up to so many bytes; none at the end."""
        while not self._rest and (block := next(self._blocks, None)) is not None:
            self._rest = block
        size = len(self._rest) if size < 0 else size
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


class Layout:
    """A layout that an archive is put into, beside what is in it already."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._new: list[str] = []
        """Files and directories that were not there, in the order in which they came."""

    def take(self, blocks: Iterable[bytes]) -> None:
        """Put an archive into it, whole or not at all. Raises `Failure`."""
        try:
            self._make_directories()
            with self._locked():
                index = self._blobs(blocks)
                for each in index["manifests"]:
                    if not self._is_whole(each["digest"], set()):
                        raise Failure(f"the archive has not all of its image {each['digest']}")
                merged = _merged(self._index(), index)
                for name, content in ((LAYOUT, _VERSION), (INDEX, _encoded(merged))):
                    with self._appearing(name) as file:
                        file.write(content)
        except BaseException as error:
            self._undo()
            if isinstance(error, (tarfile.TarError, EOFError, ValueError)):
                raise Failure(f"invalid archive: {error}") from None
            if isinstance(error, OSError):
                where = error.filename or self._directory
                raise Failure(f"failed to copy image: {where}: {error.strerror}") from None
            raise

    def _make_directories(self) -> None:
        path, missing = f"{self._directory}/{BLOBS}", []
        while path and not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):  # by another copy
                os.mkdir(path)
                self._new.append(path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let no other copy into it meanwhile: the index of one would be lost."""
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def _blobs(self, blocks: Iterable[bytes]) -> dict[str, Any]:
        """Write the archive's blobs; give its index."""
        index = b""
        with tarfile.open(fileobj=_Stream(blocks), mode="r|*", bufsize=_BLOCK) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content is None:
                    continue
                if (blob := _BLOB.fullmatch(member.name)) is not None:
                    self._blob(content, blob[1])
                elif member.name.removeprefix("./") == INDEX and member.size <= LARGEST_INDEX:
                    index = content.read()
        if not index:
            raise Failure(
                f"the archive has no {INDEX}, as those of old Dockers: copy it into the store"
                " first (heft image cp ARCHIVE NAME), and from there"
            )
        return _decoded(index, "the archive")

    def _blob(self, content: IO[bytes], name: str) -> None:
        hashed = hashlib.sha256()
        with self._appearing(f"{BLOBS}/{name}") as file:
            while block := content.read(_BLOCK):
                hashed.update(block)
                file.write(block)
            if hashed.hexdigest() != name:
                raise Failure(
                    f"invalid archive: {BLOBS}/{name} has the digest sha256:{hashed.hexdigest()}"
                )

    def _is_whole(self, digest: str, seen: set[str], deep: int = 3) -> bool:
        """Say whether an image is all there; of one for several platforms, one of them."""
        if deep < 0 or digest in seen or not self._has(digest):
            return False
        seen.add(digest)
        try:
            with open(f"{self._directory}/{BLOBS}/{digest[7:]}", "rb") as file:
                document = json.loads(file.read(LARGEST_INDEX + 1))
            if "manifests" in document:
                found = (each["digest"] for each in document["manifests"])
                return any(self._is_whole(each, seen, deep - 1) for each in found)
            parts = [document["config"], *document["layers"]]
            return all(part.get("urls") or self._has(part["digest"]) for part in parts)
        except _NOT_WHAT_WAS_EXPECTED:
            return False

    def _has(self, digest: str) -> bool:
        name = _DIGEST.fullmatch(digest)
        return name is not None and os.path.exists(f"{self._directory}/{BLOBS}/{name[1]}")

    def _index(self) -> dict[str, Any]:
        try:
            with open(f"{self._directory}/{INDEX}", "rb") as file:
                return _decoded(file.read(LARGEST_INDEX + 1), self._directory)
        except FileNotFoundError:
            return {"schemaVersion": 2, "manifests": []}

    @contextlib.contextmanager
    def _appearing(self, name: str) -> Iterator[IO[bytes]]:
        """Give a file that has its name when the block has ended well."""
        target = f"{self._directory}/{name}"
        partial = f"{os.path.dirname(target)}/.{os.path.basename(target)}.{os.getpid()}"
        try:
            with open(partial, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if not os.path.exists(target):
                self._new.append(target)
            os.rename(partial, target)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(partial)

    def _undo(self) -> None:
        """Take away what was put in."""
        for path in reversed(self._new):
            with contextlib.suppress(OSError):
                os.rmdir(path) if os.path.isdir(path) else os.unlink(path)


def _encoded(index: dict[str, Any]) -> bytes:
    return json.dumps(index, separators=(",", ":")).encode()


def _decoded(content: bytes, where: str) -> dict[str, Any]:
    try:
        index = json.loads(content)
        for each in index["manifests"]:
            each["digest"].encode(), _name(each)
    except _NOT_WHAT_WAS_EXPECTED:
        raise Failure(f"the {INDEX} of {where} is not an image index") from None
    return dict(index)


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Add images to an index; a name that it had before is then the new image's."""
    names = {_name(each) for each in new["manifests"]} - {""}
    digests = {each["digest"] for each in new["manifests"] if not _name(each)}
    kept = [
        each
        for each in old["manifests"]
        if (_name(each) not in names if _name(each) else each["digest"] not in digests)
    ]
    return {**old, "manifests": [*kept, *new["manifests"]]}


def _name(descriptor: dict[str, Any]) -> str:
    annotations = descriptor.get("annotations") or {}
    return str(annotations.get(_FULL_NAME) or annotations.get(_REF_NAME, ""))
