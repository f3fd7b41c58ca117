"""Files that a command writes are there whole or not at all."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from heft.cli.failures import Failure
from heft.cli.whole_file import write_file

SLOWLY = """
import sys, time
from heft.cli.whole_file import write_file
def blocks():
    yield b"x" * (1 << 20)
    print("half", flush=True)
    time.sleep(600)
write_file(sys.argv[1], blocks(), "save")
"""
WITHOUT_PROC = """
import os, subprocess, sys
from heft.cli.whole_file import write_file
subprocess.run(["mount", "-t", "tmpfs", "none", "/proc"], check=True)
def blocks():
    yield b"new"
    print(*os.listdir(os.path.dirname(sys.argv[1])), os.getpid())
write_file(sys.argv[1], blocks(), "save")
"""


def breaks() -> Iterator[bytes]:
    yield b"half"
    raise Failure("the daemon went away")


@pytest.mark.parametrize("before", [None, b"old"])
def test_killed_while_it_writes(tmp_path: Path, before: bytes | None) -> None:
    target = tmp_path / "out.tar"
    if before is not None:
        target.write_bytes(before)
    writing = subprocess.Popen([sys.executable, "-c", SLOWLY, target], stdout=subprocess.PIPE)
    assert writing.stdout is not None
    with writing.stdout:
        assert writing.stdout.readline() == b"half\n"
    writing.kill()
    writing.wait()
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == (
        {} if before is None else {"out.tar": before}
    )


def test_what_is_there_is_replaced_by_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Failure, match="went away"):
        write_file("out", breaks(), "save")
    assert not os.listdir()
    for content in (b"first", b"second" + bytes(1 << 20)):
        write_file("out", [content], "save")
        assert Path("out").read_bytes() == content
    with pytest.raises(Failure, match="went away"):
        write_file("out", breaks(), "save")
    assert Path("out").read_bytes() == content
    assert stat.S_IMODE(Path("out").stat().st_mode) == 0o600
    assert os.listdir() == ["out"]


def test_what_is_no_file_stays(tmp_path: Path) -> None:
    """Root may put a file in place of `/dev/null`."""
    pipe, missing = tmp_path / "pipe", tmp_path / "missing/out"
    os.mkfifo(pipe)
    with pytest.raises(Failure, match=r"failed to save: .*/pipe: not a regular file"):
        write_file(str(pipe), [b"x"], "save")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    with pytest.raises(Failure, match="/missing/out: No such file or directory"):
        write_file(str(missing), [b"x"], "save")
    with pytest.raises(Failure, match="Is a directory"):
        write_file(f"{tmp_path}/", [b"x"], "save")
    assert os.listdir(tmp_path) == ["pipe"]


def test_without_files_that_have_no_name(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    command = ["unshare", "-Urm", sys.executable, "-c", WITHOUT_PROC, target]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *names, pid = done.stdout.split()
    assert sorted(names) == ["out", f"out.{pid}.partial"]
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["out"]
