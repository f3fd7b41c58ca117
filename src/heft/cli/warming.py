"""Before the first machine of an image is made: what all of them share, with progress.

To make the machine would make it too; but whoever looks on is told how far it is.
"""

from __future__ import annotations

import sys

from heft.cli.failures import Refusal
from heft.cli.progress import follow, on_stderr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.client import Client
    from heft.cli.machine_request import Request


def warm(client: Client, request: Request) -> None:
    """Let it be made. What is wrong with the request, its own answer says."""
    body = {
        "image": request.body["Image"],
        "weight": request.weight,
        "guest": True,
        "labels": request.body.get("Labels") or {},
        "hostConfig": request.body.get("HostConfig") or {},
    }
    try:
        answer = client.open("POST", "/heft/v1/bases", body=body)
    except Refusal:
        return
    follow(answer.lines(), on_stderr(), sys.stderr.write)
