"""`heft volume create`, `ls`, `rm`."""

from __future__ import annotations

from heft.cli.client import path
from heft.cli.command import Command, each
from heft.cli.filters import encoded, filter_flag
from heft.cli.flags import switch, word, words
from heft.cli.tables import FORMAT_HELP, Listing
from heft.cli.values.environment import mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.command import Invocation

HEADERS = {
    "Driver": "DRIVER",
    "Name": "VOLUME NAME",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
}


def create(call: Invocation) -> int:
    """Make a volume and print its name."""
    flags = call.flags
    body = {
        "Name": call.arguments[0] if call.arguments else "",
        "Driver": flags.text("driver"),
        "DriverOpts": mapping(flags.list("opt")),
        "Labels": mapping(flags.list("label")),
    }
    print(call.client.post("/volumes/create", body)["Name"])
    return 0


def list_all(call: Invocation) -> int:
    """List volumes."""
    flags = call.flags
    volumes = call.client.get("/volumes", filters=encoded(flags.list("filter")))["Volumes"] or []
    volumes.sort(key=lambda volume: volume["Name"])
    form = flags.text("format")
    if flags.on("quiet") and not form:
        for volume in volumes:
            print(volume["Name"])
        return 0
    Listing(HEADERS, ("Driver", "Name")).show([_row(volume) for volume in volumes], form)
    return 0


def _row(volume: dict[str, Any]) -> dict[str, Any]:
    labels = volume["Labels"] or {}
    return {
        **{field: volume[field] for field in ("Driver", "Name", "Scope", "Mountpoint")},
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Label": lambda key: labels.get(key, ""),
        "Links": "N/A",
        "Size": "N/A",
    }


def remove(call: Invocation) -> int:
    """Remove volumes."""
    force = call.flags.on("force")
    return each(call.arguments, lambda name: call.client.delete(path("volumes", name), force=force))


CREATE = Command(
    create,
    takes="[VOLUME]",
    flags=(
        word("driver", "Specify volume driver name", "d", default="local"),
        words("label", "Set metadata for a volume"),
        words("opt", "Set driver specific options", "o", kind="map"),
    ),
    most=1,
)
LIST = Command(
    list_all,
    flags=(
        filter_flag('Provide filter values (e.g. "dangling=true")'),
        word("format", FORMAT_HELP),
        switch("quiet", "Only display volume names", "q"),
    ),
)
RM = Command(
    remove,
    takes="VOLUME [VOLUME...]",
    flags=(switch("force", "Force the removal of one or more volumes", "f"),),
    least=1,
    most=None,
)
