"""Tars that come through a pipe to be put into a machine, compressed or not."""

import gzip
import io
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from heft.files.incoming import LARGE, incoming
from heft.images.entries import entries
from heft.images.forward import Forward, Truncated

SIZES = (0, 1, 5000, LARGE - 1, LARGE, LARGE + 1, 5 * LARGE + 7)
CONTENTS = {f"file-{size}": os.urandom(size) for size in SIZES}


@contextmanager
def piped(data: bytes) -> Iterator[Forward]:
    """Give what reads the data from a pipe."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as file, suppress(BrokenPipeError):
            file.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield incoming(reading)
    finally:
        os.close(reading)
        thread.join()


def tar() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in CONTENTS.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_every_file_gets_its_bytes(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    with piped(pack(tar())) as stream:
        for entry in entries(stream):
            with (tmp_path / entry.name).open("wb", buffering=0) as file:
                stream.pour(entry.size, file.fileno())
        stream.read_end()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == CONTENTS


@pytest.mark.parametrize("size", [100, 3 * LARGE])
def test_an_early_end_is_an_error(tmp_path: Path, size: int) -> None:
    with piped(b"x" * size) as stream, (tmp_path / "file").open("wb", buffering=0) as file:
        with pytest.raises(Truncated):
            stream.pour(size + 1 + LARGE, file.fileno())
        assert file.tell() == size
