"""`heft events`."""

from __future__ import annotations

import json
import sys

from heft.cli import human
from heft.cli.command import Command
from heft.cli.filters import encoded, filter_flag
from heft.cli.flags import word
from heft.cli.tables import VALUE_FORMAT_HELP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from heft.cli.command import Invocation

SECOND = 1_000_000_000


def run(call: Invocation) -> int:
    """Print events as they come."""
    flags = call.flags
    show = _shower(flags.text("format").strip())
    for event in call.client.values(
        "/events",
        since=flags.text("since"),
        until=flags.text("until"),
        filters=encoded(flags.list("filter")),
    ):
        sys.stdout.write(show(event) + "\n")
        sys.stdout.flush()
    return 0


def _shower(form: str) -> Callable[[dict[str, Any]], str]:
    """Give what makes text of an event."""
    if not form:
        return line
    if form in ("json", "{{json .}}"):
        return lambda event: json.dumps(event, separators=(",", ":"), ensure_ascii=False)
    from heft.cli.template.evaluate import of_one

    template = of_one(form)
    return lambda event: template.render(_fields(event))


def _fields(event: dict[str, Any]) -> dict[str, Any]:
    """Give an event's fields with those of old, by the names that Go's have, as well."""
    old = {"Status": "status", "ID": "id", "From": "from"}
    known = {"Scope": "scope", "Time": "time", "TimeNano": "timeNano"}
    return {
        **event,
        **{field: event.get(name, "") for field, name in old.items()},
        **{field: event[name] for field, name in known.items()},
    }


def line(event: dict[str, Any]) -> str:
    """Give an event as a line: when, what, which, and its attributes."""
    actor = event["Actor"]
    attributes = ", ".join(
        f"{key}={actor['Attributes'][key]}" for key in sorted(actor["Attributes"])
    )
    said = " ".join((_moment(event["timeNano"]), event["Type"], event["Action"], actor["ID"]))
    return f"{said} ({attributes})" if attributes else said


def _moment(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, SECOND)
    whole = human.moment_text(seconds)
    return f"{whole[:19]}.{rest:09}{whole[19:]}"


EVENTS = Command(
    run,
    flags=(
        filter_flag("Filter output based on conditions provided"),
        word("format", VALUE_FORMAT_HELP),
        word("since", "Show all events created since timestamp"),
        word("until", "Stream events until this timestamp"),
    ),
)
