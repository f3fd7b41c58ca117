"""`heft info`."""

from __future__ import annotations

import sys

from heft import __version__
from heft.cli.command import Command
from heft.cli.failures import Failure
from heft.cli.flags import word
from heft.cli.human import binary_size
from heft.cli.tables import VALUE_FORMAT_HELP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.command import Invocation


def run(call: Invocation) -> int:
    """Print what the daemon knows of itself and of its host."""
    if form := call.flags.text("format"):
        from heft.cli.template.evaluate import of_one

        known = {**call.client.get("/info"), "ClientInfo": {"Version": __version__}}
        print(of_one(form).render(known))
        return 0
    print(f"Client:\n Version:    {__version__}\n\nServer:")
    try:
        known = call.client.get("/info")
    except Failure:
        sys.stdout.flush()
        raise
    print(text(known, call.client.get("/heft/v1/weights")), end="")
    for warning in known["Warnings"] or ():
        sys.stderr.write(f"{warning}\n")
    return 0


def text(known: dict[str, Any], weights: dict[str, Any]) -> str:
    """Give the daemon's part."""
    lines = [
        f"Containers: {known['Containers']}",
        f" Running: {known['ContainersRunning']}",
        f" Paused: {known['ContainersPaused']}",
        f" Stopped: {known['ContainersStopped']}",
        f"Images: {known['Images']}",
        f"Server Version: {known['ServerVersion']}",
        f"Storage Driver: {known['Driver']}",
        *(f" {name}: {value}" for name, value in known["DriverStatus"] or ()),
        f"Logging Driver: {known['LoggingDriver']}",
        f"Cgroup Driver: {known['CgroupDriver']}",
        f"Cgroup Version: {known['CgroupVersion']}",
        "Plugins:",
        f" Volume: {' '.join(known['Plugins']['Volume'])}",
        f" Network: {' '.join(known['Plugins']['Network'])}",
        f" Log: {' '.join(known['Plugins']['Log'])}",
        "Weights:",
        *(
            f" {name}: {'available' if found['ok'] else found['why']}"
            for name, found in weights["weights"].items()
        ),
        f"Default Weight: {known['DefaultRuntime']}",
        "Security Options:",
        *(f" {option.removeprefix('name=')}" for option in known["SecurityOptions"] or ()),
        f"Kernel Version: {known['KernelVersion']}",
        f"Operating System: {known['OperatingSystem']}",
        f"OSType: {known['OSType']}",
        f"Architecture: {known['Architecture']}",
        f"CPUs: {known['NCPU']}",
        f"Total Memory: {binary_size(known['MemTotal'])}",
        f"Name: {known['Name']}",
        f"ID: {known['ID']}",
        f"Root Dir: {known['DockerRootDir']}",
        f"Live Restore Enabled: {str(known['LiveRestoreEnabled']).lower()}",
    ]
    return "".join(f" {line}\n" for line in lines)


INFO = Command(run, flags=(word("format", VALUE_FORMAT_HELP, "f"),))
