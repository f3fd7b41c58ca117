"""Ports: what `--publish` and `--expose` mean (github.com/docker/go-connections, nat)."""

from __future__ import annotations

from heft.cli.failures import Failure
from heft.cli.values.hosts import is_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Bindings = dict[str, list[dict[str, str]]]

PROTOCOLS = ("tcp", "udp", "sctp")
LARGEST = 65535


def exposed(given: Iterable[str]) -> list[str]:
    """Give `80/tcp` for all ports of `80`, `80-82`, `53/udp`. Raises `Failure`."""
    ports = []
    for each in given:
        if ":" in each:
            raise Failure(f"invalid port format for --expose: {each}")
        numbers, _, protocol = each.partition("/")
        try:
            first, last = _range(numbers)
        except ValueError as error:
            raise Failure(f"invalid range format for --expose: {each}, error: {error}") from None
        kind = _protocol(protocol)
        ports += [f"{port}/{kind}" for port in range(first, last + 1)]
    return ports


def published(given: Iterable[str]) -> Bindings:
    """Give what each port of the machine is bound to. Raises `Failure`."""
    bindings: Bindings = {}
    for each in given:
        for port, binding in _parse(_short(each)):
            bindings.setdefault(port, []).append(binding)
    return bindings


def _short(given: str) -> str:
    """Bring `target=80,published=8080,protocol=udp` into the short syntax."""
    if "=" not in given:
        return given
    fields = {"protocol": "tcp", "published": "", "target": ""}
    for part in given.split(","):
        key, equals, value = part.partition("=")
        if not equals or not value:
            raise Failure(f"invalid publish opts format (should be name=value but got '{part}')")
        if key == "mode":
            continue
        if key not in fields:
            raise Failure(f"invalid field key {key}: use target, published and protocol")
        fields[key] = value
    return f"{fields['published']}:{fields['target']}/{fields['protocol']}"


def _parse(given: str) -> list[tuple[str, dict[str, str]]]:
    address, host, machine, protocol = _split(given)
    if not machine:
        raise Failure(f"no port specified: {given}<empty>")
    try:
        first, last = _range(machine)
    except ValueError:
        raise Failure(f"invalid containerPort: {machine}") from None
    host_first = host_last = 0
    if host:
        try:
            host_first, host_last = _range(host)
        except ValueError:
            raise Failure(f"invalid hostPort: {host}") from None
    ports = range(first, last + 1)
    if not host:
        taken = [""] * len(ports)
    elif len(ports) == host_last - host_first + 1:
        taken = [str(host_first + number) for number in range(len(ports))]
    elif len(ports) == 1:
        taken = [f"{host_first}-{host_last}"]
    else:
        raise Failure(
            f"invalid ranges specified for container and host Ports: {machine} and {host}"
        )
    kind = _protocol(protocol)
    return [
        (f"{port}/{kind}", {"HostIp": address, "HostPort": number})
        for port, number in zip(ports, taken, strict=True)
    ]


def _split(given: str) -> tuple[str, str, str, str]:
    """Split into the host's address and port, the machine's port, and the protocol."""
    rest, _, machine = given.rpartition(":")
    machine, _, protocol = machine.partition("/")
    if rest.startswith("[") or rest.count(":") > 1:
        address, bracket, host = rest[1:].partition("]") if rest[0] == "[" else rest.rpartition(":")
        host = host.removeprefix(":") if bracket else host
    else:
        address, _, host = rest.rpartition(":")
    if address and not is_address(address):
        raise Failure(f"invalid IP address: {address}")
    return address, host, machine, protocol


def _protocol(given: str) -> str:
    kind = given.lower() or "tcp"
    if kind not in PROTOCOLS:
        raise Failure(f"invalid proto: {given}")
    return kind


def _range(given: str) -> tuple[int, int]:
    first, dash, last = given.partition("-")
    low = _number(first)
    high = _number(last) if dash else low
    if high < low:
        raise ValueError(f"invalid range specified for port: {given}")
    return low, high


def _number(given: str) -> int:
    if not given.isdecimal() or not given.isascii():
        raise ValueError(f'strconv.ParseUint: parsing "{given}": invalid syntax')
    if int(given) > LARGEST:
        raise ValueError(f'strconv.ParseUint: parsing "{given}": value out of range')
    return int(given)
