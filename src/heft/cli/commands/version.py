"""`heft version`."""

from __future__ import annotations

import sys

from heft import __version__
from heft.cli.client import VERSION as API_VERSION
from heft.cli.command import Command
from heft.cli.failures import Failure
from heft.cli.flags import word
from heft.cli.tables import VALUE_FORMAT_HELP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.command import Invocation


def run(call: Invocation) -> int:
    """Print the versions of the command and of the daemon."""
    import platform

    client = {
        "Version": __version__,
        "ApiVersion": API_VERSION.removeprefix("/v"),
        "PythonVersion": platform.python_version(),
        "Os": sys.platform,
        "Arch": platform.machine(),
    }
    server, failure = None, None
    try:
        server = call.client.get("/version")
    except Failure as error:
        failure = error
    if form := call.flags.text("format"):
        from heft.cli.template.evaluate import of_one

        both = {"Client": client, "Server": server}
        print(of_one(form).render(both))
    else:
        _print(client, server)
    if failure is not None:
        raise failure
    return 0


def _print(client: dict[str, str], server: dict[str, Any] | None) -> None:
    _part(
        "Client: Heft",
        {
            "Version": client["Version"],
            "API version": client["ApiVersion"],
            "Python version": client["PythonVersion"],
            "OS/Arch": f"{client['Os']}/{client['Arch']}",
        },
    )
    if server is None:
        return
    print()
    _part(
        f"Server: {server['Platform']['Name']}",
        {
            "Version": server["Version"],
            "API version": f"{server['ApiVersion']} (minimum version {server['MinAPIVersion']})",
            "Python version": server["GoVersion"].rpartition(" ")[2],
            "OS/Arch": f"{server['Os']}/{server['Arch']}",
            "Kernel": server["KernelVersion"],
        },
    )


def _part(title: str, entries: dict[str, str]) -> None:
    print(title)
    for name, value in entries.items():
        print(f" {name + ':':18}{value}")


VERSION = Command(run, flags=(word("format", VALUE_FORMAT_HELP, "f"),))
