"""Trees of files for tests: drawn, made, and looked at."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st

Seen = dict[bytes, tuple[object, ...]]


@dataclass(frozen=True)
class Node:
    """Something in a directory; `below` is what is in it, where it is one itself."""

    kind: str
    name: bytes
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    moment: int = 0
    content: tuple[tuple[int, bytes], ...] = ()
    size: int = 0
    target: bytes = b""
    attributes: dict[str, bytes] = field(default_factory=dict)
    below: tuple["Node", ...] = ()


_byte = st.integers(1, 127).filter(lambda byte: byte != ord("/"))
names = st.one_of(
    st.sampled_from([b"a", b"b", b"c", b"long" * 30, b"n" * 255, "ß\u20ac".encode(), b" \n\xff"]),
    st.lists(_byte, min_size=1, max_size=20).map(bytes),
).filter(lambda name: name not in (b".", b"..") and not name.startswith(b".wh."))
_owners = st.tuples(
    st.sampled_from([0, 1000, 0o7777777, 0o10000000, 2**31]), st.sampled_from([0, 5, 2**31 + 5])
)
_moments = st.one_of(
    st.sampled_from([0, 10**9, 1_700_000_000 * 10**9 + 1, -(10**9), -1, -1_500_000_000]),
    st.integers(-(2**31), 2**32).map(lambda second: second * 10**9 + 123_456_789),
)
_attributes = st.dictionaries(
    st.sampled_from(["user.one", "user.t w o"]), st.binary(max_size=40), max_size=2
)
_pieces = st.lists(
    st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=300)), max_size=3
).map(lambda pieces: tuple((place * 65536, data) for place, data in sorted(dict(pieces).items())))
_common = {
    "name": names,
    "mode": st.integers(0, 0o7777),
    "owner": _owners,
    "moment": _moments,
}
_leaves = st.one_of(
    st.builds(
        Node,
        kind=st.just("file"),
        content=_pieces,
        size=st.sampled_from([0, 511, 512, 70_000, 5 << 20]),
        attributes=_attributes,
        **_common,
    ),
    st.builds(Node, kind=st.just("link"), target=st.sampled_from([b"/x", b"l" * 150]), **_common),
    st.builds(
        Node,
        kind=st.sampled_from(["fifo", "device", "again", "socket"]),
        **{**_common, "mode": st.integers(0, 0o777)},
    ),
)
nodes = st.recursive(
    _leaves,
    lambda below: st.builds(
        Node,
        kind=st.just("directory"),
        attributes=_attributes,
        below=st.lists(below, max_size=4, unique_by=lambda node: node.name).map(tuple),
        **_common,
    ),
    max_leaves=12,
)
trees = st.lists(nodes, max_size=5, unique_by=lambda node: node.name)


def make(directory: bytes, tree: list[Node] | tuple[Node, ...]) -> None:
    """Make a tree in a directory that is there. A node `again` is one more name of a file."""
    first = None
    for node in tree:
        path = directory + b"/" + node.name
        if node.kind == "again" and first is not None:
            os.link(first, path)
            continue
        if node.kind == "file":
            first = path
        _make_one(path, node)
        os.chown(path, *node.owner, follow_symlinks=False)
        if node.kind != "link":
            os.chmod(path, node.mode)
        for attribute, value in node.attributes.items():
            os.setxattr(path, attribute, value)
        os.utime(path, ns=(node.moment, node.moment), follow_symlinks=False)


def _make_one(path: bytes, node: Node) -> None:
    if node.kind == "directory":
        os.mkdir(path)
        make(path, node.below)
    elif node.kind == "file":
        with open(path, "wb") as file:
            for offset, data in node.content:
                file.seek(offset)
                file.write(data)
            file.truncate(max(node.size, file.tell()))
    elif node.kind == "link":
        os.symlink(node.target, path)
    elif node.kind == "device":
        os.mknod(path, stat.S_IFCHR, os.makedev(1, 3))
    elif node.kind == "socket":
        os.mknod(path, stat.S_IFSOCK)
    else:
        os.mkfifo(path)


def look(directory: bytes, *, sockets: bool = False) -> Seen:
    """Give all that is in a directory, by its path from there; files by their first name."""
    seen: Seen = {}
    firsts: dict[tuple[int, int], bytes] = {}
    for place, directories, files in os.walk(directory):
        directories.sort()
        for name in sorted([*directories, *files]):
            path = place + b"/" + name
            status = os.lstat(path)
            if stat.S_ISSOCK(status.st_mode) and not sockets:
                continue
            content = target = b""
            attributes = {}
            if stat.S_ISREG(status.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                target = os.readlink(path)
            if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                attributes = {key: os.getxattr(path, key) for key in os.listxattr(path)}
            shown = os.path.relpath(path, directory)
            same = firsts.setdefault((status.st_dev, status.st_ino), shown)
            seen[shown] = (
                *(status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns),
                *(status.st_rdev, content, target, attributes, same),
            )
    return seen
