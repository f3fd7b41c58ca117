"""Published ports as a list shows them: neighbours in one (docker/cli, `DisplayablePorts`)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def shown(ports: list[dict[str, Any]]) -> str:
    """Give `0.0.0.0:8080-8081->80-81/tcp, 53/udp`."""
    ordered = sorted(
        ports,
        key=lambda port: (
            port["PrivatePort"],
            port.get("IP", ""),
            port.get("PublicPort", 0),
            port["Type"],
        ),
    )
    ranges: list[list[dict[str, Any]]] = []
    for port in ordered:
        fitting = next((each for each in ranges if _follows(port, each[-1])), None)
        if fitting is None:
            ranges.append([port])
        else:
            fitting.append(port)
    return ", ".join(_text(each[0], each[-1]) for each in ranges)


def _follows(port: dict[str, Any], before: dict[str, Any]) -> bool:
    same = all(port.get(key) == before.get(key) for key in ("IP", "Type"))
    public, public_before = port.get("PublicPort", 0), before.get("PublicPort", 0)
    return (
        same
        and port["PrivatePort"] == before["PrivatePort"] + 1
        and bool(public) == bool(public_before)
        and (not public or public == public_before + 1)
    )


def _text(first: dict[str, Any], last: dict[str, Any]) -> str:
    inside = f"{_span(first['PrivatePort'], last['PrivatePort'])}/{first['Type']}"
    if not first.get("PublicPort"):
        return inside
    address = first.get("IP", "")
    address = f"[{address}]" if ":" in address else address
    return f"{address}:{_span(first['PublicPort'], last['PublicPort'])}->{inside}"


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
