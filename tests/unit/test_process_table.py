"""Processes of another kernel, shown as ps(1) shows the host's."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.engine.process_table import table
from heft.errors import InvalidArgument
from heft.model.process import GuestProcess

SHELL = GuestProcess(
    pid=7,
    ppid=1,
    uid=1000,
    user="ann",
    state="Ss",
    tty="pts/0",
    started=time.time_ns() - 100 * 10**9,
    cpu=65 * 10**9,
    vsize=2 << 20,
    rss=1 << 20,
    name="sh",
    command="sh -c x",
)


def test_all_of_it() -> None:
    titles, (row,) = table([SHELL], "")
    assert titles == ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")
    assert row[:3] == ("ann", "7", "1")
    assert row[5:] == ("pts/0", "00:01:05", "sh -c x")


def test_as_bsd_has_it() -> None:
    titles, (row,) = table([SHELL], "aux")
    assert titles == (
        *("USER", "PID", "%CPU", "VSZ", "RSS", "TT", "STAT", "START", "TIME", "COMMAND"),
    )
    assert dict(zip(titles, row, strict=True))["VSZ"] == "2048"


@pytest.mark.parametrize("arguments", ["-eo pid,args", "-e -o pid -o args", "o pid,args"])
def test_columns_of_ones_own(arguments: str) -> None:
    assert table([SHELL], arguments) == (("PID", "COMMAND"), (("7", "sh -c x"),))


def test_titles_of_ones_own() -> None:
    assert table([SHELL], "-o pid,rss=MEM")[0] == ("PID", "MEM")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("-o args", "Couldn't find PID field"),
        ("-o pid,weather", "'weather'"),
        ("--forest", "unsupported option"),
        ("-o 'pid", "invalid ps arguments"),
    ],
)
def test_what_cannot_be_shown(arguments: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        table([SHELL], arguments)


@given(st.text(max_size=20))
def test_whatever_is_asked(arguments: str) -> None:
    try:
        titles, rows = table([SHELL], arguments)
    except InvalidArgument:
        return
    assert len(titles) == len(rows[0])
