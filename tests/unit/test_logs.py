"""Reading CRI logs: times, tails, rotated files, lines in parts."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.engine import logs
from heft.model.machine import Stream
from heft.model.request import LogLine, LogQuery


def entry(number: int, text: str, tag: str = "F", stream: str = "stdout") -> str:
    return f"1970-01-01T00:00:{number:02d}.000000000+00:00 {stream} {tag} {text}\n"


async def lines(path: Path, **query: Any) -> list[LogLine]:
    return [line async for line in logs.read(path, LogQuery(**query), lambda: False)]


@given(st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)), st.integers(0, 999_999_999))
def test_times(moment: datetime, nanoseconds: int) -> None:
    whole = moment.replace(microsecond=0, tzinfo=UTC)
    expected = int(whole.timestamp()) * 10**9 + nanoseconds
    text = whole.strftime("%Y-%m-%dT%H:%M:%S") + f".{nanoseconds:09d}"
    assert logs.parse_time(text + "Z") == expected
    assert logs.parse_time(text + "+02:00") == expected - 7200 * 10**9
    assert logs.parse_time(text + "-00:30") == expected + 1800 * 10**9


@given(st.binary())
def test_garbage_is_no_line(raw: bytes) -> None:
    line = logs.parse(raw)
    assert line is None or isinstance(line, LogLine)


def test_a_line_and_a_part() -> None:
    assert logs.parse(entry(1, "hello there").encode()[:-1]) == LogLine(
        10**9, Stream.STDOUT, b"hello there\n"
    )
    assert logs.parse(b"1970-01-01T00:00:01Z stderr P par") == LogLine(10**9, Stream.STDERR, b"par")


@pytest.mark.parametrize("tail", [0, 1, 2, 3, 4, 5, 9])
async def test_tail_counts_full_lines_over_files(tmp_path: Path, tail: int) -> None:
    path = tmp_path / "log"
    (tmp_path / "log.1").write_text(entry(1, "a") + entry(2, "b", "P") + entry(3, "b"))
    path.write_text(entry(4, "c") + entry(5, "d", "P") + entry(6, "d", "P") + entry(7, "d"))
    text = b"".join(line.data for line in await lines(path, tail=tail))
    expected = b"a\nbb\nc\nddd\n".splitlines(keepends=True)
    assert text == b"".join(expected[-tail:] if tail else [])


@given(st.lists(st.integers(0, 3000), max_size=60), st.integers(1, 70))
def test_tail_is_what_the_end_of_all_lines_is(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], tail: int
) -> None:
    path = tmp_path_factory.mktemp("logs") / "log"
    path.write_text("".join(entry(1, "x" * size) for size in sizes))
    with path.open("rb") as file:
        count = logs.seek_tail(file, tail)
        rest = file.read()
    assert count == min(tail, len(sizes))
    assert rest.decode() == "".join(entry(1, "x" * size) for size in sizes[-tail:])


async def test_since_until_and_streams(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(
        "".join(entry(n, str(n), stream="stderr" if n % 2 else "stdout") for n in range(6))
    )
    found = await lines(path, since=2 * 10**9, until=4 * 10**9)
    assert [line.data for line in found] == [b"2\n", b"3\n", b"4\n"]
    found = await lines(path, stdout=False)
    assert [line.data for line in found] == [b"1\n", b"3\n", b"5\n"]


async def test_follow_goes_on_through_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(entry(1, "one"))
    seen: list[bytes] = []
    async for line in logs.read(path, LogQuery(follow=True), lambda: b"two\n" not in seen):
        seen.append(line.data)
        if line.data == b"one\n":
            path.rename(tmp_path / "log.1")
            path.write_text(entry(2, "two"))
    assert seen == [b"one\n", b"two\n"]


async def test_a_follower_behind_several_rotations_misses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(entry(1, "1"))
    seen: list[bytes] = []
    async for line in logs.read(path, LogQuery(follow=True), lambda: b"4\n" not in seen):
        seen.append(line.data)
        if line.data == b"1\n":
            with path.open("a") as file:
                file.write(entry(2, "2"))
            path.rename(tmp_path / "log.2")
            (tmp_path / "log.1").write_text(entry(3, "3"))
            path.write_text(entry(4, "4"))
    assert seen == [b"1\n", b"2\n", b"3\n", b"4\n"]


async def test_a_follower_whose_file_is_not_kept_goes_on_with_the_oldest(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(entry(1, "1"))
    seen: list[bytes] = []
    async for line in logs.read(path, LogQuery(follow=True), lambda: b"4\n" not in seen):
        seen.append(line.data)
        if line.data == b"1\n":
            path.unlink()
            (tmp_path / "log.1").write_text(entry(3, "3"))
            path.write_text(entry(4, "4"))
    assert seen == [b"1\n", b"3\n", b"4\n"]


async def test_a_follower_keeps_one_file_open(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(entry(0, "0"))
    before = len(os.listdir("/proc/self/fd"))
    count = 0
    reading = logs.read(path, LogQuery(follow=True), lambda: True)
    async for line in reading:
        assert line.data == f"{count}\n".encode()
        count += 1
        assert len(os.listdir("/proc/self/fd")) <= before + 1
        if count == 30:
            break
        path.unlink()
        path.write_text(entry(1, str(count)))
    await reading.aclose()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_no_log_is_no_lines(tmp_path: Path) -> None:
    assert await lines(tmp_path / "log") == []
