"""docs/commands.md says of every command and flag of Docker's client what `heft` makes of it."""

import re
from functools import cache
from pathlib import Path

import pytest

from heft.cli import index
from heft.cli.program import GLOBAL_FLAGS, load
from tests.harness import docker_help

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
DOCKER = "docker"
"""Stands on the page for the flags in front of every command."""


def _table(section: str) -> list[list[str]]:
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("| ").split(" |")] for line in lines]


def _codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _flags(cell: str) -> frozenset[str]:
    return frozenset(code.removeprefix("--") for code in _codes(cell))


def _padded(cells: list[str], count: int) -> list[str]:
    return [*cells, *[""] * (count - len(cells))]


THERE = [_padded(row, 4) for row in _table("What is there")]
MISSING = [_padded(row, 3) for title in ("Not yet", "Left out on purpose") for row in _table(title)]
OWN = [_padded(row, 2) for row in _table("Heft's own")]

TAKEN = {name: _flags(row[2]) for row in THERE for name in _codes(row[0])}
LACKING = {name: _flags(row[3]) for row in THERE for name in _codes(row[0])}
REFUSED = {name: _flags(row[1]) for row in MISSING for name in _codes(row[0])}
LISTED = {**{name: TAKEN[name] | LACKING[name] for name in TAKEN}, **REFUSED}
EXTRA = {_codes(row[0])[0]: _flags(row[1]) for row in OWN}


@cache
def _heft(command: str) -> frozenset[str] | None:
    """Give the flags that heft's command of this name has; None where there is no such command."""
    if command == DOCKER:
        return frozenset(flag.name for flag in GLOBAL_FLAGS)
    found = index.resolve(index.path_of(tuple(command.split())))
    return frozenset(flag.name for flag in load(found).flags) if found else None


def test_the_page_lists_what_docker_has() -> None:
    if (here := docker_help.version()) != 28:
        pytest.skip(f"the page is of docker 28; the one in PATH is {here}")
    real = docker_help.commands()
    real[DOCKER] = real.pop("")
    assert LISTED.keys() == real.keys()
    assert {name: flags ^ real[name] for name, flags in LISTED.items() if flags != real[name]} == {}


@pytest.mark.parametrize("row", THERE, ids=lambda row: row[0])
def test_what_is_there(row: list[str]) -> None:
    for name in _codes(row[0]):
        has = _heft(name)
        assert has is not None, f"heft has no {name}"
        should = " ".join(f"`--{flag}`" for flag in sorted(LISTED[name] & has))
        assert TAKEN[name] <= has, f"of {row[0]}, heft has only {should}"
        assert not LACKING[name] & has, f"of {row[0]}, heft has {should}"
    assert row[1] == ("partly" if row[3] else "done")


@pytest.mark.parametrize("row", MISSING, ids=lambda row: row[0])
def test_what_is_not_there(row: list[str]) -> None:
    assert [name for name in _codes(row[0]) if _heft(name) is not None] == []
    assert row[2], "what to use instead"


def test_every_flag_that_is_left_out_has_its_reason() -> None:
    given = {_codes(row[0])[0].removeprefix("--"): row for row in _table("Flags that are left out")}
    assert given.keys() == {flag for flags in LACKING.values() for flag in flags}
    for flag, row in given.items():
        of = {_codes(each[0])[0] for each in THERE if flag in _flags(each[3])}
        assert set(_codes(row[1])) == of, flag
        assert row[2]


def test_what_docker_has_not() -> None:
    own = {}
    for command in index.COMMANDS:
        names = index.names_of(command)
        theirs = next((LISTED[name] for name in _dockers(names) if name in LISTED), None)
        flags = _heft(command) or frozenset()
        if theirs is None:
            own[command] = flags
        elif flags - theirs:
            own[command] = flags - theirs
    assert own == EXTRA


def _dockers(names: list[str]) -> list[str]:
    return [re.sub(r"^machine ", "container ", name) for name in names]
