"""Bodies of requests: JSON as Go reads it, into typed values.

Go's decoder takes `null` for "absent", matches the names of fields whatever their case, and
ignores fields it does not know (pkg.go.dev/encoding/json, `Unmarshal`). Clients rely on all three.
A plan of how to bring a type's JSON into msgspec's stricter form is made once a type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from msgspec import inspect

from heft.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

STRING_OR_LIST = frozenset({"Cmd", "Entrypoint", "Shell", "CapAdd", "CapDrop"})
"""Lists that may be written as one string (moby, api/types/strslice)."""

_parse = msgspec.json.Decoder().decode


class Body(Generic[T]):
    """A decoder for bodies of one type."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._tidy = _plan(inspect.type_info(kind))

    def decode(self, body: bytes) -> T:
        """Read a body; raise `InvalidArgument` that names the field which is wrong."""
        if not body.strip():
            raise InvalidArgument("invalid JSON: got EOF while reading request body")
        try:
            return msgspec.convert(self._tidy(_parse(body)), self._kind)
        except msgspec.ValidationError as error:
            raise InvalidArgument(f"invalid request body: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidArgument(f"invalid JSON: {error}") from error


def _plan(kind: inspect.Type) -> Callable[[Any], Any]:
    """Give a function that makes a value of this type out of JSON that Go would take for one."""
    if isinstance(kind, inspect.StructType):
        return _Fields({field.encode_name: _field(field) for field in kind.fields})
    if isinstance(kind, inspect.DictType):
        return _values(_plan(kind.value_type), _zero(kind.value_type))
    if isinstance(kind, inspect.ListType):
        return _items(_plan(kind.item_type), _zero(kind.item_type))
    if isinstance(kind, inspect.UnionType):
        (known,) = (each for each in kind.types if not isinstance(each, inspect.NoneType))
        return _plan(known)
    return _same


def _field(field: inspect.Field) -> Callable[[Any], Any]:
    tidy = _plan(field.type)
    if field.encode_name in STRING_OR_LIST:
        return lambda value: [value] if isinstance(value, str) else tidy(value)
    if isinstance(field.type, inspect.IntType):
        return lambda value: _number(field.encode_name, value)
    return tidy


def _number(name: str, value: Any) -> Any:
    """Refuse what Go's int64 does not hold: neither the store nor the kernel could."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise InvalidArgument(f"invalid request body: {name}: {value} is out of range")
    return value


def _same(value: Any) -> Any:
    return value


def _zero(kind: inspect.Type) -> Callable[[], Any]:
    """Give what makes Go's zero value of a type: what `null` is within a list or a map."""
    if isinstance(kind, (inspect.StructType, inspect.DictType)):
        return dict
    if isinstance(kind, inspect.ListType):
        return list
    if isinstance(kind, inspect.StrType):
        return str
    if isinstance(kind, inspect.IntType):
        return int
    return lambda: None


class _Fields:
    """Takes a struct's fields, by their names or by those in another case, that are not null."""

    def __init__(self, fields: dict[str, Callable[[Any], Any]]) -> None:
        self._fields = fields
        self._exact = {name.lower(): name for name in fields}

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        taken = {}
        for name, content in value.items():
            if content is None:
                continue
            known = name if name in self._fields else self._exact.get(name.lower())
            if known is not None:
                taken[known] = self._fields[known](content)
        return taken


def _values(tidy: Callable[[Any], Any], zero: Callable[[], Any]) -> Callable[[Any], Any]:
    def take(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: zero() if each is None else tidy(each) for key, each in value.items()}

    return take


def _items(tidy: Callable[[Any], Any], zero: Callable[[], Any]) -> Callable[[Any], Any]:
    def take(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [zero() if each is None else tidy(each) for each in value]

    return take
