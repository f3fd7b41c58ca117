"""`heft port`."""

from __future__ import annotations

from heft.cli.client import path
from heft.cli.command import Command
from heft.cli.failures import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.command import Invocation


def run(call: Invocation) -> int:
    """Print where a machine's ports are published."""
    name, *wanted = call.arguments
    known = call.client.get(path("containers", name, "json"))["NetworkSettings"]["Ports"] or {}
    if not wanted:
        for port in sorted(known, key=_number):
            for place in _places(known[port]):
                print(f"{port} -> {place}")
        return 0
    port = wanted[0] if "/" in wanted[0] else f"{wanted[0]}/tcp"
    places = _places(known.get(port))
    if not places:
        raise Failure(f"no public port '{port}' published for {name}")
    print("\n".join(places))
    return 0


def _number(port: str) -> tuple[int, str]:
    number, _, protocol = port.partition("/")
    return int(number), protocol


def _places(bindings: list[dict[str, str]] | None) -> list[str]:
    shown = []
    for binding in bindings or ():
        address = binding["HostIp"]
        address = f"[{address}]" if ":" in address else address
        shown.append(f"{address}:{binding['HostPort']}")
    return shown


PORT = Command(run, takes="MACHINE [PRIVATE_PORT[/PROTO]]", least=1, most=2)
