"""Amounts as text: bytes, CPUs, durations. All raise `ValueError` in Docker's words."""

from __future__ import annotations

_UNITS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_NANO_DIGITS = 9
_DURATIONS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def size(given: str) -> int:
    """Give the bytes that `64m`, `1.5g`, `512` mean; units are powers of 1024 (go-units)."""
    text = given.strip()
    digits = text.rstrip("bBiIkKmMgGtTpP ")
    suffix = text[len(digits) :].strip().lower()
    try:
        amount = float(digits)
    except ValueError:
        if digits[:-1] and digits[:1].isdecimal():
            raise ValueError(f"invalid suffix: '{text.lstrip('0123456789. ')}'") from None
        raise ValueError(f"invalid size: '{given}'") from None
    if amount < 0 or amount != amount or amount > 1 << 62:
        raise ValueError(f"invalid size: '{given}'")
    unit = suffix.removesuffix("b").removesuffix("i") if suffix != "b" else ""
    if unit not in _UNITS:
        raise ValueError(f"invalid suffix: '{suffix}'")
    return int(amount * float(1 << 10 * _UNITS[unit]))


def swap(given: str) -> int:
    """Give the bytes; -1 is without a limit."""
    return -1 if given == "-1" else size(given)


def cpus(given: str) -> int:
    """Give billionths of a CPU for `0.5`, `2` or `3/2`, exactly."""
    number, slash, divisor = given.partition("/")
    try:
        whole, _, fraction = number.partition(".")
        if not (whole + fraction).isdecimal() or (slash and int(divisor) <= 0):
            raise ValueError
        scaled = int(whole + fraction) * 10**_NANO_DIGITS
        below = 10 ** len(fraction) * (int(divisor) if slash else 1)
    except ValueError:
        raise ValueError(f"failed to parse {given} as a rational number") from None
    if scaled % below:
        raise ValueError("value is too precise")
    return int(scaled // below)


def duration(given: str) -> int:
    """Give the nanoseconds that Go's `1h30m`, `1.5s`, `300ms` mean."""
    text = given.removeprefix("-").removeprefix("+")
    if text == "0":
        return 0
    total = 0.0
    while text:
        digits = text[: len(text) - len(text.lstrip("0123456789."))]
        rest = text[len(digits) :]
        unit = rest[: len(rest) - len(rest.lstrip("nuµmsh"))]
        if not digits.replace(".", "", 1).isdecimal():
            raise ValueError(f'time: invalid duration "{given}"')
        if not unit:
            raise ValueError(f'time: missing unit in duration "{given}"')
        if unit not in _DURATIONS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{given}"')
        total += float(digits) * _DURATIONS[unit]
        text = rest[len(unit) :]
    if not given.strip("+-"):
        raise ValueError(f'time: invalid duration "{given}"')
    return -int(total) if given.startswith("-") else int(total)
