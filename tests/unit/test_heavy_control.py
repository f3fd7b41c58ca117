"""The connection to a QEMU that its guest has got hold of."""

import asyncio
import json
import tracemalloc
from pathlib import Path

from heft.weights.heavy.control import control

EVENT = {"event": "RTC_CHANGE", "data": {"offset": 1, "words": "x" * 10_000}}
EVENTS = 2000


def line(said: object) -> bytes:
    return json.dumps(said).encode() + b"\r\n"


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak QMP; before the answer to each command there are a lot of events."""
    stamp = {"timestamp": {"seconds": 1, "microseconds": 1}}
    version = {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}
    writer.write(line({"QMP": {"version": version, "capabilities": []}}))
    while asked := await reader.read(1 << 16):  # one command at a time, without newlines
        command = json.loads(asked)
        if command["execute"] == "query-status":
            for _ in range(EVENTS):
                writer.write(line({**EVENT, **stamp}))
                await writer.drain()
        writer.write(line({"return": {"status": "running"}, "id": command.get("id")}))
    writer.close()


async def test_events_that_nobody_asked_for_are_not_kept(tmp_path: Path) -> None:
    server = await asyncio.start_unix_server(flood, tmp_path / "control")
    async with server, control(tmp_path, "control") as told:
        tracemalloc.start()
        try:
            assert await told.execute("query-status") == {"status": "running"}
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert kept < EVENTS * 10_000 / 4
