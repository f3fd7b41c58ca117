"""JSON (RFC 8259) by the compiled half of Python's own `json`.

The other half of that package imports `re` and `enum`, which take longer than `heft ps` waits for
its answer. It is asked for the words where something is wrong, and does it all where a Python has
no such compiled half, or another one: `_json` is CPython's own affair.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPACE = " \t\n\r"


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


_quote: Any
_scan: Any
_encode: Any
try:
    import _json

    _quote = _json.encode_basestring
    _scan = _json.make_scanner(_Plain())  # type: ignore[arg-type]
    _encode = _json.make_encoder(
        None, _refuse, _json.encode_basestring_ascii, None, ":", ",", False, False, True
    )
except (ImportError, AttributeError, TypeError):
    import json

    _quote = json.JSONEncoder(ensure_ascii=False).encode
    _scan = json.JSONDecoder().raw_decode

    def _encode(value: object, _: int) -> tuple[str]:
        return (json.dumps(value, separators=(",", ":")),)


def quoted(text: str) -> str:
    """Give text as a JSON string in which only what must be escaped is."""
    return str(_quote(text))


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
