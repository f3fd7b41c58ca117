"""What a guest says of its files, as far as it can be believed, and what is sent to it."""

import gzip
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest

from heft.errors import HostError, InvalidArgument
from heft.guest.filing import GuestFiles
from heft.guest.protocol import Tag
from heft.guest.records import Fields, Record
from heft.model import files as model_files
from heft.model.files import Change, ChangeKind, Landing
from heft.tars import headers

if TYPE_CHECKING:
    from heft.guest.transfers import Transfers


class Guest:
    """Says what it is told to say, and keeps what it is given."""

    def __init__(self, *said: bytes, name: str = "") -> None:
        self.said = said
        self.answer = Record(Fields().text(Tag.NAME, name).encode())
        self.taken = b""

    @asynccontextmanager
    async def given(self, _: object, __: object) -> AsyncIterator[tuple[Record, Any]]:
        async def blocks() -> AsyncIterator[bytes]:
            for each in self.said:
                yield each

        yield self.answer, blocks()

    async def take(self, _: object, source: AsyncIterator[bytes]) -> None:
        async for block in source:
            self.taken += block


def files(guest: Guest) -> GuestFiles:
    return GuestFiles(cast("Transfers", guest), "box")


def row(path: str, kind: int = 1) -> bytes:
    change = Fields().number(Tag.KIND, kind).text(Tag.PATH, path)
    return Fields().record(Tag.ROW, change).encode()


async def test_changes_however_they_are_cut() -> None:
    whole = row("/a") + row("/ä", 2) + row("/c", 0)
    for size in (1, 7, len(whole)):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert await files(Guest(*pieces)).changes() == (
            Change("/a", ChangeKind.ADDED),
            Change("/ä", ChangeKind.DELETED),
            Change("/c", ChangeKind.MODIFIED),
        )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (row("/a")[:-1], "broke its list of changes off"),
        (row("/a", 9), "a change that is none"),
        (row("/" + "a" * 20_000), "too long"),
        (Fields().data(Tag.ROW, b"\1").encode(), "a change that is none"),
    ],
)
async def test_changes_that_are_none(said: bytes, words: str) -> None:
    with pytest.raises(HostError, match=words):
        await files(Guest(said)).changes()


class Liar:
    """Says what is at a path."""

    def __init__(self, answer: Fields) -> None:
        self.answer = Record(answer.encode())

    async def status(self, _: str) -> Record:
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        Fields().number(Tag.MODE, 2**64 - 1),
        Fields().number(Tag.MODE, 0x10000),
        Fields().number(Tag.SIZE, 2**63),
        Fields().data(Tag.MTIME, bytes(9)),
    ],
)
async def test_a_file_that_is_none(answer: Fields) -> None:
    told = GuestFiles(cast("Transfers", Liar(answer)), "box")
    with pytest.raises(HostError, match="told of a file that is none"):
        await told.status("/a")


DIRECTORY = headers.encode(b"etc/", kind=headers.DIRECTORY)
SSH = headers.encode(b".ssh/", kind=headers.DIRECTORY)


@pytest.mark.parametrize(
    ("path", "name"), [("/etc", "etc"), ("/etc/", "etc"), ("/etc/.", "."), ("/a/..", "/")]
)
async def test_what_is_given_is_called_as_it_was_asked_for(path: str, name: str) -> None:
    """Else a guest that says it is the whole root gives files of any name to who asked for one."""
    for told in (".", "", "/", "other"):
        guest = Guest(DIRECTORY, SSH, headers.END, name=told)
        async with files(guest).pack(path) as (status, given):
            assert status.name == name
            if name == "etc":
                with pytest.raises(HostError, match=r"'\.ssh/' was not asked for"):
                    await drained(given)
            else:
                await drained(given)


async def test_an_export_is_looked_at_as_well() -> None:
    out = headers.encode(b"up", kind=headers.SYMLINK, link=b"/etc")
    for good in (SSH, out):
        async with files(Guest(good, headers.encode(b"f"), headers.END)).pack_root() as given:
            await drained(given)
    async with files(Guest(SSH)).pack_root() as given:
        with pytest.raises(HostError, match="broke the tar off"):
            await drained(given)
    for bad in (headers.encode(b"../f"), out + headers.encode(b"up/f"), os.urandom(512)):
        async with files(Guest(bad)).pack_root() as given:
            with pytest.raises(HostError, match="a tar that is none"):
                await drained(given)


async def drained(given: AsyncIterator[bytes]) -> None:
    async for _ in given:
        pass


async def test_changes_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "MOST_CHANGES", 10)
    with pytest.raises(HostError, match="too many files to list"):
        await files(Guest(*[row("/a")] * 11)).changes()


async def test_few_changes_of_long_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of half a million names of 16 KiB each the daemon would take 8 GiB."""
    monkeypatch.setattr(model_files, "MOST_TOLD", 1 << 20)
    long = row("/" + "a" * 16_000)
    assert len(await files(Guest(*[long] * 60)).changes()) == 60
    with pytest.raises(HostError, match="too many files to list"):
        await files(Guest(*[long] * 70)).changes()


async def blocks(content: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


@pytest.mark.parametrize("size", [1, 5, 1000, 1 << 20])
async def test_a_tar_reaches_the_guest_decompressed(size: int) -> None:
    content = os.urandom(3000)
    for sent in (content, gzip.compress(content), gzip.compress(content) * 2):
        guest = Guest()
        await files(guest).unpack("/", blocks(sent, size), Landing())
        assert guest.taken in (content, content * 2)


async def test_a_tar_whose_compression_is_damaged() -> None:
    for sent in (gzip.compress(b"x" * 1000)[:-4], b"\x1f\x8b" + bytes(100)):
        with pytest.raises(InvalidArgument, match="gzip"):
            await files(Guest()).unpack("/", blocks(sent, 10), Landing())
