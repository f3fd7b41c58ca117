"""Places on networks: `--network` in both its syntaxes, and the flags that add to it."""

from __future__ import annotations

from heft.cli.failures import Failure
from heft.cli.values.environment import mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.flags import Given

DEFAULT = "default"
ADDRESSES = (("ip", "IPv4Address"), ("ip6", "IPv6Address"))
_FIELDS = ("name", "alias", "ip", "ip6", "mac-address", "driver-opt")


def endpoints(flags: Given) -> tuple[str, dict[str, Any]]:
    """Give the network mode, and what is asked of the place on each network.

    The flags that name no network of their own belong to the first one. Raises `Failure`.
    """
    networks = [_network(each) for each in flags.list("network")] or [(DEFAULT, {})]
    mode, first = networks[0]
    if flags.list("network-alias"):
        first.setdefault("Aliases", []).extend(flags.list("network-alias"))
    for flag, field in ADDRESSES:
        if address := flags.text(flag):
            first.setdefault("IPAMConfig", {})[field] = address
    if mac := flags.text("mac-address"):
        first["MacAddress"] = _mac(mac)
    asked = {name: place for name, place in networks if place or len(networks) > 1}
    return (mode if "network" in flags else ""), asked


def _network(given: str) -> tuple[str, dict[str, Any]]:
    """Read `bridge`, or `name=bridge,alias=web,ip=10.0.0.9`."""
    if "=" not in given:
        if not given:
            raise Failure("no name set for network")
        return given, {}
    fields: dict[str, list[str]] = {}
    for part in given.split(","):
        key, _, value = part.strip().partition("=")
        if key not in _FIELDS:
            raise Failure(f"invalid field key {key}")
        fields.setdefault(key, []).append(value)
    name = fields.get("name", [""])[-1]
    if not name:
        raise Failure("no name set for network")
    return name, _place(fields)


def _place(fields: dict[str, list[str]]) -> dict[str, Any]:
    place: dict[str, Any] = {}
    for key, field in ADDRESSES:
        if key in fields:
            place.setdefault("IPAMConfig", {})[field] = fields[key][-1]
    if "alias" in fields:
        place["Aliases"] = fields["alias"]
    if "mac-address" in fields:
        place["MacAddress"] = _mac(fields["mac-address"][-1])
    if "driver-opt" in fields:
        place["DriverOpts"] = mapping(fields["driver-opt"])
    return place


def _mac(given: str) -> str:
    parts = given.replace("-", ":").split(":")
    if len(parts) == 6 and all(len(p) == 2 and set(p.lower()) <= _HEXADECIMAL for p in parts):
        return given
    raise Failure(f"{given} is not a valid mac address")


_HEXADECIMAL = set("0123456789abcdef")
