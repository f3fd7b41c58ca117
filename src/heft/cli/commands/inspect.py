"""`heft inspect`, and `inspect` of each group."""

from __future__ import annotations

import json
import sys

from heft.cli.client import path
from heft.cli.command import Command
from heft.cli.failures import Failure, Refusal, complain
from heft.cli.flags import switch, word
from heft.cli.tables import VALUE_FORMAT_HELP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from heft.cli.client import Client
    from heft.cli.command import Invocation

NOT_THERE = (404,)
FORMAT = word("format", VALUE_FORMAT_HELP, "f")
SIZE = switch("size", "Display total file sizes if the type is container", "s")
KINDS = ("container", "image", "network", "volume")
"""What a name may mean, in the order in which it is looked for."""


def inspect(call: Invocation) -> int:
    """Show things of any kind."""
    kind = call.flags.text("type")
    kind = "container" if kind == "machine" else kind
    if kind and kind not in KINDS:
        known = ", ".join(f'"{each}"' for each in KINDS)
        raise Failure(f'unknown type: "{kind}": must be one of {known}')
    return _show(call, [kind] if kind else KINDS, size=call.flags.on("size"))


def inspect_machine(call: Invocation) -> int:
    """Show machines."""
    return _show(call, ["container"], size=call.flags.on("size"))


def inspect_image(call: Invocation) -> int:
    """Show images."""
    return _show(call, ["image"])


def inspect_network(call: Invocation) -> int:
    """Show networks."""
    return _show(call, ["network"])


def inspect_kit(call: Invocation) -> int:
    """Show kits."""
    return _show(call, ["kit"])


def inspect_volume(call: Invocation) -> int:
    """Show volumes."""
    return _show(call, ["volume"])


def _show(call: Invocation, kinds: Sequence[str], *, size: bool = False) -> int:
    found, errors = [], []
    for name in call.arguments:
        try:
            found.append(_find(call.client, kinds, name, size=size))
        except Refusal as refusal:
            errors.append(refusal.message)
    _print(found, call.flags.text("format"))
    for message in errors:
        complain(message)
    return 1 if errors else 0


def _find(client: Client, kinds: Sequence[str], name: str, *, size: bool) -> Any:
    """Give the thing of the first kind that has the name. Raises `Refusal`."""
    for kind in kinds:
        try:
            return client.get(_place(kind, name), size=size and kind == "container")
        except Refusal as refusal:
            if refusal.status not in NOT_THERE or len(kinds) == 1:
                raise
    raise Refusal(f"no such object: {name}", 404)


def _place(kind: str, name: str) -> str:
    if kind in ("container", "image"):
        return path(f"{kind}s", name, "json")
    if kind == "kit":
        return path("heft", "v1", "kits", name)
    return path(f"{kind}s", name)


def _print(found: list[Any], form: str) -> None:
    if not form:
        sys.stdout.write(json.dumps(found, indent=4, ensure_ascii=False) + "\n")
        return
    from heft.cli.template.evaluate import of_one

    template = of_one(form)
    for thing in found:
        sys.stdout.write(template.render(thing) + "\n")


INSPECT = Command(
    inspect,
    takes="NAME|ID [NAME|ID...]",
    flags=(FORMAT, SIZE, word("type", "Only inspect objects of the given type")),
    least=1,
    most=None,
)
INSPECT_MACHINE = Command(
    inspect_machine, takes="MACHINE [MACHINE...]", flags=(FORMAT, SIZE), least=1, most=None
)
INSPECT_IMAGE = Command(
    inspect_image, takes="IMAGE [IMAGE...]", flags=(FORMAT,), least=1, most=None
)
INSPECT_KIT = Command(inspect_kit, takes="KIT [KIT...]", flags=(FORMAT,), least=1, most=None)
INSPECT_NETWORK = Command(
    inspect_network, takes="NETWORK [NETWORK...]", flags=(FORMAT,), least=1, most=None
)
INSPECT_VOLUME = Command(
    inspect_volume, takes="VOLUME [VOLUME...]", flags=(FORMAT,), least=1, most=None
)
