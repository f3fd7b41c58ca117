"""`heft system df`."""

from __future__ import annotations

from heft.cli.command import Command
from heft.cli.flags import switch, word
from heft.cli.human import size
from heft.cli.tables import FORMAT_HELP, Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.command import Invocation

HEADERS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
VOLUMES = {"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}
UP = ("running", "paused", "restarting")


def run(call: Invocation) -> int:
    """Print what takes up space."""
    usage = call.client.get("/system/df")
    form = call.flags.text("format")
    if call.flags.on("verbose") and not form:
        _details(usage)
    else:
        Listing(HEADERS, tuple(HEADERS)).show(rows(usage), form)
    return 0


def rows(usage: dict[str, Any]) -> list[dict[str, Any]]:
    """Give a row a kind."""
    images, machines = usage["Images"], usage["Containers"]
    volumes = usage["Volumes"]
    busy = [image for image in images if image["Containers"] > 0]
    up = [machine for machine in machines if machine["State"] in UP]
    used = [volume for volume in volumes if volume["UsageData"]["RefCount"] > 0]
    filled = _sum(volumes)
    written = sum(machine["SizeRw"] for machine in machines)
    stopped = written - sum(machine["SizeRw"] for machine in up)
    layers = usage["LayersSize"]
    # What others have too counts as reclaimable, as Docker's client has it.
    kept = sum(image["Size"] - max(image.get("SharedSize", -1), 0) for image in busy)
    return [
        _row("Images", len(images), len(busy), layers, max(layers - kept, 0)),
        _row("Containers", len(machines), len(up), written, stopped),
        _row("Local Volumes", len(volumes), len(used), filled, filled - _sum(used)),
    ]


def _sum(volumes: list[dict[str, Any]]) -> int:
    return sum(max(volume["UsageData"]["Size"], 0) for volume in volumes)


def _row(kind: str, total: int, active: int, amount: int, reclaimable: int) -> dict[str, Any]:
    reclaimable = min(reclaimable, amount)
    share = f" ({reclaimable * 100 // amount}%)" if amount else ""
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": size(amount),
        "Reclaimable": f"{size(reclaimable)}{share}",
    }


def _details(usage: dict[str, Any]) -> None:
    from heft.cli.commands import images, ps

    image_rows = [row for each in usage["Images"] for row in images.rows_of(each, whole=False)]
    sizes = ("Size", "SharedSize", "UniqueSize", "BaseSize")
    columns = ("Repository", "Tag", "ID", "CreatedSince", *sizes, "Containers")
    print("Images space usage:\n")
    Listing(images.HEADERS, columns).show(image_rows)
    print("\nContainers space usage:\n")
    machines = [{**ps.row(each), "Size": size(each["SizeRw"])} for each in usage["Containers"]]
    Listing(
        ps.HEADERS,
        ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"),
    ).show(machines)
    print("\nLocal Volumes space usage:\n")
    volumes = [
        {
            "Name": each["Name"],
            "Links": str(each["UsageData"]["RefCount"]),
            "Size": size(max(each["UsageData"]["Size"], 0)),
        }
        for each in usage["Volumes"]
    ]
    Listing(VOLUMES, tuple(VOLUMES)).show(volumes)


DF = Command(
    run,
    flags=(
        word("format", FORMAT_HELP),
        switch("verbose", "Show detailed information on space usage", "v"),
    ),
)
