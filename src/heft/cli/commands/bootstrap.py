"""`heft bootstrap`."""

from __future__ import annotations

import sys

from heft.cli.command import Command
from heft.cli.failures import Failure
from heft.cli.flags import switch, word, words
from heft.cli.program import PROGRAM
from heft.cli.progress import follow, on_stderr
from heft.cli.tables import FORMAT_HELP, Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.command import Invocation

HEADERS = {"Name": "TEMPLATE", "Options": "OPTIONS", "Summary": "SUMMARY"}


def run(call: Invocation) -> int:
    """Make an image from a template and print its id; without one, list the templates."""
    flags, client = call.flags, call.client
    if not call.arguments:
        return _list(call)
    template, *values = call.arguments
    options = _options(flags.list("option"))
    if values:
        options |= _in_place(template, values, client.get("/heft/v1/templates"))
    if platform := flags.text("platform"):
        options["platform"] = platform
    progress = on_stderr(quiet=flags.on("quiet"))
    body = {"template": template, "reference": flags.text("tag"), "options": options}
    answer = client.open("POST", "/heft/v1/bootstrap", body=body)
    said = follow(answer.lines(), progress, sys.stderr.write)
    print(said[-1] if said else "")
    return 0


def _options(given: list[str]) -> dict[str, Any]:
    """Give `key=value` texts as the template's options; a key given again has several values."""
    options: dict[str, list[str]] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise Failure(f"invalid option {each!r}: give it as key=value")
        options.setdefault(key, []).append(value)
    return {key: values[0] if len(values) == 1 else values for key, values in options.items()}


def _in_place(template: str, values: list[str], known: list[dict[str, Any]]) -> dict[str, str]:
    """Give the values behind a template's name to its options that are given so, in order."""
    for each in known:
        if each["name"] == template:
            names = [option["name"] for option in each["options"] if option["positional"]]
            break
    else:
        raise Failure(f"no such template: {template} (`{PROGRAM} bootstrap` lists them)")
    if len(values) > len(names):
        takes = f"takes {' '.join(map(str.upper, names))}" if names else "takes no values"
        raise Failure(f"template {template} {takes}; give other options as --option key=value")
    return dict(zip(names, values, strict=False))


def _list(call: Invocation) -> int:
    rows = [
        {
            "Name": each["name"],
            "Options": ", ".join(option["name"] for option in each["options"]),
            "Summary": each["summary"],
        }
        for each in call.client.get("/heft/v1/templates")
    ]
    Listing(HEADERS, tuple(HEADERS)).show(rows, call.flags.text("format"))
    return 0


BOOTSTRAP = Command(
    run,
    takes="[TEMPLATE [VALUE...]]",
    flags=(
        word("format", FORMAT_HELP),
        words("option", "Set an option of the template (key=value)", "o"),
        word("platform", "Platform of the image, if not the host's (linux/arm64)"),
        switch("quiet", "Suppress the progress", "q"),
        word("tag", "Name of the image, and optionally a tag", "t"),
    ),
    most=None,
)
