"""Flags as Docker's client reads them, and the pages of help."""

import pytest

from heft.cli import help as pages
from heft.cli import index
from heft.cli.command import Command
from heft.cli.failures import BadUsage
from heft.cli.flags import FlagError, Given, HelpWanted, number, parse, switch, word, words
from heft.cli.main import outcome, run
from heft.cli.program import load

FLAGS = (
    switch("detach", "Go", "d"),
    switch("interactive", "Stay", "i"),
    switch("proxy", "Pass on", default=True),
    word("name", "Name"),
    word("memory", "Memory", "m", kind="bytes"),
    words("env", "Environment", "e", aliases=("environment",)),
    number("timeout", "Seconds", "t"),
)


def read(*arguments: str, interspersed: bool = True) -> tuple[Given, list[str]]:
    return parse(FLAGS, arguments, interspersed=interspersed)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--memory", "5"),
        ("--memory=5",),
        ("-m", "5"),
        ("-m5",),
        ("-m=5",),
        ("-dm", "5"),
        ("-dim5",),
    ],
)
def test_a_value_can_be_given_in_many_ways(arguments: tuple[str, ...]) -> None:
    given, rest = read(*arguments)
    assert given.text("memory") == "5"
    assert rest == []


def test_switches() -> None:
    given, _ = read("-di", "--proxy=false")
    assert given.on("detach")
    assert given.on("interactive")
    assert not given.on("proxy")
    assert read()[0].on("proxy")
    assert not read("-d=0")[0].on("detach")


def test_lists_grow_and_have_aliases() -> None:
    assert read("-e", "A=1", "--environment=B", "-eC=")[0].list("env") == ["A=1", "B", "C="]


def test_a_command_keeps_the_flags_behind_it() -> None:
    given, rest = read("-d", "image", "ls", "-i", interspersed=False)
    assert rest == ["image", "ls", "-i"]
    assert not given.on("interactive")
    assert read("image", "-i")[0].on("interactive")


def test_two_dashes_end_flags() -> None:
    given, rest = read("-d", "--", "-i", "x")
    assert rest == ["-i", "x"]
    assert not given.on("interactive")
    assert read("-")[1] == ["-"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--zz",), "unknown flag: --zz"),
        (("-dz",), "unknown shorthand flag: 'z' in -z"),
        (("--name",), "flag needs an argument: --name"),
        (("-m",), "flag needs an argument: 'm' in -m"),
        (
            ("-t", "x"),
            'invalid argument "x" for "-t, --timeout" flag: strconv.ParseInt: parsing "x":'
            " invalid syntax",
        ),
        (
            ("--detach=foo",),
            'invalid argument "foo" for "-d, --detach" flag: strconv.ParseBool: parsing "foo":'
            " invalid syntax",
        ),
    ],
)
def test_errors_are_in_dockers_words(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(FlagError) as caught:
        read(*arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize("argument", ["--help", "-h"])
def test_help_is_wanted(argument: str) -> None:
    with pytest.raises(HelpWanted):
        read(argument)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run"], 1, "heft: 'heft run' requires at least 1 argument\n"),
        (["exec", "x"], 1, "heft: 'heft exec' requires at least 2 arguments\n"),
        (["logs"], 1, "heft: 'heft logs' requires 1 argument\n"),
        (["ps", "x"], 1, "heft: 'heft ps' accepts no arguments\n"),
        (["rm"], 1, "Usage:  heft rm [OPTIONS] MACHINE [MACHINE...]\n\nSee 'heft rm --help'"),
        (["ps", "--zz"], 125, "unknown flag: --zz\n\nUsage:  heft ps [OPTIONS]\n\nRun 'heft ps --"),
        (["nope"], 1, "heft: unknown command: heft nope\n\nRun 'heft --help'"),
        (["container", "nope"], 1, "heft: unknown command: heft container nope\n"),
        (["--zz"], 125, "unknown flag: --zz\n"),
        (["help", "nope"], 1, "unknown help topic: nope\n"),
        (["run", "--pull", "x", "i"], 125, 'must be one of "always", "missing" or "never"'),
        (["run", "-d", "-a", "stdout", "i"], 125, "cannot specify both --attach and --detach"),
        (["-H", "ftp://x", "ps"], 1, "heft: unable to parse host: ftp://x"),
        (["-H", "tcp://x:1", "ps"], 1, "without --tlscacert: heftd speaks on TCP only with mutual"),
        (["-H", "unix:///no/where", "ps"], 1, "daemon at unix:///no/where: No such file"),
        (["-H", "unix:///no/where", "run", "i"], 125, "Run 'heft run --help' for more info"),
    ],
)
def test_exit_statuses_and_messages(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(arguments) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("path", [*index.COMMANDS, *index.ALIASES])
def test_every_command_has_its_page(path: str) -> None:
    words = tuple(path.split())
    found = index.resolve(index.path_of(words))
    assert isinstance(load(found), Command)
    page = pages.page(words, 80)
    assert page.startswith(f"Usage:  heft {path}")
    assert max(len(line) for line in page.splitlines() if not line.startswith("  heft ")) <= 100


@pytest.mark.parametrize("path", index.COMMANDS)
def test_no_flag_is_there_twice(path: str) -> None:
    flags = load(path).flags
    names = [name for flag in flags for name in (flag.name, *flag.aliases)]
    shorts = [flag.short for flag in flags if flag.short]
    assert len(set(names)) == len(names)
    assert len(set(shorts)) == len(shorts)


def test_groups_and_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    text = capsys.readouterr().out
    assert "Common Commands:\n  run " in text
    assert "Global Options:" in text
    assert run(["container"]) == run(["help", "machine"]) == 0
    text = capsys.readouterr().out
    assert "Usage:  heft container COMMAND\n\nManage machines\n" in text
    assert "  ls          List machines\n" in text
    assert "remove" not in text
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("Heft version ")
    with pytest.raises(BadUsage):
        run(["volume", "nope"])


def test_flags_are_laid_out_as_dockers() -> None:
    page = pages.page(("rm",), 80)
    assert page.endswith(
        "Options:\n"
        "  -f, --force     Force the removal of a running machine (uses SIGKILL)\n"
        "  -v, --volumes   Remove anonymous volumes associated with the machine"
    )
