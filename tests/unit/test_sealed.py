"""A runtime's copy in memory: what crun itself accepts as one, and what becomes of it."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from heft.weights.light.sealed import SealedProgram

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return Path(shutil.copy(shutil.which("echo") or "", tmp_path / "program"))


@pytest.fixture
def sealed(program: Path) -> Iterator[SealedProgram]:
    made = SealedProgram(str(program))
    yield made
    made.close()


def said(path: str) -> str:
    done = subprocess.run((path, "hello"), capture_output=True, text=True, check=True)
    return done.stdout


def test_it_is_the_program_and_nobody_can_write_to_it(sealed: SealedProgram) -> None:
    assert said(sealed.path()) == "hello\n"
    with open(sealed.path(), "rb") as copy:
        assert fcntl.fcntl(copy, fcntl.F_GET_SEALS) == SEALS
    with pytest.raises(PermissionError):
        os.pwrite(int(sealed.path().rpartition("/")[2]), b"\0", 0)


def test_a_replaced_program_is_copied_again_under_the_same_path(
    sealed: SealedProgram, program: Path
) -> None:
    before = sealed.path()
    assert sealed.path() == before
    shutil.copy(shutil.which("printf") or "", program.with_name("new"))
    program.with_name("new").rename(program)
    assert sealed.path() == before
    assert said(before) == "hello"  # printf ends no line


def test_what_cannot_be_copied_is_executed_where_it_is(
    sealed: SealedProgram, program: Path
) -> None:
    program.unlink()
    assert sealed.path() == str(program)


def test_nothing_stays_open(program: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    sealed = SealedProgram(str(program))
    sealed.path()
    sealed.close()
    assert set(os.listdir("/proc/self/fd")) == before
