"""Sizes as people write them."""

from __future__ import annotations

from heft.errors import InvalidArgument

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str, what: str) -> int:
    """Give the bytes that a size as `10m` means; the units are powers of 1024."""
    digits = text.lower().removesuffix("ib").removesuffix("b")
    unit = digits[-1:] if digits[-1:].isalpha() else ""
    number = digits.removesuffix(unit) if unit else digits
    if unit not in _UNITS or not number.isdecimal():
        raise InvalidArgument(f"invalid size for {what}: '{text}'")
    return int(number) * _UNITS[unit]
