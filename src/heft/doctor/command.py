"""The command line of `heft doctor`."""

from __future__ import annotations

import argparse
import sys

from heft.doctor import report
from heft.doctor.catalog import examine
from heft.doctor.check import BUILDS_ON, LIGHT, WEIGHTS, Host

_EXPLAINED = """\
A line begins with ok, with lacks (the weight runs, but worse), with LACKS (it cannot run), or with
? (it cannot be told). The exit code is 0 if every weight that was asked for can run, else 1;
without a name all weights are shown, and light decides.
"""


def parser() -> argparse.ArgumentParser:
    """Give the parser of the command line."""
    result = argparse.ArgumentParser(
        prog="heft doctor",
        description="Try everything that machines need of this host, and say what is missing.",
        epilog=_EXPLAINED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(WEIGHTS)
    result.add_argument("weight", nargs="*", help=f"what to look at: {names}")
    result.add_argument("-q", "--quiet", action="store_true", help="show only what is missing")
    result.add_argument("--json", action="store_true", help="write JSON")
    return result


def run(arguments: list[str]) -> int:
    """Examine the host and report; give the exit code."""
    commands = parser()
    options = commands.parse_args(arguments)
    if wrong := [name for name in options.weight if name not in WEIGHTS]:
        commands.error(f"no such weight: {', '.join(wrong)} (there are {', '.join(WEIGHTS)})")
    shown = tuple(dict.fromkeys(options.weight)) or tuple(WEIGHTS)
    asked = shown if options.weight else (LIGHT,)
    needed = (*shown, *(BUILDS_ON[name] for name in shown if name in BUILDS_ON))
    results = examine(Host(), needed)
    verdicts = tuple(report.verdict(name, results) for name in shown)
    if options.json:
        sys.stdout.write(report.document(verdicts) + "\n")
    else:
        for line in report.table(verdicts, quiet=options.quiet):
            sys.stdout.write(line + "\n")
    return 0 if all(one.runs for one in verdicts if one.weight in asked) else 1
