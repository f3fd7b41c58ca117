"""The `filters` of list requests: a JSON object of names to values, all of which must hold.

`{"status": ["exited"]}`, or as old clients write it, `{"status": {"exited": true}}`.
"""

from __future__ import annotations

import fnmatch
import json
import re
from typing import TYPE_CHECKING

import msgspec

from heft.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Filters = dict[str, list[str]]

MOST_REPEATS = 4
LONGEST_TEXT = 256
_PLAIN = re.compile(r"\^?[\w/:@-]*\$?")
_REPEATED_GROUP = re.compile(r"\)[*+?{]")
_REPEAT = re.compile(r"[*+{]")

_decode = msgspec.json.Decoder(dict[str, list[str] | dict[str, bool]]).decode


def parse(given: str, known: frozenset[str]) -> Filters:
    """Read filters; raise `InvalidArgument` for bad JSON and for names not in `known`."""
    if not given:
        return {}
    try:
        decoded = _decode(given)
    except msgspec.MsgspecError as error:
        raise InvalidArgument(f"invalid filter: {error}") from error
    filters: Filters = {}
    for name, values in decoded.items():
        if name not in known:
            raise InvalidArgument(f"invalid filter '{name}'")
        chosen = [v for v, on in values.items() if on] if isinstance(values, dict) else values
        if chosen:
            filters[name] = chosen
    return filters


def flag(filters: Filters, name: str) -> bool | None:
    """Read a filter that is true or false; None where it is not given."""
    if not (values := filters.get(name)):
        return None
    value = values[0].lower()
    if len(values) == 1 and value in ("1", "true"):
        return True
    if len(values) == 1 and value in ("0", "false"):
        return False
    raise InvalidArgument(f"invalid filter '{name}={json.dumps(values)}'")


def one_of(filters: Filters, name: str, allowed: Iterable[str]) -> list[str]:
    """Give a filter's values; raise `InvalidArgument` for one that can never match."""
    values = filters.get(name, [])
    for value in values:
        if value not in allowed:
            raise InvalidArgument(f"invalid filter '{name}={value}'")
    return values


def has_labels(labels: Mapping[str, str], wanted: Iterable[str]) -> bool:
    """Say whether all of `key` or `key=value` are there."""
    return all(_has_label(labels, each) for each in wanted)


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def labels_fit(labels: Mapping[str, str], filters: Filters) -> bool:
    """Say whether the filters `label` and `label!` hold."""
    return has_labels(labels, filters.get("label", [])) and not any(
        _has_label(labels, each) for each in filters.get("label!", [])
    )


def matches(filters: Filters, name: str, *texts: str) -> bool:
    """Say whether one of the filter's values, regular expressions, is found in one of the texts.

    True where the filter is not given. Expressions that could take for ever are refused with
    `InvalidArgument`: Go's have no such cases, Python's do.
    """
    values = filters.get(name)
    if not values:
        return True
    return any(_search(value, text) for value in values for text in texts)


def _search(pattern: str, text: str) -> bool:
    if _PLAIN.fullmatch(pattern):
        bare = pattern.removeprefix("^").removesuffix("$")
        starts, ends = pattern.startswith("^"), pattern.endswith("$")
        if starts and ends:
            return text == bare
        return (
            (starts and text.startswith(bare))
            or (ends and text.endswith(bare))
            or (not starts and not ends and bare in text)
        )
    if _REPEATED_GROUP.search(pattern) or len(_REPEAT.findall(pattern)) > MOST_REPEATS:
        raise InvalidArgument(f"the expression {pattern!r} in a filter is too complicated")
    try:
        return re.search(pattern, text[:LONGEST_TEXT]) is not None
    except (re.error, OverflowError):
        return False


def like(pattern: str, text: str) -> bool:
    """Match as Go's path.Match: `*` and `?` stop at a slash, `[a-z]` is a class."""
    parts, wanted = text.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(
        fnmatch.fnmatchcase(part, each.replace("[^", "[!"))
        for part, each in zip(parts, wanted, strict=True)
    )
