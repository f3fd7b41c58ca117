"""The flag `--filter`, and filters as the API takes them."""

from __future__ import annotations

from heft.cli import json_text
from heft.cli.flags import words
from heft.cli.machine_flags import lazily

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from heft.cli.flags import Flag


def filter_flag(about: str, short: str = "f") -> Flag:
    """Make the flag."""
    return words("filter", about, short, kind="filter", read=lazily("hosts", "filter_text"))


def encoded(given: Iterable[tuple[str, str]]) -> str:
    """Give filters as JSON; empty if there are none."""
    found: dict[str, list[str]] = {}
    for name, value in given:
        found.setdefault(name, []).append(value)
    return json_text.dumps(found) if found else ""
