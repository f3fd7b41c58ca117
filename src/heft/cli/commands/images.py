"""`heft images`."""

from __future__ import annotations

import sys

from heft.cli import human
from heft.cli.command import Command
from heft.cli.failures import Failure
from heft.cli.filters import encoded, filter_flag
from heft.cli.flags import switch, word
from heft.cli.tables import FORMAT_HELP, Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from heft.cli.command import Invocation

NONE = "<none>"
HEADERS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "Kind": "KIND",
    "VirtualSize": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "BaseSize": "BASE",
}


def run(call: Invocation) -> int:
    """List images, a row a name."""
    flags = call.flags
    wanted = flags.list("filter")
    if call.arguments:
        wanted.append(("reference", call.arguments[0]))
    images = call.client.get("/images/json", all=flags.on("all"), filters=encoded(wanted))
    whole, form = flags.on("no-trunc"), flags.text("format")
    if flags.on("tree"):
        return _tree(call, images, whole=whole)
    rows = [row for image in images for row in rows_of(image, whole=whole)]
    if flags.on("quiet") and not form:
        for row in rows:
            print(row["ID"])
        return 0
    digest = ("Digest",) if flags.on("digests") else ()
    columns = ("Repository", "Tag", *digest, "ID", "CreatedSince", "Size", "Kind")
    Listing(HEADERS, columns).show(rows, form)
    return 0


def _tree(call: Invocation, images: list[dict[str, Any]], *, whole: bool) -> int:
    """Draw the images, and the layers that they share."""
    from heft.cli.image_tree import draw

    for name in ("digests", "format", "quiet"):
        if name in call.flags:
            raise Failure(f"--{name} cannot be used with --tree, which is for people to read")
    known = call.client.get("/heft/v1/images")
    layers = {image["id"]: image["layers"] for image in known}
    sys.stdout.write(draw(images, layers, whole=whole))
    return 0


def rows_of(image: dict[str, Any], *, whole: bool) -> Iterator[dict[str, Any]]:
    """Give an image's rows: one for each name, or one where it has none."""
    digests = dict(each.split("@", 1) for each in image["RepoDigests"] or () if "@" in each)
    names = [name.rpartition(":") for name in image["RepoTags"] or () if name != f"{NONE}:{NONE}"]
    size, shared = human.size(image["Size"]), image.get("SharedSize", -1)
    for repository, _, tag in names or [(NONE, "", NONE)]:
        yield {
            "ID": image["Id"] if whole else human.short_id(image["Id"]),
            "Repository": repository,
            "Tag": tag,
            "Digest": digests.get(repository, NONE),
            "CreatedSince": human.ago(image["Created"]) if image["Created"] > 0 else "N/A",
            "CreatedAt": human.local(image["Created"]),
            "Size": size,
            "VirtualSize": size,
            "SharedSize": _known(shared, _exactly),
            "UniqueSize": _known(image["Size"] - shared if shared >= 0 else -1, _exactly),
            "BaseSize": _known(image.get("BaseSize", -1), _exactly),
            "Containers": _known(image.get("Containers", -1), str),
            "Kind": image.get("Kind", "image"),
        }


def _exactly(amount: int) -> str:
    return human.size(amount, 4)


def _known(value: int, show: Any) -> str:
    return "N/A" if value < 0 else str(show(value))


IMAGES = Command(
    run,
    takes="[REPOSITORY[:TAG]]",
    flags=(
        switch("all", "Show all images (default hides intermediate images)", "a"),
        switch("digests", "Show digests"),
        filter_flag("Filter output based on conditions provided"),
        word("format", FORMAT_HELP),
        switch("no-trunc", "Don't truncate output"),
        switch("quiet", "Only show image IDs", "q"),
        switch("tree", "Draw the images as a tree, by the layers that they share"),
    ),
    most=1,
)
