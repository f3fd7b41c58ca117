"""`heft bootstrap`."""

from __future__ import annotations

import sys

from heft.cli.command import Command
from heft.cli.failures import Failure
from heft.cli.flags import switch, word, words
from heft.cli.progress import follow, on_stderr
from heft.cli.tables import FORMAT_HELP, Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.command import Invocation

HEADERS = {"Name": "TEMPLATE", "About": "ABOUT", "Options": "OPTIONS"}


def run(call: Invocation) -> int:
    """Make an image from a template and print its id; without one, list the templates."""
    flags = call.flags
    if not call.arguments:
        return _list(call)
    template, *release = call.arguments
    options = _options(flags.list("option"))
    if release:
        options["release"] = release[0]
    progress = on_stderr(quiet=flags.on("quiet"))
    body = {"template": template, "reference": flags.text("tag"), "options": options}
    answer = call.client.open("POST", "/heft/v1/bootstrap", body=body)
    said = follow(answer.lines(), progress, sys.stderr.write)
    print(said[-1] if said else "")
    return 0


def _options(given: list[str]) -> dict[str, Any]:
    """Give `key=value` texts as the template's options; a key given again has several values."""
    options: dict[str, Any] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise Failure(f"invalid option {each!r}: give it as key=value")
        if key not in options:
            options[key] = value
        elif isinstance(options[key], list):
            options[key].append(value)
        else:
            options[key] = [options[key], value]
    return options


def _list(call: Invocation) -> int:
    templates = call.client.get("/heft/v1/templates")
    rows = [
        {
            "Name": each["name"],
            "About": each.get("about", ""),
            "Options": ", ".join(each.get("options") or ()),
        }
        for each in templates
    ]
    Listing(HEADERS, tuple(HEADERS)).show(rows, call.flags.text("format"))
    return 0


BOOTSTRAP = Command(
    run,
    takes="[TEMPLATE [RELEASE]]",
    flags=(
        word("format", FORMAT_HELP),
        words("option", "Set an option of the template (key=value)", "o"),
        switch("quiet", "Suppress the progress", "q"),
        word("tag", "Name of the image, and optionally a tag", "t"),
    ),
    most=2,
)
