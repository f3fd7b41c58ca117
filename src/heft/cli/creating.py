"""Creating a machine as a client: the request, the warnings, the file with its id."""

from __future__ import annotations

import os
import sys

from heft.cli.failures import REFUSED, Failure, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from heft.cli.client import Client
    from heft.cli.machine_request import Request

NEEDS_NOTHING = ("", "light")
"""Weights whose machines share nothing that would have to be made first; empty: what is unknown."""
NO_IMAGE = (
    "make it with `heft bootstrap`, `heft import` or `heft load`; `heft images` lists what is there"
)


class IdFile:
    """The file of `--cidfile`: must not be there before, and goes if no machine is made."""

    def __init__(self, path: str) -> None:
        self._path = path
        if not path:
            return
        if os.path.lexists(path):
            raise Failure(
                "container ID file found, make sure the other container isn't running or delete"
                f" {path}",
                REFUSED,
            )

    def write(self, machine: str) -> None:
        """Write the id. Raises `Failure`."""
        if not self._path:
            return
        try:
            with open(self._path, "x", encoding="ascii") as file:
                file.write(machine)
        except OSError as error:
            raise Failure(f"failed to write the container ID file: {error}", REFUSED) from None


def create(
    client: Client,
    request: Request,
    id_file: str,
    meanwhile: Callable[[], object] = lambda: None,
) -> str:
    """Make the machine; give its id. Warnings go to standard error.

    `meanwhile` is what can be done while the daemon works.
    """
    file = IdFile(id_file)
    if request.weight not in NEEDS_NOTHING and sys.stderr.isatty():
        from heft.cli.warming import warm

        warm(client, request)
    asked = client.begin("POST", "/containers/create", request.parameters, body=request.body)
    meanwhile()
    try:
        made = asked.value()
    except Refusal as refusal:
        if refusal.status == 404 and "o such image" in refusal.message:
            raise Failure(f"{refusal.message} ({NO_IMAGE})", REFUSED) from None
        raise
    for warning in made.get("Warnings") or ():
        sys.stderr.write(f"WARNING: {warning}\n")
    file.write(made["Id"])
    return str(made["Id"])
