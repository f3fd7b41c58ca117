"""Tar streams: what comes in is hashed and kept, every entry parsed, all damage an error."""

import gzip
import hashlib
import io
import lzma
import os
import queue
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heft.images.compression import Broken, Compression
from heft.images.entries import Malformed, attributes, entries, extents, modified, plain
from heft.images.forward import LONGEST_HEADER, Truncated
from heft.images.intake import Intake, Taken
from heft.images.tree import inside


@contextmanager
def piped(data: bytes, keep: int | None = None) -> Iterator[Intake]:
    """Give an intake that reads the data from a pipe."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as file, suppress(BrokenPipeError):
            file.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    intake = Intake(reading, keep)
    try:
        yield intake
    finally:
        # What was not read must not keep the two threads waiting, and the intake's must have
        # ended: the next pipe may have this one's number.
        while os.read(reading, 1 << 20):
            pass
        thread.join()
        while intake._thread.is_alive():
            with suppress(queue.Empty):
                intake._queue.get(timeout=0.001)
        os.close(reading)


def tar(*members: tuple[tarfile.TarInfo, bytes], **options: Any) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", **options) as archive:
        for info, data in members:
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def member(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def contents(data: bytes) -> dict[str, bytes]:
    with piped(data) as stream:
        found = {entry.name: b"".join(stream.pieces(entry.size)) for entry in entries(stream)}
        stream.finish()
    return found


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_formats(form: int) -> None:
    name = "directory/" * 12 + "file"
    data = tar(member(name, b"content"), member("empty"), format=form)
    assert contents(data) == {name: b"content", "empty": b""}


def test_names_of_any_length() -> None:
    name = "/".join(["n" * 200] * 15)
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        data = tar(
            member(name, b"x"), member("l", type=tarfile.SYMTYPE, linkname=name), format=kind
        )
        with piped(data) as stream:
            first, second = list(entries(stream))
        assert first.name == second.linkname == name


@pytest.mark.parametrize(
    ("compress", "kind", "stored_as_it_came"),
    [
        (bytes, Compression.NONE, True),
        (gzip.compress, Compression.GZIP, True),
        (lzma.compress, Compression.XZ, False),
    ],
)
def test_what_is_kept(
    tmp_path: Path, compress: Callable[[bytes], bytes], kind: Compression, stored_as_it_came: bool
) -> None:
    plain = tar(member("a", bytes(3_000_000)), member("b", b"x" * 99))
    data = compress(plain)
    with (tmp_path / "kept").open("wb") as kept, piped(data, kept.fileno()) as stream:
        assert [entry.name for entry in entries(stream)] == ["a", "b"]
        taken = stream.finish()
    stored = data if stored_as_it_came else plain
    assert (tmp_path / "kept").read_bytes() == stored
    assert taken == Taken(
        digest=digest(stored),
        size=len(stored),
        plain_digest=digest(plain),
        plain_size=len(plain),
        compression=kind if stored_as_it_came else Compression.NONE,
    )


def test_what_follows_the_end_counts_and_is_not_read() -> None:
    data = tar(member("a", b"1")) + b"anything"
    with piped(data) as stream:
        assert [entry.name for entry in entries(stream)] == ["a"]
        assert stream.finish().plain_digest == digest(data)


def test_truncated() -> None:
    data = tar(member("a", bytes(100_000)))
    for size in (100, 513, 50_000):
        with piped(data[:size]) as stream, pytest.raises(Truncated):
            list(entries(stream))


def test_compressed_data_that_breaks_off() -> None:
    data = gzip.compress(tar(member("a", os.urandom(100_000))))
    with piped(data[:5000]) as stream, pytest.raises(Broken):
        list(entries(stream))


def test_damage_in_the_middle_is_no_end() -> None:
    data = bytearray(tar(member("a", b"1"), member("b", b"2")))
    data[1024] ^= 0xFF
    with piped(bytes(data)) as stream, pytest.raises(Malformed, match="bad checksum"):
        list(entries(stream))


def test_gigantic_header() -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, LONGEST_HEADER + 1
    data = info.tobuf(tarfile.GNU_FORMAT) + bytes(4 << 20)
    with piped(data) as stream, pytest.raises(Truncated, match="a header of"):
        list(entries(stream))


def test_no_end_of_long_names() -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    data = (info.tobuf(tarfile.GNU_FORMAT) + bytes(512)) * 5000
    with piped(data) as stream, pytest.raises(Malformed):
        list(entries(stream))


def test_negative_size() -> None:
    info = tarfile.TarInfo("a")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = tarfile.itn(-512, 12, tarfile.GNU_FORMAT)  # type: ignore[attr-defined]
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with piped(bytes(header) + bytes(1024)) as stream, pytest.raises((Malformed, Truncated)):
        list(entries(stream))


def test_times_to_the_nanosecond() -> None:
    cases = {
        "12.000000001": 12_000_000_001,
        "0.5": 500_000_000,
        "-1.5": -1_500_000_000,
        "7": 7 * 10**9,
    }
    for text, expected in cases.items():
        info, _ = member("a", pax_headers={"mtime": text})
        with piped(tar((info, b""), format=tarfile.PAX_FORMAT)) as stream:
            (entry,) = entries(stream)
        assert modified(entry) == expected
    broken, _ = member("a", pax_headers={"mtime": "soon"})
    with pytest.raises(Malformed):
        modified(broken)


def test_attributes_are_bytes() -> None:
    value = bytes(range(1, 256)).decode("utf-8", "surrogateescape")
    headers = {"SCHILY.xattr.user.a": "1", "SCHILY.xattr.security.capability": value, "x": "y"}
    with piped(tar(member("a", pax_headers=headers), format=tarfile.PAX_FORMAT)) as stream:
        (entry,) = entries(stream)
    assert attributes(entry) == {"user.a": b"1", "security.capability": bytes(range(1, 256))}


def test_sparse_maps_stay_within_the_file() -> None:
    info = tarfile.TarInfo("a")
    info.size = 100
    info.sparse = [(0, 10), (90, 10)]
    assert extents(info) == [(0, 10), (90, 10)]
    for wrong in ([(90, 11)], [(-1, 5)], [(5, -1)]):
        info.sparse = wrong
        with pytest.raises(Malformed):
            extents(info)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/b", "a/b"),
        ("./a//b/", "a/b"),
        ("/etc/passwd", "etc/passwd"),
        ("//etc", "etc"),
        ("a/../b", "b"),
        ("", "."),
        ("/", "."),
        ("./", "."),
    ],
)
def test_paths(name: str, path: str) -> None:
    assert inside(name) == path


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "/../x", "./.."])
def test_paths_that_lead_out(name: str) -> None:
    with pytest.raises(Malformed, match="outside"):
        inside(name)


names = st.text(
    st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1, max_size=40
).filter(lambda name: name.strip("/"))


@given(st.dictionaries(names, st.binary(max_size=2000), max_size=6))
@settings(max_examples=40)
def test_round_trip(files: dict[str, bytes]) -> None:
    data = tar(*(member(name, content) for name, content in files.items()))
    found = contents(data)
    assert {name.rstrip("/") for name in files} == {name.rstrip("/") for name in found}


@given(st.data())
@settings(max_examples=60)
def test_damage_is_an_error_or_harmless(data: st.DataObject) -> None:
    whole = bytearray(
        tar(
            member("a" * 150, b"content", pax_headers={"SCHILY.xattr.user.x": "y"}),
            member("link", type=tarfile.SYMTYPE, linkname="b" * 150),
        )
    )
    for _ in range(data.draw(st.integers(1, 5))):
        position = data.draw(st.integers(0, len(whole) - 1))
        whole[position] = data.draw(st.integers(0, 255))
    with piped(bytes(whole)) as stream:
        try:
            for entry in entries(stream):
                for _ in stream.pieces(min(entry.size, 1 << 20), short=True):
                    pass
            stream.finish()
        except (Malformed, Truncated, Broken):
            pass


FIELDS = ("name", "mode", "uid", "gid", "size", "mtime", "type", "linkname")
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT)
KINDS = (tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """A header as other programs write it, most often with something changed, its sum made good."""
    info = tarfile.TarInfo(draw(st.text("aä/.", min_size=1, max_size=90)))
    info.type = draw(st.sampled_from((*KINDS, tarfile.CHRTYPE, tarfile.AREGTYPE, b"x", b"S")))
    info.mode = draw(st.integers(0, 0o7777))
    info.uid, info.gid = draw(st.integers(0, 0o7777777)), draw(st.integers(0, 0o7777777))
    info.size, info.mtime = draw(st.integers(0, (1 << 33) - 1)), draw(st.integers(0, (1 << 33) - 1))
    info.linkname = draw(st.text("aä/.", max_size=40))
    head = bytearray(info.tobuf(draw(st.sampled_from(FORMATS)))[:512])
    for at, byte in draw(
        st.dictionaries(st.integers(0, 511), st.integers(0, 255), max_size=3)
    ).items():
        head[at] = byte
    if draw(st.booleans()):
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


@given(headers())
def test_what_is_read_quickly_is_read_as_the_standard_library_does(head: bytes) -> None:
    found = plain(head)
    if found is None:
        return
    expected = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    assert {n: getattr(found, n) for n in FIELDS} == {n: getattr(expected, n) for n in FIELDS}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_usual_is_read_quickly(form: int, kind: bytes) -> None:
    info = tarfile.TarInfo("a/b")
    info.type, info.linkname = kind, "c"
    assert plain(info.tobuf(form)) is not None
