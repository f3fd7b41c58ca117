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
    if request.pull == "always":
        _pull(client, request)
    asked = client.begin("POST", "/containers/create", request.parameters, body=request.body)
    meanwhile()
    try:
        made = asked.value()
    except Refusal as refusal:
        missing = refusal.status == 404 and "o such image" in refusal.message
        if not missing or request.pull != "missing":
            raise
        _say_missing(request)
        _pull(client, request)
        made = client.call("POST", "/containers/create", request.parameters, body=request.body)
    for warning in made.get("Warnings") or ():
        sys.stderr.write(f"WARNING: {warning}\n")
    file.write(made["Id"])
    return str(made["Id"])


def _say_missing(request: Request) -> None:
    from heft.cli.pulling import split

    name, tag = split(request.body["Image"])
    shown = f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"
    sys.stderr.write(f"Unable to find image '{shown}' locally\n")


def _pull(client: Client, request: Request) -> None:
    from heft.cli.progress import on_stderr
    from heft.cli.pulling import pull, split

    name, tag = split(request.body["Image"])
    progress = on_stderr(quiet=request.quiet)
    for line in pull(client, name, tag, request.parameters["platform"], progress):
        if not request.quiet:
            sys.stderr.write(f"{line}\n")
