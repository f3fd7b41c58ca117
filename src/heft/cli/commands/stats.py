"""`heft stats`."""

from __future__ import annotations

import sys
import threading
import time

from heft.cli.client import Client, path
from heft.cli.command import Command
from heft.cli.failures import Failure
from heft.cli.flags import switch, word
from heft.cli.human import binary_size, short_id, shortened, size
from heft.cli.tables import FORMAT_HELP, Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.address import Address
    from heft.cli.command import Invocation

REDRAW_SECONDS = 1.0
NAME_WIDTH = 20
CLEAR = "\033[H\033[J"
UNKNOWN = "--"
HEADERS = {
    "Container": "CONTAINER",
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "HostMem": "HOST MEM",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "HostMem", "NetIO", "BlockIO", "PIDs")


class Measuring:
    """Asks for one machine's statistics in a thread of its own; `latest` is the newest."""

    def __init__(self, address: Address, name: str, *, stream: bool) -> None:
        self.name = name
        self.latest: dict[str, Any] | None = None
        self.failure: Failure | None = None
        self.ended = False
        self._address = address
        self._stream = stream
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def _follow(self) -> None:
        client = Client(self._address)
        parameters = {"stream": "1" if self._stream else "0"}
        try:
            for value in client.values(path("containers", self.name, "stats"), **parameters):
                self.latest = value
        except Failure as failure:
            self.failure = failure
        finally:
            self.ended = True
            client.close()


def run(call: Invocation) -> int:
    """Show what machines use: once, or until the user has seen enough."""
    if call.flags.on("no-stream"):
        return _once(call)
    measuring: dict[str, Measuring] = {}
    terminal = sys.stdout.isatty()
    while True:
        _follow(call, measuring)
        text = _text(call, list(measuring.values()))
        sys.stdout.write(CLEAR + text if terminal else text)
        sys.stdout.flush()
        if call.arguments and all(each.ended for each in measuring.values()):
            return _failures(list(measuring.values()))
        time.sleep(REDRAW_SECONDS)


def _once(call: Invocation) -> int:
    measuring = [Measuring(call.client.address, name, stream=False) for name in _names(call)]
    for each in measuring:
        each.thread.join()
    if code := _failures(measuring):
        return code
    sys.stdout.write(_text(call, measuring))
    return 0


def _failures(measuring: list[Measuring]) -> int:
    for each in measuring:
        if each.failure is not None:
            raise each.failure
    return 0


def _names(call: Invocation) -> list[str]:
    if call.arguments:
        return call.arguments
    every = call.flags.on("all")
    return [machine["Id"] for machine in call.client.get("/containers/json", all=every)]


def _follow(call: Invocation, measuring: dict[str, Measuring]) -> None:
    """Begin with machines that are new, and forget those that have gone."""
    names = _names(call)
    for name in names:
        if name not in measuring:
            measuring[name] = Measuring(call.client.address, name, stream=True)
    for name in set(measuring).difference(names):
        del measuring[name]


def _text(call: Invocation, measuring: list[Measuring]) -> str:
    whole = call.flags.on("no-trunc")
    rows = [row(each.name, each.latest, whole=whole) for each in measuring]
    return Listing(HEADERS, COLUMNS).text(rows, call.flags.text("format"))


def row(asked: str, stats: dict[str, Any] | None, *, whole: bool) -> dict[str, Any]:
    """Give a machine's fields; before its first measurement they are unknown."""
    identity = stats["id"] if stats else asked
    shown = {
        "Container": asked if whole else shortened(asked, NAME_WIDTH),
        "ID": identity if whole else short_id(identity),
        "Name": stats["name"].removeprefix("/") if stats else UNKNOWN,
        **dict.fromkeys(("CPUPerc", "MemPerc", "HostMem", "PIDs"), UNKNOWN),
        **dict.fromkeys(("MemUsage", "NetIO", "BlockIO"), f"{UNKNOWN} / {UNKNOWN}"),
    }
    if not stats or not stats["memory_stats"]:
        return shown
    memory = stats["memory_stats"]
    used, limit = memory_used(memory), memory["limit"]
    networks = (stats.get("networks") or {}).values()
    return {
        **shown,
        "CPUPerc": f"{cpu_percent(stats):.2f}%",
        "MemUsage": f"{binary_size(used)} / {binary_size(limit)}",
        "MemPerc": f"{used / limit * 100 if limit else 0:.2f}%",
        "HostMem": binary_size(host_memory(memory)),
        "NetIO": " / ".join(
            size(sum(each[key] for each in networks)) for key in ("rx_bytes", "tx_bytes")
        ),
        "BlockIO": " / ".join(size(_blocks(stats, way)) for way in ("read", "write")),
        "PIDs": str(stats["pids_stats"].get("current", 0)),
    }


def memory_used(memory: dict[str, Any]) -> int:
    """Give the memory in use without what the kernel only caches of files (docker/cli)."""
    used, details = int(memory["usage"]), memory.get("stats") or {}
    for name in ("total_inactive_file", "inactive_file"):
        cached = int(details.get(name, 0))
        if 0 < cached < used:
            return used - cached
    return used


def host_memory(memory: dict[str, Any]) -> int:
    """Give what a machine takes of the host's memory: more than it sees where it has a kernel."""
    taken = (memory.get("stats") or {}).get("heft_host_memory")
    return memory_used(memory) if taken is None else int(taken)


def cpu_percent(stats: dict[str, Any]) -> float:
    """Give the share of one CPU that was used since the measurement before."""
    now, before = stats["cpu_stats"], stats["precpu_stats"]
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    if used <= 0 or passed <= 0 or "system_cpu_usage" not in before:
        return 0.0
    return float(used / passed * now.get("online_cpus", 1) * 100)


def _blocks(stats: dict[str, Any], way: str) -> int:
    entries = stats["blkio_stats"].get("io_service_bytes_recursive") or ()
    return sum(entry["value"] for entry in entries if entry["op"].lower() == way)


STATS = Command(
    run,
    takes="[MACHINE...]",
    flags=(
        switch("all", "Show all machines (default shows just running)", "a"),
        word("format", FORMAT_HELP),
        switch("no-stream", "Disable streaming stats and only pull the first result"),
        switch("no-trunc", "Do not truncate output"),
    ),
    most=None,
)
