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
UP = ("running", "paused", "restarting")


def run(call: Invocation) -> int:
    """Print what takes up space."""
    usage = call.client.get("/system/df")
    form = call.flags.text("format")
    Listing(HEADERS, tuple(HEADERS)).show(rows(usage), form)
    if call.flags.on("verbose") and not form:
        _details(usage)
    return 0


def rows(usage: dict[str, Any]) -> list[dict[str, Any]]:
    """Give a row a kind."""
    images, machines = usage["Images"], usage["Containers"]
    volumes = usage["Volumes"]
    busy = [image for image in images if image["Containers"] > 0]
    up = [machine for machine in machines if machine["State"] in UP]
    used = [volume for volume in volumes if volume["UsageData"]["RefCount"] > 0]
    written = sum(machine["SizeRw"] for machine in machines)
    stopped = written - sum(machine["SizeRw"] for machine in up)
    layers = usage["LayersSize"]
    # What others have too counts as reclaimable, as Docker's client has it.
    kept = sum(image["Size"] - max(image.get("SharedSize", -1), 0) for image in busy)
    return [
        _row("Images", len(images), len(busy), layers, max(layers - kept, 0)),
        _row("Containers", len(machines), len(up), written, stopped),
        _row("Local Volumes", len(volumes), len(used), None, None),
    ]


def _row(
    kind: str, total: int, active: int, amount: int | None, reclaimable: int | None
) -> dict[str, Any]:
    """Make a row; sizes that the daemon does not measure are unknown."""
    shown = "N/A"
    if amount is not None and reclaimable is not None:
        reclaimable = min(reclaimable, amount)
        share = f" ({reclaimable * 100 // amount}%)" if amount else ""
        shown = f"{size(reclaimable)}{share}"
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": "N/A" if amount is None else size(amount),
        "Reclaimable": shown,
    }


def _details(usage: dict[str, Any]) -> None:
    from heft.cli.commands import images, ps

    image_rows = [row for each in usage["Images"] for row in images.rows_of(each, whole=False)]
    sizes = ("Size", "SharedSize", "UniqueSize", "BaseSize")
    columns = ("Repository", "Tag", "ID", "CreatedSince", *sizes, "Containers")
    print("\nImages space usage:\n")
    Listing(images.HEADERS, columns).show(image_rows)
    print("\nContainers space usage:\n")
    machines = [ps.row(each) for each in usage["Containers"]]
    Listing(ps.HEADERS, ("ID", "Image", "Command", "Size", "RunningFor", "Status", "Names")).show(
        machines
    )
    print("\nLocal Volumes space usage:\n")
    volumes = [
        {"Name": each["Name"], "Links": str(each["UsageData"]["RefCount"])}
        for each in usage["Volumes"]
    ]
    Listing({"Name": "VOLUME NAME", "Links": "LINKS"}, ("Name", "Links")).show(volumes)


DF = Command(
    run,
    flags=(
        word("format", FORMAT_HELP),
        switch("verbose", "Show detailed information on space usage", "v"),
    ),
)
