"""`heft ps`."""

from __future__ import annotations

from heft.cli import human
from heft.cli.command import Command
from heft.cli.filters import encoded, filter_flag
from heft.cli.flags import number, switch, word
from heft.cli.json_text import quoted
from heft.cli.published import shown as shown_ports
from heft.cli.tables import FORMAT_HELP, Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from heft.cli.command import Invocation
    from heft.cli.tables import Row

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


def _image(machine: dict[str, Any], *, whole: bool) -> str:
    image: str = machine["Image"] or "<no image>"
    return image if whole or not image.startswith("sha256:") else human.short_id(image)


def _mounts(machine: dict[str, Any], *, whole: bool) -> str:
    names = [mount.get("Name") or mount["Source"] for mount in machine["Mounts"]]
    return ",".join(name if whole else human.shortened(name, MOUNT_WIDTH) for name in names if name)


def _label(machine: dict[str, Any]) -> Callable[[str], str]:
    labels = machine["Labels"] or {}
    return lambda key: labels.get(key, "")


def _size(machine: dict[str, Any]) -> str:
    if "SizeRw" not in machine:
        return "0B"
    own, everything = machine["SizeRw"], machine["SizeRootFs"]
    return f"{human.size(own)} (virtual {human.size(everything)})"


FIELDS: dict[str, Callable[[dict[str, Any], bool], Any]] = {
    "ID": lambda it, whole: it["Id"] if whole else human.short_id(it["Id"]),
    "Image": lambda it, whole: _image(it, whole=whole),
    "Weight": lambda it, _: it.get("Weight", ""),
    "Command": lambda it, whole: quoted(
        it["Command"] if whole else human.shortened(it["Command"], COMMAND_WIDTH)
    ),
    "CreatedAt": lambda it, _: human.local(it["Created"]),
    "RunningFor": lambda it, _: human.ago(it["Created"]),
    "Status": lambda it, _: it["Status"],
    "State": lambda it, _: it["State"],
    "Ports": lambda it, _: shown_ports(it["Ports"]),
    "Names": lambda it, _: ",".join(name.removeprefix("/") for name in it["Names"]),
    "Size": lambda it, _: _size(it),
    "Labels": lambda it, _: ",".join(f"{k}={v}" for k, v in sorted((it["Labels"] or {}).items())),
    "Label": lambda it, _: _label(it),
    "Mounts": lambda it, whole: _mounts(it, whole=whole),
    "LocalVolumes": lambda it, _: str(sum(each["Type"] == "volume" for each in it["Mounts"])),
    "Networks": lambda it, _: ",".join(it["NetworkSettings"]["Networks"]),
    "Platform": lambda *_: "",
}
"""How each field is made of what the daemon says of a machine, and whether all of it is wanted."""


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
    listing = Listing(HEADERS, (*COLUMNS, "Size") if flags.on("size") else COLUMNS)
    # A template can ask for anything, even for what a column does not show.
    fields = listing.columns if listing.is_plain(form) else FIELDS
    listing.show([row(each, fields, whole=whole) for each in machines], form)
    return 0


def row(machine: dict[str, Any], fields: Iterable[str] = FIELDS, *, whole: bool = False) -> Row:
    """Give these fields of a machine; without `whole`, long ones are cut short."""
    return {name: FIELDS[name](machine, whole) for name in fields}


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
