"""`heft update`: other limits, another restart policy, another weight for machines."""

from __future__ import annotations

import sys

from heft.cli.client import path
from heft.cli.command import Command, each
from heft.cli.failures import Failure
from heft.cli.flags import word
from heft.cli.machine_flags import MACHINE_FLAGS
from heft.cli.machine_request import restart_policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.command import Invocation

FIELDS = {
    "blkio-weight": "BlkioWeight",
    "cpu-period": "CpuPeriod",
    "cpu-quota": "CpuQuota",
    "cpu-shares": "CpuShares",
    "cpus": "NanoCpus",
    "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems",
    "memory": "Memory",
    "memory-reservation": "MemoryReservation",
    "memory-swap": "MemorySwap",
    "pids-limit": "PidsLimit",
}
"""What can be changed, by flag, and how the API calls it."""

FLAGS = (
    *(flag for flag in MACHINE_FLAGS if flag.name in FIELDS),
    word("restart", "Restart policy to apply when a machine exits"),
    word("weight", "Weight to take stopped machines to, with all they wrote (`heft weights`)"),
)


def update(call: Invocation) -> int:
    """Change machines."""
    flags = call.flags
    body = {field: flags.value(name) for name, field in FIELDS.items() if name in flags}
    if "restart" in flags:
        policy = restart_policy(flags) or {"Name": flags.text("restart")}
        body["RestartPolicy"] = policy
    weight = flags.text("weight") if "weight" in flags else None
    if not body and weight is None:
        raise Failure("you must provide one or more flags when using this command")

    def one(name: str) -> None:
        if body:
            done = call.client.post(path("containers", name, "update"), body=body)
            for warning in done.get("Warnings") or ():
                sys.stderr.write(f"WARNING: {warning}\n")
        if weight is not None:
            call.client.post(path("heft", "v1", "machines", name, "weight"), {"weight": weight})

    return each(call.arguments, one)


UPDATE = Command(update, takes="MACHINE [MACHINE...]", flags=FLAGS, least=1, most=None)
