"""`heft network ls`."""

from __future__ import annotations

from heft.cli import human
from heft.cli.command import Command
from heft.cli.filters import encoded, filter_flag
from heft.cli.flags import switch, word
from heft.cli.tables import FORMAT_HELP, Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.command import Invocation

HEADERS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}


def list_all(call: Invocation) -> int:
    """List networks."""
    flags = call.flags
    networks = call.client.get("/networks", filters=encoded(flags.list("filter")))
    networks.sort(key=lambda network: network["Name"])
    form = flags.text("format")
    rows = [_row(network, whole=flags.on("no-trunc")) for network in networks]
    if flags.on("quiet") and not form:
        for row in rows:
            print(row["ID"])
        return 0
    Listing(HEADERS, ("ID", "Name", "Driver", "Scope")).show(rows, form)
    return 0


def _row(network: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    labels = network["Labels"] or {}
    return {
        "ID": network["Id"] if whole else network["Id"][:12],
        **{field: network[field] for field in ("Name", "Driver", "Scope")},
        "IPv6": str(network["EnableIPv6"]).lower(),
        "Internal": str(network["Internal"]).lower(),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Label": lambda key: labels.get(key, ""),
        "CreatedAt": human.local(human.moment(network["Created"])),
    }


LIST = Command(
    list_all,
    flags=(
        filter_flag('Provide filter values (e.g. "driver=bridge")'),
        word("format", FORMAT_HELP),
        switch("no-trunc", "Do not truncate the output"),
        switch("quiet", "Only display network IDs", "q"),
    ),
)
