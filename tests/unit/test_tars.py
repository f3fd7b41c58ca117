"""Tars that Heft writes, read by the standard library and by Heft's own reader."""

import io
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.tars import headers
from heft.tars.landing import Landing, Refused, inside
from heft.tars.packing import Packer
from heft.tars.reading import LARGEST_RECORDS, Entry, Reader, records

part = st.text(
    st.characters(blacklist_characters="/\0\ud800", blacklist_categories=["Cs"]), min_size=1
).filter(lambda text: text not in (".", ".."))
name = st.lists(part, min_size=1, max_size=40).map("/".join)
value = st.binary(max_size=300)


@given(
    name,
    st.integers(0, 0o7777),
    st.integers(0, 1 << 31),
    st.integers(0, 1 << 40),
    st.integers(-(1 << 33), 1 << 36),
    st.dictionaries(st.sampled_from(["user.a", "user.b", "security.capability"]), value),
)
def test_headers_are_read_as_they_were_written(
    name: str, mode: int, uid: int, size: int, mtime: int, attributes: dict[str, bytes]
) -> None:
    raw = headers.encode(
        os.fsencode(name),
        mode=mode,
        uid=uid,
        gid=uid // 2,
        size=size,
        mtime=mtime,
        attributes=attributes,
    )
    assert len(raw) % headers.BLOCK == 0
    with tarfile.open(fileobj=io.BytesIO(raw + headers.END)) as tar:
        read = tar.next()
    assert read is not None
    assert (read.name, read.mode, read.uid, read.gid) == (name.rstrip("/"), mode, uid, uid // 2)
    assert (read.size, int(read.mtime)) == (size, mtime)
    for key, content in attributes.items():
        text = read.pax_headers[f"SCHILY.xattr.{key}"]
        assert text.encode("utf-8", "surrogateescape") == content or b"\0" in content
    (entry, moment) = next(Reader(iter([raw])).entries())
    assert (entry.name, entry.uid, entry.size, moment) == (name, uid, size, mtime * 10**9)
    assert entry.attributes() == attributes


@given(st.binary(max_size=2048), st.integers(1, 700))
def test_the_reader_survives_anything(data: bytes, cut: int) -> None:
    pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
    try:
        for entry, _ in Reader(iter(pieces)).entries():
            inside(entry.name)
    except Refused:
        pass


@given(st.data())
def test_the_reader_survives_damage(data: st.DataObject) -> None:
    good = bytearray(
        headers.encode(b"a/" * 80 + b"b", size=3, attributes={"user.a": b"1"})
        + b"abc".ljust(512, b"\0")
        + headers.END
    )
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        for _ in Reader(iter([bytes(good)])).entries():
            pass
    except Refused:
        pass


def packed(place: Path) -> bytes:
    """Pack a directory; what is in it has names from it."""
    with (place.parent / "out.tar").open("w+b", buffering=0) as target:
        packer = Packer(target.fileno())
        packer.tree(os.open(place, os.O_RDONLY), "top")
        packer.finish()
        return (place.parent / "out.tar").read_bytes()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    place = tmp_path / "tree"
    (place / "deep/er").mkdir(parents=True)
    (place / "deep/er/file").write_text("text\n")
    (place / ("long" * 40)).write_text("long\n")
    (place / "big").write_bytes(os.urandom(200_000))
    (place / "link").symlink_to("/etc/passwd")
    os.link(place / "big", place / "same")
    os.mkfifo(place / "fifo")
    os.utime(place / "deep", (5, 5))
    with (place / "holes").open("wb") as file:
        file.seek(10 << 20)
        file.write(b"end")
        file.truncate(20 << 20)
    return place


def test_a_tree(tree: Path) -> None:
    content = packed(tree)
    assert len(content) < 1 << 20, "holes are not written out"
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        names = tar.getnames()
        assert names == sorted(names)
        assert tar.getmember("top/same").islnk()
        assert tar.getmember("top/same").linkname == "top/big"
        assert tar.getmember("top/link").linkname == "/etc/passwd"
        assert tar.getmember("top/fifo").isfifo()
        holes = tar.extractfile("top/holes")
        assert holes is not None
        assert holes.read() == (tree / "holes").read_bytes()
        big = tar.extractfile("top/big")
        assert big is not None
        assert big.read() == (tree / "big").read_bytes()


def land(content: bytes, place: Path, **options: object) -> None:
    root = os.open(place, os.O_RDONLY)

    def opener(path: str) -> int:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)

    owner = (os.geteuid(), os.getegid())
    landing = Landing(opener, owner=owner, as_root=os.geteuid() == 0, **options)
    before = os.umask(0)
    reader = Reader(iter([content[at : at + 1000] for at in range(0, len(content), 1000)]))
    try:
        for entry, moment in reader.entries():
            landing.add(entry, entry.extents, reader.pour, entry.attributes(), moment)
        landing.finish()
    except BaseException:
        landing.undo()
        raise
    finally:
        os.umask(before)
        os.close(root)


def test_there_and_back(tree: Path, tmp_path: Path) -> None:
    place = tmp_path / "back"
    place.mkdir()
    content = packed(tree)
    land(content, place)
    assert packed(place / "top") == content
    assert (place / "top/holes").stat().st_blocks * 512 < 1 << 20
    land(content, place)  # over what is there
    assert packed(place / "top") == content


def entry(name: bytes, content: bytes = b"", **fields: object) -> bytes:
    head = headers.encode(name, size=len(content), mode=0o644, **fields)
    return head + content + headers.padding(len(content))


def sized(field: bytes) -> bytes:
    """Give a header with another size."""
    head = bytearray(headers.encode(b"f"))
    head[124:136], head[148:156] = field, b" " * 8
    head[148:156] = b"%06o\0 " % headers.total(bytes(head))
    return bytes(head)


def hollow(size: int, offset: int) -> bytes:
    """Give a file with holes, and one byte."""
    name, records, table = headers.sparse(b"hollow", size, [(offset, 1)])
    content = table + b"x"
    head = headers.encode(name, size=len(content), records=records)
    return head + content + headers.padding(len(content))


def hostile() -> Iterator[tuple[str, bytes]]:
    good = entry(b"good", b"x") + entry(b"dir/", kind=headers.DIRECTORY) + entry(b"dir/in", b"y")
    yield "dots", good + entry(b"../out", b"x")
    yield "inner dots", good + entry(b"a/../../out", b"x")
    yield "a link to outside", good + entry(b"l", kind=headers.LINK, link=b"../../etc/shadow")
    yield "a link to nothing", good + entry(b"l", kind=headers.LINK, link=b"etc/shadow")
    yield "truncated data", good + entry(b"f", b"x" * 5000)[:2000]
    yield "truncated header", good + entry(b"f", b"x")[:100]
    yield "damaged", good + b"x" * 512
    yield "reserved", good + entry(b"d", kind=headers.CHARACTER, device=(0, 0))
    yield "too large a device", good + entry(b"d", kind=headers.CHARACTER, device=(9999, 1))
    yield "a link with a null byte", good + entry(b"l", kind=headers.SYMLINK, link=b"a\0" * 80)
    yield "an attribute with one", good + entry(b"f", attributes={"user.a\0b": b""})
    yield "a size below zero", good + sized(b"-0000000777\0")
    yield "more holes than there can be", good + hollow(10**19, 0)
    yield "a hole behind all that can be", good + hollow(2 * 10**19, 10**19)
    yield "a kind nobody knows", good + entry(b"f", kind=b"Z")
    yield "a directory for a file", good + entry(b"kept/", kind=headers.DIRECTORY)


@pytest.mark.parametrize(("what", "content"), list(hostile()), ids=lambda value: str(value)[:30])
def test_hostile_tars_leave_nothing(tmp_path: Path, what: str, content: bytes) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "kept").write_text("kept")
    with pytest.raises((Refused, OSError)):
        land(content + (b"" if "truncated" in what else headers.END), place)
    assert [path.name for path in tmp_path.rglob("*")] == ["place", "kept"]
    assert (place / "kept").read_text() == "kept"


def test_a_link_in_the_tar_leads_nowhere(tmp_path: Path) -> None:
    place, outside = tmp_path / "place", tmp_path / "outside"
    place.mkdir()
    outside.mkdir()
    link = entry(b"l", kind=headers.SYMLINK, link=os.fsencode(outside))
    with pytest.raises((Refused, OSError)):
        land(link + entry(b"l/file", b"x") + headers.END, place)
    assert list(outside.iterdir()) == []


def test_a_file_takes_the_place_of_a_link_itself(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (tmp_path / "target").write_text("safe")
    (place / "f").symlink_to(tmp_path / "target")
    land(entry(b"f", b"new") + headers.END, place)
    assert (tmp_path / "target").read_text() == "safe"
    assert (place / "f").read_text() == "new"


def test_names_cannot_leave() -> None:
    assert inside("/etc/passwd") == "etc/passwd"
    assert inside("./a//b/../c") == "a/c"
    for name in ("..", "../a", "a/../../b", "/..//..", "a\0b"):
        if name != "/..//..":
            with pytest.raises(Refused):
                inside(name)


def test_an_entry_says_what_it_is() -> None:
    raw = headers.encode(b"d/", kind=headers.DIRECTORY)
    assert Entry(raw, {}).isdir()


def test_many_records_are_read_in_time() -> None:
    """A guest that gave a tar with them kept the daemon busy for 7 s with each of these."""
    record = b"5 a=\n"
    begin = time.process_time()
    assert records(record * (LARGEST_RECORDS // len(record))) == {"a": b""}
    assert time.process_time() - begin < 2
