"""What the command imports before its first request: each module is time that a user waits."""

import json
import subprocess
import sys

import pytest

MOST_MODULES = {"ps": 24, "run": 26, "exec": 21, "logs": 20, "rm": 19}
"""How many are imported on top of a bare interpreter's."""
FORBIDDEN = frozenset(
    (
        "argparse asyncio csv dataclasses datetime email http inspect json logging msgspec pathlib"
        " re shutil socket ssl subprocess tempfile textwrap threading typing urllib"
    ).split()
)
PROGRAM = """
import sys
before = set(sys.modules)
def at_connect(event, arguments):
    if event == "socket.connect":
        new = sorted(set(sys.modules) - before)
        import json, os
        sys.stdout.write(json.dumps(new))
        sys.stdout.flush()
        os._exit(0)
sys.addaudithook(at_connect)
sys.argv = ["heft", "-H", "unix:///nowhere", *sys.argv[1:]]
from heft.cli.main import main
main()
"""


def imported(*arguments: str) -> list[str]:
    """Give the modules that are there when the first connection is made."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stdout, done.stderr
    modules: list[str] = json.loads(done.stdout)
    return modules


COMMANDS = (
    ("ps",),
    ("run", "--rm", "-e", "A=b", "-m", "64m", "image", "true"),
    ("exec", "machine", "true"),
    ("logs", "machine"),
    ("rm", "machine"),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: str(arguments[0]))
def test_few_modules_are_imported_before_the_first_request(arguments: tuple[str, ...]) -> None:
    modules = imported(*arguments)
    assert len(modules) <= MOST_MODULES[arguments[0]], modules


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: str(arguments[0]))
def test_nothing_slow_or_of_the_daemon_is_imported(arguments: tuple[str, ...]) -> None:
    modules = imported(*arguments)
    assert not FORBIDDEN.intersection(module.partition(".")[0] for module in modules)
    assert {m for m in modules if m.startswith("heft.") and not m.startswith("heft.cli")} == set()


def test_a_command_imports_no_other_command() -> None:
    modules = imported("ps")
    commands = [m for m in modules if m.startswith("heft.cli.commands.")]
    assert commands == ["heft.cli.commands.ps"]
    assert not [m for m in modules if m.startswith("heft.cli.template")]
