"""The agent's work on the machine's files, without a guest: compared with what light does."""

import io
import os
import shutil
import tarfile
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from heft.guest.protocol import Operation, Status, Tag
from heft.guest.records import Fields, Record
from heft.tars.packing import Packer
from tests.harness import trees
from tests.harness.bench import Bench, Failed

bounded = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def path(text: str) -> Fields:
    return Fields().text(Tag.PATH, text)


def emptied(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory


def members(content: bytes) -> list[tuple[object, ...]]:
    with tarfile.open(fileobj=io.BytesIO(content), errors="surrogateescape") as tar:
        return [
            (
                *(entry.name, entry.type, entry.mode, entry.uid, entry.gid, entry.size),
                *(entry.linkname, entry.devmajor, entry.devminor, entry.sparse is None),
                *(int(float(entry.mtime) // 1), _attributes(entry), _content(tar, entry)),
            )
            for entry in tar
        ]


def _attributes(entry: tarfile.TarInfo) -> dict[str, str]:
    kept = entry.pax_headers.items()
    return {key: value for key, value in kept if key.startswith("SCHILY.")}


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(entry) if entry.isreg() else None
    return file.read() if file is not None else b""


# Statuses


def test_what_is_at_a_path(plain: tuple[Bench, Path]) -> None:
    bench, root = plain
    (root / "d").mkdir()
    (root / "d/file").write_text("text")
    os.utime(root / "d/file", ns=(0, -1_500_000_000))
    for name, target in (("one", "/two"), ("two", "d/../three"), ("three", "../../d/gone/x")):
        (root / name).symlink_to(target)
    (root / "loop").symlink_to("loop")

    def told(asked: str) -> tuple[object, ...]:
        answer = bench.ask(Operation.STATUS, path(asked))
        kind = answer.number(Tag.MODE) >> 12
        return answer.text(Tag.NAME), kind, answer.number(Tag.SIZE), answer.text(Tag.LINK)

    assert told("/d/file") == ("file", 0o10, 4, "")
    moment = bench.ask(Operation.STATUS, path("/d/file")).data(Tag.MTIME)
    assert int.from_bytes(moment, "little", signed=True) == -1_500_000_000
    assert told("/d/./x/..//file") == ("file", 0o10, 4, "")
    assert told("/one") == ("one", 0o12, 4, "/d/gone/x")
    assert told("/loop")[3].endswith("loop")
    assert [told(asked)[:2] for asked in ("/", "/.", "/d", "/d/", "/d/.", "/../d")] == [
        *(("/", 4), (".", 4), ("d", 4), ("d", 4), (".", 4), ("d", 4)),
    ]
    for asked, status in (
        *(("/nope", Status.NOT_FOUND), ("/d/file/", Status.INVALID), ("/one/", Status.NOT_FOUND)),
        *(("/d/file/x", Status.INVALID), ("/loop/", Status.INVALID), ("", Status.INVALID)),
        *(("/proc/self/root/etc", Status.NOT_FOUND), ("/" + "n" * 300, Status.INVALID)),
        *(("/" + "x/" * 3000, Status.INVALID), ("/dev/fd/0/x", Status.NOT_FOUND)),
    ):
        with pytest.raises(Failed) as refused:
            bench.ask(Operation.STATUS, path(asked))
        assert refused.value.status is status, asked
        assert refused.value.args[1]


def test_before_there_is_a_machine_nothing_is_done(place: Path) -> None:
    with Bench(place) as bench, pytest.raises(Failed, match="SETUP"):
        bench.ask(Operation.STATUS, path("/"))


# Out


@bounded
@given(tree=trees.trees)
def test_a_tree_as_light_packs_it(plain: tuple[Bench, Path], tree: list[trees.Node]) -> None:
    bench, root = plain
    data = emptied(root / "data")
    trees.make(os.fsencode(data), tree)
    answer, content = bench.take(Operation.PACK, path("/data"))
    assert answer.text(Tag.NAME) == "data"
    with (root.parent / "own.tar").open("w+b", buffering=0) as own:
        packer = Packer(own.fileno())
        packer.tree(os.open(data, os.O_RDONLY), "data")
        packer.finish()
        own.seek(0)
        assert members(content) == members(own.read())
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for entry in tar:
            if entry.pax_headers.get("mtime"):
                moment = os.lstat(os.fsencode(root / entry.name)).st_mtime_ns
                assert Decimal(entry.pax_headers["mtime"]) * 10**9 == moment


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("/top", ["top", "top/b", "top/b/c", "top/l"]),
        ("/top/", ["top", "top/b", "top/b/c", "top/l"]),
        ("/top/.", [".", "./b", "./b/c", "./l"]),
        ("/top/l", ["l"]),
        ("/top/l/", ["l", "l/c"]),
        ("/top/b/c", ["c"]),
    ],
)
def test_names_begin_with_the_paths_last_part(
    plain: tuple[Bench, Path], asked: str, names: list[str]
) -> None:
    bench, root = plain
    (root / "top/b").mkdir(parents=True)
    (root / "top/b/c").touch()
    (root / "top/l").symlink_to("b")
    _, content = bench.take(Operation.PACK, path(asked))
    assert [str(member[0]) for member in members(content)] == names


def test_what_the_kernel_shows_is_left_out_unless_it_is_asked_for(bench: Bench) -> None:
    _, content = bench.take(Operation.PACK, path("/"))
    names = [str(member[0]) for member in members(content)]
    assert {"/dev", "/proc", "/sys", "/etc/passwd"} <= set(names)
    assert not [name for name in names if name.startswith(("/dev/", "/sys/"))]
    _, content = bench.take(Operation.PACK, path("/dev/."))
    assert "./null" in [member[0] for member in members(content)]


def test_much_comes_whole(plain: tuple[Bench, Path]) -> None:
    bench, root = plain
    content = os.urandom(9 << 20)
    (root / "much").write_bytes(content)
    _, tar = bench.take(Operation.PACK, path("/much"))
    assert members(tar)[0][-1] == content


def test_a_reader_that_goes_ends_it(plain: tuple[Bench, Path]) -> None:
    bench, root = plain
    with (root / "much").open("wb") as file:
        file.truncate(1 << 30)
        file.write(b"x" * (1 << 20))
    for stop in (True, False):
        channel = bench.channel()
        bench.ask(Operation.PACK, path("/much").number(Tag.NUMBER, channel))
        if stop:
            bench.stop(channel)
        else:
            bench.ask(Operation.CANCEL, Fields().number(Tag.NUMBER, channel))
        while channel not in bench.over:
            bench.step()
        assert bench.over[channel].number(Tag.STATUS) == Status.CANCELLED
        assert channel not in bench.ended
    assert bench.ask(Operation.CANCEL, Fields().number(Tag.NUMBER, 777)) is not None


def test_so_many_at_a_time_and_no_more(plain: tuple[Bench, Path]) -> None:
    bench, root = plain
    (root / "some").write_bytes(os.urandom(1 << 20))
    channels = [bench.channel() for _ in range(16)]
    for channel in channels:
        bench.ask(Operation.PACK, path("/some").number(Tag.NUMBER, channel))
    with pytest.raises(Failed, match="16 file operations"):
        bench.ask(Operation.STATUS, path("/"))
    with pytest.raises(Failed):
        bench.ask(Operation.PACK, path("/some").number(Tag.NUMBER, channels[0]))
    for channel in channels:
        bench.grant(channel)
    while len(bench.over) < 16:
        bench.step()
    assert bench.ended == set(channels)
    # A session that takes the place of another ends what that had begun.
    for _ in range(16):
        bench.ask(Operation.PACK, path("/some").number(Tag.NUMBER, bench.channel()))
    bench.greet()
    deadline = time.monotonic() + 10
    while True:
        try:
            bench.take(Operation.PACK, path("/some"))
            break
        except Failed:
            assert time.monotonic() < deadline
            time.sleep(0.01)


# Processes


def start(bench: Bench, *argv: str, workload: bool = False) -> None:
    fields = Fields().text(Tag.ID, argv[-1]).texts(Tag.ARGV, argv).text(Tag.USER, "7:8")
    bench.ask(Operation.START, fields.flag(Tag.WORKLOAD, workload))


def test_processes(bench: Bench) -> None:
    assert bench.ask(Operation.PROCESSES, Fields()).records(Tag.ROW) == ()
    began = time.time_ns()
    start(bench, "/bin/busybox", "sh", "-c", "while :; do /bin/busybox sleep 1000; done",
          workload=True)  # fmt: skip
    start(bench, "/bin/busybox", "sleep", "2000")
    deadline = time.monotonic() + 10
    rows: tuple[Record, ...] = ()
    # A child of the shell's that has yet to become another program is called as the shell is.
    while len({row.text(Tag.COMMAND) for row in rows if row.number(Tag.RSS)}) < 3:
        assert time.monotonic() < deadline
        rows = bench.ask(Operation.PROCESSES, Fields()).records(Tag.ROW)
    shell, *sleeps = rows
    assert (shell.number(Tag.PID), shell.number(Tag.PPID)) == (1, 0)
    assert sorted(row.text(Tag.COMMAND) for row in sleeps) == [
        *("/bin/busybox sleep 1000", "/bin/busybox sleep 2000"),
    ]
    assert {row.number(Tag.PPID) for row in sleeps} == {0, 1}
    for row in rows:
        assert (row.number(Tag.UID), row.text(Tag.USER)) == (7, "me")
        assert (row.text(Tag.NAME), row.text(Tag.TTY)) == ("busybox", "?")
        assert row.text(Tag.STATE) in "RSD"
        assert abs(row.number(Tag.STARTED) - began) < 10 * 10**9
        assert 0 < row.number(Tag.RSS) <= row.number(Tag.VSIZE) < 1 << 30
    seen = bench.ask(Operation.STATUS, path("/proc/1/"))
    assert seen.text(Tag.NAME) == "1", "the workload's own mounts are seen"
