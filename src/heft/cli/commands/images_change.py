"""`heft tag`, `rmi`, `image prune`."""

from __future__ import annotations

from heft.cli.client import path
from heft.cli.command import Command, each
from heft.cli.filters import encoded, filter_flag
from heft.cli.flags import switch
from heft.cli.human import size
from heft.cli.questions import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.command import Invocation


def tag(call: Invocation) -> int:
    """Give an image one more name."""
    source, target = call.arguments
    name, tag = split_reference(target)
    call.client.post(path("images", source, "tag"), repo=name, tag=tag)
    return 0


def split_reference(reference: str) -> tuple[str, str]:
    """Split a name from its tag; a colon before a slash belongs to a port."""
    head, colon, tail = reference.rpartition(":")
    return (head, tail) if colon and "/" not in tail else (reference, "")


def remove(call: Invocation) -> int:
    """Remove images, or names of them."""
    force, keep = call.flags.on("force"), call.flags.on("no-prune")

    def act(name: str) -> None:
        show(call.client.delete(path("images", name), force=force, noprune=keep))

    return each(call.arguments, act, tell=lambda _: None)


def show(removed: list[dict[str, str]] | None) -> None:
    """Print what was removed."""
    for item in removed or ():
        for what, name in item.items():
            print(f"{what}: {name}")


def prune(call: Invocation) -> int:
    """Remove images that nobody uses."""
    every = call.flags.on("all")
    which = (
        "all images without at least one container associated to them"
        if every
        else ("all dangling images")
    )
    if not call.flags.on("force") and not ask(f"WARNING! This will remove {which}."):
        return 0
    wanted = [("dangling", "false" if every else "true"), *call.flags.list("filter")]
    result: dict[str, Any] = call.client.post("/images/prune", filters=encoded(wanted))
    if result["ImagesDeleted"]:
        print("Deleted Images:")
        show(result["ImagesDeleted"])
        print()
    print(f"Total reclaimed space: {size(result['SpaceReclaimed'])}")
    return 0


TAG = Command(tag, takes="SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", least=2, most=2)
RMI = Command(
    remove,
    takes="IMAGE [IMAGE...]",
    flags=(
        switch("force", "Force removal of the image", "f"),
        switch("no-prune", "Do not delete untagged parents"),
    ),
    least=1,
    most=None,
)
PRUNE = Command(
    prune,
    flags=(
        switch("all", "Remove all unused images, not just dangling ones", "a"),
        filter_flag('Provide filter values (e.g. "until=<timestamp>")', ""),
        switch("force", "Do not prompt for confirmation", "f"),
    ),
)
