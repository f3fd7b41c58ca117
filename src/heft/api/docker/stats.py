"""What a machine uses, once or every second."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heft.api import times
from heft.api.call import encode
from heft.errors import Conflict, NotFound
from heft.weights.base import Stats

if TYPE_CHECKING:
    from aiohttp import web

    from heft.api.call import Call
    from heft.api.routes import Routes
    from heft.model.machine import Machine

INTERVAL = 1.0
_TICK = times.SECOND // os.sysconf("SC_CLK_TCK")


def add_routes(routes: Routes) -> None:
    """Take the path of statistics."""
    routes.add("GET", "/containers/{name}/stats", stats)


async def stats(call: Call) -> web.StreamResponse:
    """Measure the machine: for ever, or once.

    Once takes a second, in which what it uses is seen to grow, unless `one-shot` is asked for.
    """
    machine = call.engine.machines.get(call.name)
    measured = await _measure(call, machine)
    if call.flag("stream", default=True):
        return await _stream(call, machine, measured)
    before = None
    if not call.flag("one-shot") and measured is not None:
        before = measured
        await asyncio.sleep(INTERVAL)
        measured = await _measure(call, machine)
    return call.json(view(machine, measured, before))


async def _stream(
    call: Call, machine: Machine, measured: tuple[Stats, int] | None
) -> web.StreamResponse:
    response = await call.stream()
    before = None
    try:
        while True:
            await response.write(encode(view(machine, measured, before)) + b"\n")
            await asyncio.sleep(INTERVAL)
            before, measured = measured, await _measure(call, machine)
    except NotFound:
        await response.write_eof()
        return response


async def _measure(call: Call, machine: Machine) -> tuple[Stats, int] | None:
    """Give what the machine and the whole host have used; None while it does not run."""
    try:
        return await call.engine.machines.stats(machine.id), host_cpu()
    except Conflict:
        return None


def host_cpu() -> int:
    """Give the CPU time of everything on the host, in nanoseconds (proc(5), `stat`)."""
    with Path("/proc/stat").open("rb") as file:
        ticks = file.readline().split()[1:9]
    return sum(int(each) for each in ticks) * _TICK


def view(
    machine: Machine, now: tuple[Stats, int] | None, before: tuple[Stats, int] | None
) -> dict[str, Any]:
    """Give one object of the answer of `GET /containers/{id}/stats`."""
    stats_now = now[0] if now else None
    shown: dict[str, Any] = {
        "id": machine.id,
        "name": f"/{machine.name}",
        "read": times.text(stats_now.read if stats_now else 0),
        "preread": times.text(before[0].read if before else 0),
        "num_procs": 0,
        "pids_stats": {},
        "blkio_stats": {},
        "storage_stats": {},
        "cpu_stats": _cpu(now),
        "precpu_stats": _cpu(before),
        "memory_stats": {},
    }
    if stats_now is None:
        return shown
    shown["pids_stats"] = {"current": stats_now.pids, "limit": stats_now.pids_limit}
    shown["blkio_stats"] = _block(stats_now)
    shown["memory_stats"] = _memory(stats_now)
    if machine.endpoint is not None:
        shown["networks"] = {"eth0": _network(stats_now)}
    return shown


def _cpu(measured: tuple[Stats, int] | None) -> dict[str, Any]:
    if measured is None:
        used, host = Stats(read=0), 0
    else:
        used, host = measured
    shown: dict[str, Any] = {
        "cpu_usage": {
            "total_usage": used.cpu_total,
            "usage_in_kernelmode": used.cpu_system,
            "usage_in_usermode": used.cpu_user,
        },
        "throttling_data": {
            "periods": used.cpu_periods,
            "throttled_periods": used.cpu_throttled_periods,
            "throttled_time": used.cpu_throttled,
        },
    }
    if measured is not None:
        shown["system_cpu_usage"] = host
        shown["online_cpus"] = os.cpu_count() or 1
    return shown


def _memory(used: Stats) -> dict[str, Any]:
    shown: dict[str, Any] = {"usage": used.memory_used, "limit": used.memory_limit}
    if used.memory_max:
        shown["max_usage"] = used.memory_max
    return {**shown, "stats": used.memory_details}


def _block(used: Stats) -> dict[str, Any]:
    amounts = (("read", used.block_read), ("write", used.block_written))
    return {
        "io_service_bytes_recursive": [
            {"major": 0, "minor": 0, "op": name, "value": amount} for name, amount in amounts
        ],
        "io_serviced_recursive": None,
        "io_queue_recursive": None,
        "io_service_time_recursive": None,
        "io_wait_time_recursive": None,
        "io_merged_recursive": None,
        "io_time_recursive": None,
        "sectors_recursive": None,
    }


def _network(used: Stats) -> dict[str, int]:
    return {
        "rx_bytes": used.network_received,
        "rx_packets": used.network_received_packets,
        "rx_errors": 0,
        "rx_dropped": 0,
        "tx_bytes": used.network_sent,
        "tx_packets": used.network_sent_packets,
        "tx_errors": 0,
        "tx_dropped": 0,
    }
