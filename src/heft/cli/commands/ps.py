"""`heft ps`."""

from __future__ import annotations

import json

from heft.cli import human
from heft.cli.command import Command
from heft.cli.filters import encoded, filter_flag
from heft.cli.flags import number, switch, word
from heft.cli.published import shown as shown_ports
from heft.cli.tables import FORMAT_HELP, Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.command import Invocation

COMMAND_WIDTH = 20
MOUNT_WIDTH = 15
HEADERS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Weight": "WEIGHT",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "State": "STATE",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
    "Platform": "PLATFORM",
}
COLUMNS = ("ID", "Image", "Weight", "Command", "RunningFor", "Status", "Ports", "Names")


def run(call: Invocation) -> int:
    """List machines."""
    flags = call.flags
    form = flags.text("format")
    size = flags.on("size") or ".Size" in form
    last = 1 if flags.on("latest") else flags.number("last") or -1
    machines = call.client.get(
        "/containers/json",
        all=flags.on("all") or last > 0,
        limit=last if last > 0 else None,
        size=size,
        filters=encoded(flags.list("filter")),
    )
    whole = flags.on("no-trunc")
    if flags.on("quiet") and not form:
        for machine in machines:
            print(machine["Id"] if whole else human.short_id(machine["Id"]))
        return 0
    columns = (*COLUMNS, "Size") if flags.on("size") else COLUMNS
    Listing(HEADERS, columns).show([row(each, whole=whole) for each in machines], form)
    return 0


def row(machine: dict[str, Any], *, whole: bool = False) -> dict[str, Any]:
    """Give a machine's fields; without `whole`, long ones are cut short."""
    labels = machine["Labels"] or {}
    command = machine["Command"]
    mounts = [mount.get("Name") or mount["Source"] for mount in machine["Mounts"]]
    mounts = [mount for mount in mounts if mount]
    volumes = [mount for mount in machine["Mounts"] if mount["Type"] == "volume"]
    if not whole:
        command = human.shortened(command, COMMAND_WIDTH)
        mounts = [human.shortened(mount, MOUNT_WIDTH) for mount in mounts]
    return {
        "ID": machine["Id"] if whole else human.short_id(machine["Id"]),
        "Image": _image(machine, whole=whole),
        "Weight": machine.get("Weight", ""),
        "Command": json.dumps(command, ensure_ascii=False),
        "CreatedAt": human.local(machine["Created"]),
        "RunningFor": human.ago(machine["Created"]),
        "Status": machine["Status"],
        "State": machine["State"],
        "Ports": shown_ports(machine["Ports"]),
        "Names": ",".join(name.removeprefix("/") for name in machine["Names"]),
        "Size": _size(machine),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Label": lambda key: labels.get(key, ""),
        "Mounts": ",".join(mounts),
        "LocalVolumes": str(len(volumes)),
        "Networks": ",".join(machine["NetworkSettings"]["Networks"]),
        "Platform": "",
    }


def _image(machine: dict[str, Any], *, whole: bool) -> str:
    image: str = machine["Image"] or "<no image>"
    return image if whole or not image.startswith("sha256:") else human.short_id(image)


def _size(machine: dict[str, Any]) -> str:
    if "SizeRw" not in machine:
        return "0B"
    own, everything = machine["SizeRw"], machine["SizeRootFs"]
    return f"{human.size(own)} (virtual {human.size(everything)})"


PS = Command(
    run,
    flags=(
        switch("all", "Show all machines (default shows just running)", "a"),
        filter_flag("Filter output based on conditions provided"),
        word("format", FORMAT_HELP),
        number("last", "Show n last created machines (includes all states)", "n", default=-1),
        switch("latest", "Show the latest created machine (includes all states)", "l"),
        switch("no-trunc", "Don't truncate output"),
        switch("quiet", "Only display machine IDs", "q"),
        switch("size", "Display total file sizes", "s"),
    ),
)
