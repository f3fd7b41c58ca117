"""`heft weigh`: one image at every weight that this host can carry, measured side by side."""

from __future__ import annotations

import json
import signal
import sys
import time

from heft.cli.command import Command
from heft.cli.failures import Failure, Refusal
from heft.cli.flags import switch, word, words
from heft.cli.progress import on_stderr
from heft.cli.tables import aligned
from heft.cli.weighing.figures import NATIVE, Column, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from heft.cli.client import Client
    from heft.cli.command import Invocation
    from heft.cli.progress import Progress


def weigh(call: Invocation) -> int:
    """Measure, then show it. What is shown was measured in this run."""
    from heft.cli.weighing import advice, drawing

    image, *command = call.arguments
    begun = time.monotonic()
    progress = on_stderr(quiet=call.flags.on("quiet"))
    signal.signal(signal.SIGTERM, _end)  # so that machines are removed then too
    try:
        columns = _measure(call.client, image, command, call.flags.list("platform"), progress)
    finally:
        progress.end()
    said = advice.advise(columns)
    taken = time.monotonic() - begun
    if call.flags.on("json"):
        found = [column.record() for column in columns]
        known = {"image": image, "command": command, "seconds": taken, "advice": said}
        print(json.dumps({**known, "columns": found}, indent=2))
    else:
        shown = [column for column in columns if column.values]
        notes = "".join(f"{line}\n" for line in drawing.remarks(columns))
        print(aligned(table(shown)), drawing.terminal(shown), notes, sep="\n")
        print(f"{said}\n(measured in {taken:.0f} s)")
    for flag, draw in (("svg", drawing.drawing), ("html", drawing.page)):
        if place := call.flags.text(flag):
            _write(place, draw(columns, image, said))
    return 0 if any(column.values for column in columns[1:]) else 1


def _write(place: str, text: str) -> None:
    try:
        with open(place, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Failure(f"cannot write {place}: {error.strerror}") from None


def _end(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def _measure(
    client: Client, image: str, command: list[str], platforms: list[str], progress: Progress
) -> list[Column]:
    """Give native and all weights, on the image's platform and on those that were asked for."""
    from heft.cli.client import path
    from heft.cli.weighing import machines, program

    if not client.address.path:
        raise Failure("only a daemon on this host can be compared with it: use its Unix socket")
    made_for = client.get(path("images", image, "json"))["Architecture"]
    own = client.get("/version")["Arch"]
    usual = "" if made_for == own else f"linux/{made_for}"
    machines.sweep(client)
    native = Column(NATIVE)
    columns = [native]
    with program.here(program.fetch(client)) as here, program.sink(here, _gateway(client)) as to:
        progress.part(NATIVE, "measuring", 0, 0)
        program.natively(here, native, to)
        weights = client.get("/heft/v1/weights")["weights"]
        for platform in _wanted(usual, platforms, own):
            named, why = (image, "") if platform == usual else _of_platform(client, image, platform)
            scale = machines.Scale(client, named, command, to)
            for weight, found in weights.items():
                if not found["fits"]:
                    continue
                column = Column(weight, platform, found.get("detail", ""))
                columns.append(column)
                column.why = why
                if not found["ok"]:
                    column.why = ": ".join(filter(None, (found["why"], found.get("hint", ""))))
                elif not why:
                    _fill(client, scale, column, named, progress)
    return columns


def _wanted(usual: str, platforms: list[str], own: str) -> list[str]:
    """Give the image's own platform (empty: the host's), then the others, each once."""
    asked = ["" if each == f"linux/{own}" else each for each in platforms]
    return list(dict.fromkeys([usual, *asked]))


def _of_platform(client: Client, image: str, platform: str) -> tuple[str, str]:
    """Give the image of that name for another platform, and why there is none.

    It is called as `heft bootstrap --platform` calls it: debian:latest-arm64 beside debian.
    """
    from heft.cli.client import path

    system, _, rest = platform.partition("/")
    _, colon, _ = image.rpartition("/")[2].partition(":")
    named = f"{image}{'' if colon else ':latest'}-{rest.replace('/', '')}"
    try:
        found = client.get(path("images", named, "json"))
    except Refusal as error:
        return named, f"{error.message} (heft bootstrap NAME --platform {platform} makes such)"
    there = "/".join(filter(None, (found["Os"], found["Architecture"], found.get("Variant", ""))))
    if not f"{there}/".startswith(f"{system}/{rest}/"):
        return named, f"{named} is of {there}, not of {platform}"
    return named, ""


def _gateway(client: Client) -> str:
    """Give the host's address on the network that machines are on."""
    network: dict[str, Any] = client.get("/networks/bridge")
    return str((network["IPAM"]["Config"] or [{}])[0].get("Gateway", ""))


def _fill(client: Client, scale: Any, column: Column, image: str, progress: Progress) -> None:
    from heft.cli.progress import follow
    from heft.cli.weighing.program import fetch

    progress.part(column.name, "measuring", 0, 0)
    try:
        body = {"image": image, "weight": column.weight, "guest": True, "labels": {}}
        ready = client.open("POST", "/heft/v1/bases", body={**body, "hostConfig": {}})
        follow(ready.lines(), progress, lambda _: None)
        scale.weigh(column, fetch(client, column.platform))
    except (Refusal, Failure) as error:
        column.why = error.message
    progress.part(column.name, "done" if column.values else "cannot be measured", 0, 0)


WEIGH = Command(
    weigh,
    takes="IMAGE [COMMAND] [ARG...]",
    flags=(
        words(
            "platform", "Platform to measure at too: of IMAGE:TAG-ARCH (several: --platform twice)"
        ),
        switch("json", "Print what was measured as JSON"),
        word("html", "Write table and bars to this file, as a page of HTML"),
        word("svg", "Write the bars to this file, as a drawing"),
        switch("quiet", "Do not tell how far it is", "q"),
    ),
    least=1,
    most=None,
    interspersed=False,
)
