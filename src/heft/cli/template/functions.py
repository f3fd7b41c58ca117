"""The functions of templates: Go's own, and those that Docker's clients add (templates.go)."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class FunctionError(Exception):
    """A function does not take what it was given."""


def shown(value: Any) -> str:
    """Give a value as Go prints it (`%v`)."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{_inner(value[k])}" for k in sorted(value)) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(_inner(each) for each in value) + "]"
    return str(value)


def _inner(value: Any) -> str:
    return "<nil>" if value is None else shown(value)


def to_json(value: Any) -> str:
    """Give JSON as Docker's clients do: no spaces; a row's functions are no part of it."""
    if isinstance(value, dict):
        value = {name: each for name, each in value.items() if not callable(each)}
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def truth(value: Any) -> bool:
    """Say whether Go takes it for true: what is not empty, zero or nothing."""
    return bool(value)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None:
            raise FunctionError("index of untyped nil")
        if isinstance(value, dict):
            value = value.get(str(key))
        elif isinstance(value, (list, tuple, str)):
            if not isinstance(key, int):
                raise FunctionError("cannot index slice/array with type string")
            if not 0 <= key < len(value):
                raise FunctionError(f"index out of range: {key}")
            value = value[key]
        else:
            raise FunctionError(f"can't index item of type {type(value).__name__}")
    return value


def _slice(value: Any, *bounds: int) -> Any:
    low, high = (*bounds, *(0, len(value))[len(bounds) :])[:2]
    if not 0 <= low <= high <= len(value):
        raise FunctionError(f"index out of range: {high}")
    return value[low:high]


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else text


def _equal(first: Any, *others: Any) -> bool:
    return any(type(first) is type(each) and first == each for each in others)


def _and(*values: Any) -> Any:
    return next((each for each in values if not truth(each)), values[-1])


def _or(*values: Any) -> Any:
    return next((each for each in values if truth(each)), values[-1])


_VERBS = {"v": shown, "s": shown, "q": lambda value: json.dumps(shown(value)), "t": shown}


def _printf(form: str, *values: Any) -> str:
    """Do what Go's Sprintf does, as far as the verbs are C's or in `_VERBS`."""
    import re

    rest = list(values)

    def one(match: re.Match[str]) -> str:
        flags, verb = match[1], match[2]
        if verb == "%":
            return "%"
        if not rest:
            return f"%!{verb}(MISSING)"
        value = rest.pop(0)
        try:
            if verb in _VERBS:
                return f"%{flags}s" % _VERBS[verb](value)
            return str(f"%{flags}{verb}" % value)
        except (TypeError, ValueError):
            return f"%!{verb}({shown(value)})"

    return re.sub(r"%([-+# 0]*\d{0,4}(?:\.\d{1,4})?)([a-zA-Z%])", one, form)


def _print(*values: Any) -> str:
    """Join as Go's Sprint: a space between two of which neither is a text."""
    result = ""
    for number, value in enumerate(values):
        between = number and not isinstance(value, str) and not isinstance(values[number - 1], str)
        result += (" " if between else "") + shown(value)
    return result


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": _and,
    "or": _or,
    "not": lambda value: not truth(value),
    "len": len,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "println": lambda *values: " ".join(map(shown, values)) + "\n",
    "printf": _printf,
    "eq": _equal,
    "ne": lambda first, second: not _equal(first, second),
    "lt": lambda first, second: first < second,
    "le": lambda first, second: first <= second,
    "gt": lambda first, second: first > second,
    "ge": lambda first, second: first >= second,
    "json": to_json,
    "split": lambda text, separator: text.split(separator) if separator else list(text),
    "join": lambda values, separator: separator.join(map(shown, values or ())),
    "title": lambda text: text[:1].upper() + text[1:],
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "pad": _pad,
    "truncate": lambda text, length: text[:length] if length >= 0 else text,
    "html": lambda value: _escaped(shown(value)),
    "js": lambda value: json.dumps(shown(value))[1:-1],
    "urlquery": lambda value: _quoted(shown(value)),
}

HEADER_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **FUNCTIONS,
    **{
        name: (lambda first, *_: first)
        for name in ("json", "split", "join", "title", "lower", "upper", "truncate")
    },
}
"""What the functions do to a column's name: a head is not made shorter, or lower case."""


def _escaped(text: str) -> str:
    import html

    return html.escape(text)


def _quoted(text: str) -> str:
    from heft.cli.client import quote

    return quote(text)
