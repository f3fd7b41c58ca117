"""What the agent tells of a machine's changes, compared with what light does of the same upper."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.files.upper import Upper
from heft.guest.protocol import Operation, Status, Tag
from heft.guest.records import Fields, Record
from heft.model.files import ChangeKind
from heft.tars.packing import Packer
from tests.agent.test_agent_files import bounded, members
from tests.harness.bench import Bench, Failed, disks

POINTS = frozenset({"/dev", "/proc", "/sys"})
_NAMES = st.sampled_from(["a", "b", "d", "e"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "mkdir", "remove", "chmod", "link", "rename", "replace"]),
        _PATHS,
        _PATHS,
    ),
    max_size=12,
)


def change(root: Path, what: str, name: str, other: str) -> None:
    """Do something in a machine; what cannot be is left."""
    target = root / name
    with contextlib.suppress(OSError, shutil.Error):
        if what == "write":
            target.write_text("new")
        elif what == "mkdir":
            target.mkdir()
        elif what == "chmod":
            target.chmod(0o700, follow_symlinks=False)
        elif what == "link":
            os.link(target, root / other)
        elif what == "rename":
            target.rename(root / other)
        elif target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()
        if what == "replace":
            target.mkdir()


@pytest.fixture
def based(place: Path) -> Path:
    """Give the base, with a tree in it."""
    for name in ("a/b/d", "d/a", "b"):
        (place / "base" / name).mkdir(parents=True)
    for name in ("a/a", "a/b/a", "a/b/e", "d/b", "d/a/a", "e"):
        (place / "base" / name).write_text(name)
    return place / "base"


def rows(content: bytes) -> list[tuple[str, str]]:
    return [
        (
            row.data(Tag.PATH).decode("utf-8", "surrogateescape"),
            ChangeKind(row.number(Tag.KIND)).name.lower(),
        )
        for row in Record(content).records(Tag.ROW)
    ]


@contextlib.contextmanager
def lights(place: Path) -> Iterator[Upper]:
    diff, lower = (os.open(place / name, os.O_RDONLY) for name in ("upper/upper", "base"))
    try:
        yield Upper(diff, lower, POINTS)
    finally:
        os.close(diff)
        os.close(lower)


def lights_layer(place: Path) -> bytes:
    with (place / "layer.tar").open("w+b", buffering=0) as target, lights(place) as upper:
        upper.pack(Packer(target.fileno()))
        target.seek(0)
        return target.read()


def compare(bench: Bench, place: Path) -> list[tuple[str, str]]:
    _, listed = bench.take(Operation.CHANGES, Fields())
    with lights(place) as upper:
        expected = [(change.path, change.kind.name.lower()) for change in upper.changes()]
    assert rows(listed) == expected
    _, layer = bench.take(Operation.PACK_LAYER, Fields())
    assert members(layer) == members(lights_layer(place))
    return expected


@bounded
@given(steps=_STEPS)
def test_changes_and_layers_are_lights(
    based: Path, bench: Bench, steps: list[tuple[str, str, str]]
) -> None:
    root = bench.machine()
    for step in steps:  # every example goes on where the one before was
        change(root, *step)
    compare(bench, based.parent)


def test_each_kind_of_change(based: Path, bench: Bench) -> None:
    root = bench.machine()
    assert compare(bench, based.parent) == []
    (root / "e").unlink()
    (root / "new").mkdir()
    (root / "new/in").touch()
    shutil.rmtree(root / "d")
    (root / "d").mkdir()
    (root / "d/b").write_text("again")
    (root / "b").chmod(0o711)
    (root / "a/b/a").write_text("more")
    os.setxattr(root / "a/a", "user.mine", b"1")
    assert compare(bench, based.parent) == [
        *(("/a", "modified"), ("/a/a", "modified"), ("/a/b", "modified")),
        *(("/a/b/a", "modified"), ("/b", "modified"), ("/d", "modified"), ("/d/a", "deleted")),
        *(("/d/b", "modified"), ("/e", "deleted"), ("/new", "added"), ("/new/in", "added")),
    ]
    _, layer = bench.take(Operation.PACK_LAYER, Fields())
    names = [str(member[0]) for member in members(layer)]
    assert names == [
        *("a", "a/a", "a/b", "a/b/a", "b", "d", "d/.wh..wh..opq", "d/b", ".wh.e", "new", "new/in"),
    ]
    assert b"trusted.overlay" not in layer


def test_names_that_are_marks(based: Path, bench: Bench) -> None:
    (bench.machine() / ".wh.x").touch()
    _, listed = bench.take(Operation.CHANGES, Fields())
    assert rows(listed) == [("/.wh.x", "added")]
    with pytest.raises(Failed, match=r"/\.wh\.x cannot be part of an image") as refused:
        bench.take(Operation.PACK_LAYER, Fields())
    assert refused.value.status is Status.INVALID


def test_what_every_machine_is_mounted_on_is_no_change(place: Path) -> None:
    with Bench(place) as bench:
        fields = disks()
        mount = Fields().number(Tag.KIND, 2).text(Tag.TARGET, "/data//deep")
        fields.record(Tag.MOUNT, mount)
        file = Fields().text(Tag.TARGET, "/etc/hosts").text(Tag.CONTENT, "text")
        bench.ask(Operation.SETUP, fields.record(Tag.FILE, file))
        _, listed = bench.take(Operation.CHANGES, Fields())
        assert rows(listed) == [("/data", "added"), ("/data/deep", "added")]
        (bench.machine() / "etc/own").touch()
        _, listed = bench.take(Operation.CHANGES, Fields())
        assert rows(listed)[-2:] == [("/etc", "modified"), ("/etc/own", "added")]


def test_the_whole_root_without_what_is_mounted_in_it(based: Path, bench: Bench) -> None:
    (bench.machine() / "new").write_text("new")
    _, content = bench.take(Operation.PACK_ROOT, Fields())
    names = {str(member[0]) for member in members(content)}
    assert {"etc/passwd", "bin/busybox", "new", "dev", "proc", "sys"} <= names
    assert not [name for name in names if name.startswith(("/", "dev/", "sys/", "proc/"))]


def test_without_a_base_all_is_new(plain: tuple[Bench, Path]) -> None:
    bench, root = plain
    (root / "some").touch()
    _, listed = bench.take(Operation.CHANGES, Fields())
    assert rows(listed) == [("/some", "added")]
