"""Directories of images, and their way from and to archives: blob by blob, nothing is unpacked.

An OCI layout (image-spec, image-layout.md) is `oci-layout`, `index.json` and `blobs/`. skopeo's
`dir:` has a manifest and blobs side by side; it can be read. What is written is always a layout.
"""

from __future__ import annotations

import contextlib
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
_VERSION = b'{"imageLayoutVersion":"1.0.0"}'
_REF_NAME = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"


def pack(directory: str) -> Iterator[bytes]:
    """Give a directory of images as an archive. Raises `Failure` for one that is none."""
    if os.path.exists(f"{directory}/{INDEX}"):
        blobs = sorted(os.listdir(f"{directory}/{BLOBS}"))
        names = [LAYOUT, INDEX, *(f"{BLOBS}/{name}" for name in blobs)]
    elif os.path.exists(f"{directory}/manifest.json"):
        names = sorted(os.listdir(directory))
    else:
        raise Failure(f"{directory} holds no image: neither {INDEX} nor manifest.json is in it")
    for name in names:
        yield from _member(directory, name)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _member(directory: str, name: str) -> Iterator[bytes]:
    """Give a file as an archive has it; what is no regular file is left out."""
    path = f"{directory}/{name}"
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", 0) as file:
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
    yield bytes(-info.size % tarfile.BLOCKSIZE)


class _Stream(io.RawIOBase):
    """Blocks that come in, as a file to read."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Give up to so many bytes; none at the end."""
        if not self._rest:
            self._rest = next(self._blocks, b"")
        size = len(self._rest) if size < 0 else size
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


class Layout:
    """A layout that an archive is put into, beside what is in it already."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._new: list[str] = []

    def take(self, blocks: Iterable[bytes]) -> None:
        """Put an archive into it, whole or not at all. Raises `Failure`."""
        made = not os.path.isdir(self._directory)
        try:
            os.makedirs(f"{self._directory}/{BLOBS}", exist_ok=True)
            index = self._blobs(blocks)
            merged = _merged(self._index(), index)
            self._write(LAYOUT, _VERSION)
            self._write(INDEX, json.dumps(merged, separators=(",", ":")).encode())
        except BaseException as error:
            self._undo(made=made)
            if isinstance(error, (tarfile.TarError, EOFError)):
                raise Failure(f"invalid archive: {error}") from None
            if isinstance(error, OSError):
                where = error.filename or self._directory
                raise Failure(f"failed to copy image: {where}: {error.strerror}") from None
            raise

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
        target = f"{self._directory}/{BLOBS}/{name}"
        partial = f"{self._directory}/{BLOBS}/.{name}.{os.getpid()}"
        hashed = hashlib.sha256()
        try:
            with open(partial, "xb", 0) as file:
                while block := content.read(_BLOCK):
                    hashed.update(block)
                    file.write(block)
            if hashed.hexdigest() != name:
                raise Failure(
                    f"invalid archive: {BLOBS}/{name} has the digest sha256:{hashed.hexdigest()}"
                )
            if not os.path.exists(target):
                self._new.append(target)
            os.rename(partial, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)

    def _index(self) -> dict[str, Any]:
        try:
            with open(f"{self._directory}/{INDEX}", "rb") as file:
                return _decoded(file.read(LARGEST_INDEX + 1), self._directory)
        except FileNotFoundError:
            return {"schemaVersion": 2, "manifests": []}

    def _write(self, name: str, content: bytes) -> None:
        partial = f"{self._directory}/.{name}.{os.getpid()}"
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(partial, f"{self._directory}/{name}")

    def _undo(self, *, made: bool) -> None:
        """Take away what was put in; the directory too if it was not there."""
        for path in self._new:
            os.unlink(path)
        if made:
            with contextlib.suppress(OSError):
                for name in (LAYOUT, INDEX):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(f"{self._directory}/{name}")
                os.removedirs(f"{self._directory}/{BLOBS}")


def _decoded(content: bytes, where: str) -> dict[str, Any]:
    try:
        index = json.loads(content)
        for each in index["manifests"]:
            each["digest"], each.get("annotations")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
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
