"""Addresses and names. Readers of flags: they raise `ValueError` in Docker's words."""

from __future__ import annotations

import _socket

STREAMS = ("stdin", "stdout", "stderr")


def is_address(given: str) -> bool:
    """Say whether it is an IPv4 or IPv6 address."""
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, given)
        except OSError:
            continue
        return True
    return False


def address(given: str) -> str:
    """Read an IP address."""
    if not is_address(given.strip()):
        raise ValueError(f"IP address is not correctly formatted: {given.strip()}")
    return given.strip()


def extra_host(given: str) -> str:
    """Read `--add-host`: `name:address` or `name=address`; the address may be `host-gateway`."""
    separator = "=" if "=" in given else ":"
    name, found, target = given.partition(separator)
    if not found or not name:
        raise ValueError(f'bad format for add-host: "{given}"')
    target = target.removeprefix("[").removesuffix("]") if target.startswith("[") else target
    if target != "host-gateway" and not is_address(target):
        raise ValueError(f'invalid IP address in add-host: "{target}"')
    return f"{name}:{target}"


def stream(given: str) -> str:
    """Read `--attach`."""
    if given.lower() not in STREAMS:
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return given.lower()


def sysctl(given: str) -> str:
    """Read `--sysctl`: `name=value`; the daemon knows which the machine's kernel can have."""
    name, found, _ = given.partition("=")
    if not name or not found:
        raise ValueError(f"sysctl '{given}' is not allowed")
    return given


def filter_text(given: str) -> tuple[str, str]:
    """Read `--filter`: `name=value`; the name is not case-sensitive."""
    name, equals, value = given.partition("=")
    if not equals:
        raise ValueError("bad format of filter (expected name=value)")
    return name.strip().lower(), value.strip()
