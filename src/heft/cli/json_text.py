"""JSON (RFC 8259) by the compiled half of Python's own `json`.

The other half of that package imports `re` and `enum`, which take longer than `heft ps` waits for
its answer. It is asked for the words where something is wrong.
"""

from __future__ import annotations

from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPACE = " \t\n\r"

quoted = encode_basestring
"""Gives text as a JSON string in which only what must be escaped is."""


class _Plain:
    """What `json.JSONDecoder` is by itself, as far as its scanner looks."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> float:
        return float(name)


def _refuse(value: object) -> object:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


_scan: Any = make_scanner(_Plain())  # type: ignore[arg-type]
_encode: Any = make_encoder(
    None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, True
)


def loads(text: str | bytes) -> Any:
    """Read a value. Raises `ValueError` for what is none, or is followed by something."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogatepass")
    bare = text.strip(_SPACE)
    try:
        value, end = _scan(bare, 0)
    except (StopIteration, SystemError, ValueError):  # as it has no words of its own
        end = -1
    if end == len(bare):
        return value
    import json

    return json.loads(text)


def dumps(value: object) -> str:
    """Write a value without spaces, in ASCII. Raises `TypeError` for what JSON has not."""
    return "".join(_encode(value, 0))
