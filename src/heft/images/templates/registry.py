"""The templates of this host: Heft's own, and those of other packages."""

from __future__ import annotations

import functools
import logging
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from heft.errors import NotFound
from heft.images.templates.busybox import Busybox
from heft.images.templates.debian import Debian

if TYPE_CHECKING:
    from heft.images.templates.base import Template

GROUP = "heft.templates"

log = logging.getLogger(__name__)


@functools.cache
def templates() -> dict[str, Template]:
    """Give all templates by name; one that cannot be loaded is left out, and logged."""
    found: dict[str, Template] = {"busybox": Busybox(), "debian": Debian()}
    for entry in entry_points(group=GROUP):
        try:
            found.setdefault(entry.name, entry.load()())
        except Exception:
            log.exception("template %s of %s cannot be loaded", entry.name, entry.value)
    return found


def template(name: str) -> Template:
    """Give a template. Raises `NotFound`."""
    known = templates()
    if name not in known:
        raise NotFound(f"no such template: {name}", hint=f"there are: {', '.join(sorted(known))}")
    return known[name]


def listing() -> list[dict[str, Any]]:
    """Describe all templates, for the API."""
    return [
        {
            "name": name,
            "summary": each.summary,
            "options": [
                {
                    "name": option.name,
                    "help": option.help,
                    "positional": option.positional,
                    "many": option.many,
                }
                for option in each.options
            ],
        }
        for name, each in sorted(templates().items())
    ]
