"""`heft machine prune`, `volume prune`, `system prune`."""

from __future__ import annotations

from heft.cli.command import Command
from heft.cli.commands.images_change import show as show_images
from heft.cli.filters import encoded, filter_flag
from heft.cli.flags import switch
from heft.cli.human import size
from heft.cli.questions import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.client import Client
    from heft.cli.command import Invocation

    Filters = list[tuple[str, str]]

FORCE = switch("force", "Do not prompt for confirmation", "f")


def prune_machines(call: Invocation) -> int:
    """Remove machines that do not run."""
    warning = "WARNING! This will remove all stopped containers."
    if call.flags.on("force") or ask(warning):
        _reclaimed(_machines(call.client, call.flags.list("filter")))
    return 0


def prune_volumes(call: Invocation) -> int:
    """Remove volumes that no machine uses."""
    every = call.flags.on("all")
    which = "all" if every else "anonymous"
    warning = f"WARNING! This will remove {which} local volumes not used by at least one container."
    if call.flags.on("force") or ask(warning):
        _reclaimed(_volumes(call.client, call.flags.list("filter"), every=every))
    return 0


def prune_system(call: Invocation) -> int:
    """Remove all that is not in use."""
    flags, client = call.flags, call.client
    every, volumes = flags.on("all"), flags.on("volumes")
    lines = ["all stopped containers", "all networks not used by at least one container"]
    if volumes:
        lines.append("all anonymous volumes not used by at least one container")
    lines.append(
        "all images without at least one container associated to them"
        if every
        else "all dangling images"
    )
    warning = "WARNING! This will remove:\n" + "".join(f"  - {line}\n" for line in lines)
    if not flags.on("force") and not ask(warning):
        return 0
    wanted = flags.list("filter")
    freed = _machines(client, wanted)
    _networks(client, wanted)
    if volumes:
        freed += _volumes(client, wanted, every=False)
    _reclaimed(freed + _images(client, wanted, every=every))
    return 0


def _machines(client: Client, wanted: Filters) -> int:
    result = client.post("/containers/prune", filters=encoded(wanted))
    _list("Containers", result["ContainersDeleted"])
    return int(result["SpaceReclaimed"])


def _volumes(client: Client, wanted: Filters, *, every: bool) -> int:
    filters = [*wanted, ("all", "true")] if every else wanted
    result = client.post("/volumes/prune", filters=encoded(filters))
    _list("Volumes", result["VolumesDeleted"])
    return int(result["SpaceReclaimed"])


def _networks(client: Client, wanted: Filters) -> None:
    _list("Networks", client.post("/networks/prune", filters=encoded(wanted))["NetworksDeleted"])


def _images(client: Client, wanted: Filters, *, every: bool) -> int:
    filters = [("dangling", "false" if every else "true"), *wanted]
    result = client.post("/images/prune", filters=encoded(filters))
    if result["ImagesDeleted"]:
        print("Deleted Images:")
        show_images(result["ImagesDeleted"])
        print()
    return int(result["SpaceReclaimed"])


def _list(what: str, deleted: list[str] | None) -> None:
    if deleted:
        print("\n".join([f"Deleted {what}:", *deleted, ""]))


def _reclaimed(freed: int) -> None:
    print(f"Total reclaimed space: {size(freed)}")


PRUNE_MACHINES = Command(
    prune_machines,
    flags=(filter_flag('Provide filter values (e.g. "until=<timestamp>")', ""), FORCE),
)
PRUNE_VOLUMES = Command(
    prune_volumes,
    flags=(
        switch("all", "Remove all unused volumes, not just anonymous ones", "a"),
        filter_flag('Provide filter values (e.g. "label=<label>")', ""),
        FORCE,
    ),
)
PRUNE_SYSTEM = Command(
    prune_system,
    flags=(
        switch("all", "Remove all unused images not just dangling ones", "a"),
        filter_flag('Provide filter values (e.g. "label=<key>=<value>")', ""),
        FORCE,
        switch("volumes", "Prune anonymous volumes"),
    ),
)
