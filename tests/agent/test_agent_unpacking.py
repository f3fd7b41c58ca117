"""Tars that the agent lands, without a guest: of all formats, hostile, cut off, given up."""

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.guest import frames
from heft.guest.protocol import MountKind, Operation, Status, Tag
from heft.guest.records import Fields
from heft.tars import headers
from tests.agent.test_agent_files import bounded, emptied, path
from tests.harness import trees
from tests.harness.bench import Bench, Failed, disks
from tests.system.test_files import GOOD, HOSTILE, entry

Plain = tuple[Bench, Path]


def unpack(bench: Bench, content: bytes, where: str = "/data", **options: object) -> None:
    fields = path(where).text(Tag.USER, str(options.get("user", "")))
    fields.flag(Tag.NO_OVERWRITE_DIR, bool(options.get("same_kind")))
    bench.give(Operation.UNPACK, fields, content)


def listing(root: Path) -> set[str]:
    return {
        os.path.relpath(f"{place}/{name}", root)
        for place, directories, files in os.walk(root)
        for name in (*directories, *files)
    }


@bounded
@given(tree=trees.trees)
def test_a_tree_there_and_back(plain: Plain, tree: list[trees.Node]) -> None:
    bench, root = plain
    source, target = emptied(root / "source"), emptied(root / "data")
    trees.make(os.fsencode(source), tree)
    before = trees.look(os.fsencode(source))
    _, content = bench.take(Operation.PACK, path("/source/."))
    unpack(bench, content)
    assert trees.look(os.fsencode(target)) == before


@pytest.mark.parametrize(
    "options",
    [
        *(("--format=v7",), ("--format=oldgnu",), ("--format=gnu",), ("--format=ustar",)),
        *(("--format=posix", "--xattrs"), ("--format=oldgnu", "-S"), ("--format=gnu", "-S")),
        *(("--format=posix", "-S", f"--sparse-version={version}") for version in ("0.0", "0.1")),
        ("--format=posix", "-S", "--sparse-version=1.0", "--xattrs"),
    ],
    ids=" ".join,
)
def test_what_gnu_tar_writes(plain: Plain, options: tuple[str, ...]) -> None:
    bench, root = plain
    source, target = emptied(root / "source"), emptied(root / "data")
    (source / "d").mkdir(mode=0o2750)
    (source / "d/file").write_text("text")
    os.utime(source / "d/file", (5, 5))
    os.setxattr(source / "d/file", "user.a", b"\0x")
    (source / "link").symlink_to("d/file")
    os.link(source / "d/file", source / "same")
    if options[0] != "--format=v7":
        os.mkfifo(source / "fifo")
        os.mknod(source / "null", 0o20640, os.makedev(1, 3))
    if options[0] in ("--format=posix", "--format=gnu", "--format=oldgnu"):
        (source / ("n" * 200)).symlink_to("t" * 180)
        os.chown(source / "d/file", 2**31 + 5, 2**31 + 6)
    with (source / "holes").open("wb") as file:
        for place in range(60):
            file.seek(place << 17)
            file.write(b"%d" % place)
        file.truncate(9 << 20)
    command = ["tar", "-C", source, *options, "-cf", "-", "."]
    content = subprocess.run(command, check=True, capture_output=True).stdout
    unpack(bench, content)
    seen, wanted = trees.look(os.fsencode(target)), trees.look(os.fsencode(source))
    rounded = options[0] != "--format=posix"
    for name, found in wanted.items():
        expected = list(found)
        if rounded:
            expected[3] = found[3] // 10**9 * 10**9  # type: ignore[operator]
        if "--xattrs" not in options:
            expected[7] = {}
        assert list(seen[name]) == expected, name
    assert seen.keys() == wanted.keys()
    holes = os.stat(target / "holes")
    assert "-S" not in options or holes.st_blocks * 512 < holes.st_size


@pytest.mark.parametrize(
    "how", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["v7", "gnu", "pax"]
)
def test_what_python_writes(plain: Plain, how: int) -> None:
    bench, root = plain
    target = emptied(root / "data")
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=how) as tar:
        for name, kind in (("x/d", tarfile.DIRTYPE), ("x/d/f", tarfile.REGTYPE)):
            one = tarfile.TarInfo(name)
            one.type, one.mtime, one.mode, one.uid = kind, 5, 0o751, 3
            tar.addfile(one)
        one = tarfile.TarInfo("much")
        one.size = 3 << 20
        tar.addfile(one, io.BytesIO(content := os.urandom(3 << 20)))
    unpack(bench, whole.getvalue())
    assert (target / "much").read_bytes() == content
    status = os.stat(target / "x/d/f")
    assert (status.st_uid, status.st_mode & 0o7777, status.st_mtime) == (3, 0o751, 5)
    assert os.stat(target / "x/d").st_mtime == 5
    assert os.stat(target / "x").st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_tars_leave_nothing(plain: Plain, what: str) -> None:
    bench, root = plain
    emptied(root / "data")
    before = listing(root)
    with pytest.raises(Failed) as refused:
        unpack(bench, HOSTILE[what])
    assert refused.value.status is Status.INVALID
    assert refused.value.args[1]
    assert listing(root) == before


def _map(count: int) -> bytes:
    """Give a file with so many stretches of nothing (GNU's format 1.0)."""
    table = b"%d\n" % count + b"0\n0\n" * count
    table += headers.padding(len(table))
    records = {b"GNU.sparse.major": b"1", b"GNU.sparse.name": b"f", b"GNU.sparse.realsize": b"9"}
    return headers.encode(b"s", size=len(table), records=records) + table


LARGE = {
    "records": headers.encode(b"f", records={b"user.x": b"x" * (1 << 20)}),
    "global records": 5
    * (headers.encode(b"g", kind=b"g", size=1 << 18) + b"262144 k=%b\n" % (b"v" * 262_134)),
    "a name": headers.encode(b"n", kind=b"L", size=1 << 21) + b"n" * (1 << 21),
    "a path": entry(b"n/" * 2500 + b"f", b"x"),
    "a part of a path": entry(b"n" * 256, b"x"),
    "a link": entry(b"l", kind=headers.SYMLINK, link=b"t" * 5000),
    "a map": _map(1_000_000),
    "a size": headers.encode(b"f", records={b"size": b"9" * 19}),
    "a file": headers.encode(b"f", size=1 << 62) + bytes(1 << 16),
    "a time": headers.encode(b"f", records={b"mtime": b"9" * 30}),
    "an owner": headers.encode(b"f", uid=1 << 33),
}  # fmt: skip


@pytest.mark.parametrize("what", LARGE)
def test_what_is_too_large_is_refused(plain: Plain, what: str) -> None:
    bench, root = plain
    emptied(root / "data")
    before = listing(root)
    with pytest.raises(Failed) as refused:
        unpack(bench, LARGE[what] + headers.END)
    assert refused.value.status is Status.INVALID, refused.value
    assert listing(root) == before


def test_cut_off_in_every_block(plain: Plain) -> None:
    bench, root = plain
    target = emptied(root / "data")
    (target / "old").write_text("old")
    content = (
        GOOD
        + entry(b"old", b"new")
        + entry(b"deep/er/" + b"n" * 150, b"x" * 2000)
        + entry(b"link", kind=headers.SYMLINK, link=b"l" * 150)
        + entry(b"last", b"last")
    )
    before = listing(root)
    for end in range(1, len(content), 256):
        with pytest.raises(Failed, match="end of the tar"):
            unpack(bench, content[:end])
        assert listing(root) == before, end
        assert (target / "old").read_text() in ("old", "new"), "it is one or the other, whole"


@bounded
@given(data=st.data())
def test_damage_is_refused_or_landed(plain: Plain, data: st.DataObject) -> None:
    bench, root = plain
    emptied(root / "data")
    sparse, records, table = headers.sparse(b"holes", 9000, [(0, 3), (4096, 2)])
    good = bytearray(
        entry(b"a/" * 80 + b"b", b"text")
        + headers.encode(sparse, size=len(table) + 5, mode=0o644, records=records)
        + table
        + b"12345".ljust(512, b"\0")
        + entry(b"hard", kind=headers.LINK, link=b"holes")
        + headers.END
    )
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    before = listing(root)
    if data.draw(st.booleans()):
        for at in range(0, len(good), 512):  # sums that are right again let more pass
            if good[at + 257 : at + 262] == b"ustar":
                block = bytes(good[at : at + 512])
                total = headers.total(block[:148] + b" " * 8 + block[156:])
                good[at + 148 : at + 156] = b"%06o\0 " % total
    try:
        unpack(bench, bytes(good))
    except Failed:
        assert listing(root) == before


def test_a_deep_tree(plain: Plain) -> None:
    bench, root = plain
    target = emptied(root / "data")
    deep = b"n/" * 400 + b"f"
    with pytest.raises(Failed):
        unpack(bench, entry(deep, b"x") + entry(b"../x", b"x"))
    assert list(target.iterdir()) == []
    unpack(bench, entry(deep, b"x") + headers.END)
    _, content = bench.take(Operation.PACK, path("/data/."))
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert tar.getmembers()[-1].name == f"./{deep.decode()}"
    unpack(bench, entry(b"n", b"x") + headers.END)
    assert (target / "n").read_text() == "x"


def test_what_was_there_is_replaced_whole(plain: Plain) -> None:
    bench, root = plain
    target = emptied(root / "data")
    (target / "f").write_text("old")
    (target / "d").mkdir()
    (target / "d/in").touch()
    inode = os.stat(target / "f").st_ino
    unpack(bench, entry(b"f", b"new") + headers.END, same_kind=True)
    assert (target / "f").read_text() == "new"
    assert os.stat(target / "f").st_ino != inode
    for content in (entry(b"d", b"x"), entry(b"f/", kind=headers.DIRECTORY)):
        with pytest.raises(Failed, match="cannot overwrite"):
            unpack(bench, content + headers.END, same_kind=True)
    unpack(bench, entry(b"d", b"file") + entry(b"f/", kind=headers.DIRECTORY) + headers.END)
    assert (target / "d").read_text() == "file"
    assert (target / "f").is_dir()


def test_owners(plain: Plain) -> None:
    bench, root = plain
    target = emptied(root / "data")
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("root:x:0:0::/:\nme:x:7:8::/:\n")
    (root / "etc/group").write_text("some:x:9:\n")
    content = entry(b"f", b"x", uid=5, gid=6) + headers.END
    for user, owner in (("", (5, 6)), ("me", (7, 8)), ("me:some", (7, 9)), ("11:12", (11, 12))):
        unpack(bench, content, user=user)
        status = os.stat(target / "f")
        assert (status.st_uid, status.st_gid) == owner
    with pytest.raises(Failed, match="unable to find user you") as refused:
        unpack(bench, content, user="you")
    assert refused.value.status is Status.INVALID


def test_where_it_cannot_be_put(plain: Plain) -> None:
    bench, root = plain
    (root / "file").touch()
    content = entry(b"f", b"x") + headers.END
    for where, status in (
        *(("/nope", Status.NOT_FOUND), ("/file", Status.INVALID), ("", Status.INVALID)),
        ("/sys", Status.FORBIDDEN),
    ):
        with pytest.raises(Failed) as refused:
            unpack(bench, content, where)
        assert refused.value.status is status
    with pytest.raises(Failed, match="mounted volume is marked read-only"):
        unpack(bench, content, "/sys/kernel")


def test_a_read_only_root(place: Path) -> None:
    content = entry(b"f", b"x") + headers.END
    with Bench(place) as bench:
        fields = disks().flag(Tag.READ_ONLY_ROOT, True)
        for target, read_only in (("/t", False), ("/r", True)):
            mount = Fields().number(Tag.KIND, MountKind.TMPFS).text(Tag.TARGET, target)
            fields.record(Tag.MOUNT, mount.flag(Tag.READ_ONLY, read_only))
        bench.ask(Operation.SETUP, fields)
        start = Fields().text(Tag.ID, "first").texts(Tag.ARGV, ("/bin/busybox", "sleep", "100"))
        for state in ("idle", "running"):
            if state == "running":
                bench.ask(Operation.START, start.flag(Tag.WORKLOAD, True))
            for where, words in (("/etc", "container rootfs"), ("/r", "mounted volume")):
                with pytest.raises(Failed, match=f"{words} is marked read-only") as refused:
                    unpack(bench, content, where)
                assert refused.value.status is Status.FORBIDDEN
            unpack(bench, content, "/t")


def test_links_lead_into_the_machine_only(plain: Plain, tmp_path: Path) -> None:
    bench, root = plain
    target = emptied(root / "data")
    (root / "etc").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    unpack(bench, entry(b"l", kind=headers.SYMLINK, link=os.fsencode(outside)) + headers.END)
    with pytest.raises(Failed):
        unpack(bench, entry(b"l/file", b"x") + headers.END)
    unpack(bench, entry(b"u", kind=headers.SYMLINK, link=b"../../../etc") + headers.END)
    unpack(bench, entry(b"u/file", b"x") + headers.END)
    assert (root / "etc/file").read_text() == "x"
    assert os.readlink(target / "u") == "../../../etc"
    assert not list(outside.iterdir())


@pytest.mark.parametrize(
    "through", ["/place/outside", "../../../../../place/outside", "/proc/1/root"]
)
def test_raced_links_lead_nowhere_else(bench: Bench, place: Path, through: str) -> None:
    """The machine swaps a directory for links to the agent's own root while files are copied."""
    outside = place / "outside"
    outside.mkdir()
    (outside / "secret").write_text("the agent's")
    root = bench.machine() / "r"
    root.mkdir()
    deadline = time.monotonic() + 1.5

    def race() -> None:
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                (root / "x").mkdir()
                (root / "x/secret").write_text("mine")
            shutil.rmtree(root / "x", ignore_errors=True)
            with contextlib.suppress(OSError):
                (root / "x").symlink_to(through)
                (root / "x").unlink()

    content = entry(b"x/new", b"written") + entry(b"x/deep/new", b"w") + headers.END
    with ThreadPoolExecutor() as pool:
        racing = pool.submit(race)
        done = 0
        while not racing.done():
            for asked in ("/r/x/secret", "/r/x/", "/r"):
                with contextlib.suppress(Failed):
                    _, got = bench.take(Operation.PACK, path(asked))
                    assert b"the agent's" not in got
                    done += 1
            with contextlib.suppress(Failed):
                unpack(bench, content, "/r")
                done += 1
        racing.result()
    assert done > 10
    assert [found.name for found in outside.iterdir()] == ["secret"]


def test_what_is_given_up_leaves_nothing(plain: Plain) -> None:
    bench, root = plain
    emptied(root / "data")
    before = listing(root)
    half = entry(b"new/first", b"x") + entry(b"new/second", os.urandom(100_000))[:-50_000]
    for how in ("cancel", "session"):
        channel = bench.channel()
        request = bench.send(Operation.UNPACK, path("/data").number(Tag.NUMBER, channel))
        bench.pour(channel, half, request, fin=False)
        deadline = time.monotonic() + 10
        while listing(root) == before:
            assert time.monotonic() < deadline
        if how == "cancel":
            bench.ask(Operation.CANCEL, Fields().number(Tag.NUMBER, channel))
            with pytest.raises(Failed) as stopped:
                bench.answer(request)
            assert stopped.value.status is Status.CANCELLED
        else:
            bench.greet()
        while listing(root) != before:
            assert time.monotonic() < deadline


def test_what_goes_on_when_the_workload_ends_is_undone_before(bench: Bench, place: Path) -> None:
    fields = Fields().text(Tag.ID, "first").texts(Tag.ARGV, ("/bin/busybox", "sleep", "1000"))
    bench.ask(Operation.START, fields.flag(Tag.WORKLOAD, True))
    bench.ask(Operation.SYNC, Fields())
    channel = bench.channel()
    request = bench.send(Operation.UNPACK, path("/etc").number(Tag.NUMBER, channel))
    bench.pour(channel, entry(b"new/f", bytes(100_000))[:50_000], request, fin=False)
    reader = bench.channel()
    bench.ask(Operation.PACK, path("/bin").number(Tag.NUMBER, reader))
    made = place / "upper/upper/etc/new/f"
    deadline = time.monotonic() + 10
    while not made.exists():
        assert time.monotonic() < deadline
    kill = Fields().text(Tag.ID, "first").number(Tag.NUMBER, 9)
    bench.ask(Operation.SIGNAL, kill)
    while not bench.exited:
        bench.step()
    assert not made.parent.exists()
    with pytest.raises(Failed) as stopped:
        bench.answer(request)
    assert stopped.value.status is Status.CANCELLED
    while reader not in bench.over:
        bench.step()
    assert bench.over[reader].number(Tag.STATUS) == Status.CANCELLED
    for operation in (Operation.STATUS, Operation.SYNC):
        with pytest.raises(Failed, match="ended"):
            bench.ask(operation, path("/"))


def test_a_refused_tar_is_stopped_before_its_end(plain: Plain) -> None:
    bench, root = plain
    emptied(root / "data")
    channel = bench.channel()
    request = bench.send(Operation.UNPACK, path("/data").number(Tag.NUMBER, channel))
    bench.pour(channel, entry(b"../x", b"x") + bytes(1 << 20), request, fin=False)
    with pytest.raises(Failed, match="outside of the root"):
        bench.answer(request)
    assert channel in bench.stopped
    bench.ours.sendall(frames.data_head(channel, 1 << 22, 0, fin=True))
    bench.ask(Operation.STATUS, path("/"))


def test_many_entries_and_their_undoing(plain: Plain) -> None:
    bench, root = plain
    target = emptied(root / "data")
    one = entry(b"d/" + b"n" * 90 + b"%06d", b"")
    content = bytearray()
    for number in range(3000):
        head = bytearray(one)
        head[2 + 90 : 2 + 96] = b"%06d" % number
        head[148:156] = b"%06o\0 " % headers.total(bytes(head[:148]) + b" " * 8 + bytes(head[156:]))
        content += head
    with pytest.raises(Failed, match="outside"):
        unpack(bench, bytes(content) + entry(b"../x", b""))
    assert listing(target) == set()
    unpack(bench, bytes(content) + headers.END)
    assert len(listing(target)) == 3001
