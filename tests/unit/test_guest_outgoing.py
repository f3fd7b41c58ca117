"""Tars that a guest gives, on their way to a client that would follow every link in them."""

import contextlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.errors import HostError
from heft.guest import outgoing
from heft.guest.outgoing import Outgoing
from heft.tars import headers
from heft.tars.packing import Packer


def entry(name: str, content: bytes = b"", **fields: object) -> bytes:
    head = headers.encode(os.fsencode(name), size=len(content), **fields)
    return head + content + headers.padding(len(content))


def look(content: bytes, cut: int = 1 << 16, name: str = "x") -> None:
    looking = Outgoing(name)
    for at in range(0, len(content), cut):
        looking.feed(content[at : at + cut])


def link(name: str, target: str) -> bytes:
    return entry(name, kind=headers.SYMLINK, link=target.encode())


GOOD = entry("x/", kind=headers.DIRECTORY) + entry("x/a", b"a" * 700) + link("x/l", "/etc")


HOLES = {
    b"GNU.sparse.major": b"1",
    b"GNU.sparse.minor": b"0",
    b"GNU.sparse.name": b"x/f",
    b"GNU.sparse.realsize": b"0",
}


def holes(name: str = "x/GNUSparseFile.0/f", **fields: object) -> bytes:
    """Give a file with holes, as the agent does, but for what is said."""
    given = {**HOLES, **{key.replace("_", ".").encode(): value for key, value in fields.items()}}
    return entry(name, records={key: value for key, value in given.items() if value is not None})


def hostile() -> Iterator[tuple[str, bytes]]:
    # What is there already where it is unpacked may be a link, left there by a tar before this one.
    yield "no directory that was given", entry("x/other/f", b"x")
    yield "no directory that was given", entry("x/h", kind=headers.LINK, link=b"x/other/shadow")
    yield (
        "no directory that was given",
        (
            entry("x/d/", kind=headers.DIRECTORY)
            + entry("x/d", kind=headers.LINK, link=b"x/a")
            + entry("x/d/f", b"x")
        ),
    )
    # Go takes the header's own name where a record has no value, or where not all is there that
    # makes a file one with holes.
    yield "without a value", entry("x/l/f", b"x", records={b"path": b""})
    yield "without a value", entry("x/h", kind=headers.LINK, records={b"linkpath": b""})
    yield "file with holes", holes("x/l/f", GNU_sparse_major=None)
    yield "file with holes", holes(GNU_sparse_realsize=None)
    yield "file with holes", holes(GNU_sparse_major=b"0")
    yield "file with holes", holes(GNU_sparse_minor=b"1")
    yield "file with holes", holes("x/l/f")
    yield "file with holes", entry("x/GNUSparseFile.0/f", kind=headers.DIRECTORY, records=HOLES)
    yield "leads through a link", link("x/GNUSparseFile.0", "/etc") + holes()
    # busybox's tar knows of no records, and goes by the header.
    yield "two names", entry("x/l/f", b"x", records={b"path": b"x/f"})
    yield "two names", entry("x/l/f", b"x", records={b"path": b"x/" + b"f" * 200})
    yield "two names", entry("x/h", kind=headers.LINK, link=b"x/a", records={b"linkpath": b"x/b"})
    yield "two sizes", entry("x/f", b"x", records={b"size": b"1024"})
    yield "comes after its end", bytes(512) + entry("x/b", b"x")
    yield "invalid number", entry("x/f", records={b"uid": b"1_0"})
    yield "leads through a link", entry("x/l/f", b"x")
    yield "leads through a link", entry("x/l", b"x")
    yield "leads through a link", entry("x/./l//f", b"x")
    yield "leads through a link", entry("x/h", kind=headers.LINK, link=b"x/l/shadow")
    yield "leads out", entry("x/../../f", b"x")
    yield "leads out", entry("x/h", kind=headers.LINK, link=b"../etc/shadow")
    yield "was not asked for", entry("y", b"x")
    yield "was not asked for", entry("/etc/passwd", b"x")
    yield "was not asked for", entry("xy", b"x")
    yield "unknown kind", entry("x/f", kind=b"S")
    yield "unknown kind", entry("x/f", kind=b"L")
    yield "unknown kind", b"x/f".ljust(257, b"\0") + b"ustar  \0" + bytes(247)
    yield "has content", entry("x/d", b"x" * 512, kind=headers.DIRECTORY)
    yield "unknown extended header", entry("x/f", records={b"GNU.sparse.map": b"0,1"})
    yield "was not asked for", holes("y/GNUSparseFile.0/f", GNU_sparse_name=b"y/f")
    yield "belongs to nothing", entry("x/" + "n" * 300)[:1024] * 2
    yield "a tar that is none", os.urandom(512)


@pytest.mark.parametrize(("why", "content"), list(hostile()))
@pytest.mark.parametrize("cut", [1, 300, 1 << 16])
def test_what_could_land_elsewhere_is_not_passed_on(why: str, content: bytes, cut: int) -> None:
    look(GOOD + headers.END + bytes(headers.BLOCK), cut)
    look(GOOD + holes() + headers.END, cut)
    if "kind" in why and content.startswith(b"x/f"):
        content = _summed(content)
    with pytest.raises(HostError, match=why):
        look(GOOD + content + headers.END, cut)


def _summed(head: bytes) -> bytes:
    blank = head[:148] + b" " * 8 + head[156:512]
    return blank[:148] + b"%06o\0 " % headers.total(blank) + blank[156:] + head[512:]


def test_what_is_not_whole_is_said_not_to_be() -> None:
    """Else who exports a machine has a file that is cut, and hears that all went well."""
    whole = GOOD + headers.END
    for size in (0, 300, 512, 2048, len(GOOD), len(GOOD) + 100):
        looking = Outgoing("x")
        looking.feed(whole[:size])
        with pytest.raises(HostError, match="broke the tar off"):
            looking.end()
        looking.feed(whole[size:])
        looking.end()


def test_links_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes the daemon some 100 bytes besides its name, however short that is."""
    monkeypatch.setattr(outgoing, "MOST_NAMES", 1000)
    top = entry("x/", kind=headers.DIRECTORY)
    for kind in (headers.SYMLINK, headers.DIRECTORY):
        names = [entry(f"x/{number}", kind=kind) for number in range(10)]
        look(top + b"".join(names[:5]))
        with pytest.raises(HostError, match="too many links"):
            look(top + b"".join(names))


@pytest.mark.parametrize("name", ["top", ".", "/"])
def test_what_the_agent_gives_passes(tmp_path: Path, name: str) -> None:
    tree = tmp_path / "tree"
    (tree / "deep/er").mkdir(parents=True)
    (tree / ("long" * 40)).write_text("long\n")
    (tree / "big").write_bytes(os.urandom(200_000))
    (tree / "deep/link").symlink_to("../" * 50)
    os.link(tree / "big", tree / "deep/same")
    os.mkfifo(tree / "fifo")
    os.setxattr(tree / "big", "user.a", b"b")
    with (tree / "holes").open("wb") as file:
        file.seek(10 << 20)
        file.write(b"end")
    with (tmp_path / "tar").open("w+b", buffering=0) as target:
        packer = Packer(target.fileno())
        packer.tree(os.open(tree, os.O_RDONLY), name)
        packer.finish()
    content = (tmp_path / "tar").read_bytes()
    look(content, 4096, name)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert len(tar.getmembers()) == 9


def test_a_name_that_is_no_text_passes() -> None:
    look(entry("\udcff/", kind=headers.DIRECTORY) + entry("\udcff/a", b"a"), name="\ufffd")


@given(st.binary(max_size=2048), st.integers(1, 700))
def test_anything_is_looked_at(data: bytes, cut: int) -> None:
    with contextlib.suppress(HostError):
        look(data, cut)
