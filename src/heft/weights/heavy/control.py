"""What a running QEMU can be told: QMP (qemu-qmp-ref(7)), by the library `qemu.qmp`.

This is the one place where its errors become Heft's.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any

from qemu.qmp import (
    EventListener,
    ExecInterruptedError,
    ExecuteError,
    Message,
    QMPClient,
    QMPError,
)

from heft.errors import HostError, OutcomeUnknown
from heft.host import unix_sockets
from heft.weights.heavy.qemu import CONSOLE_SIZE, own_disk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0
FULL_SECONDS = 2.0
"""How long a guest waits for room on the host's disk, before it tries again."""
_PAUSE = 0.001
_IO_ERROR, _HELD_UP = "BLOCK_IO_ERROR", "io-error"
_MOST_EVENTS = 64

logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


@contextlib.asynccontextmanager
async def control(directory: Path, name: str) -> AsyncIterator[Control]:
    """Connect to the QEMU whose control socket is in a directory, as soon as it is there.

    Raises `HostError` where nobody answers within `CONNECT_SECONDS`.
    """
    client = QMPClient("heft")
    # The library keeps every event for a listener that nobody has asked for; a guest can cause as
    # many as it likes, for as long as it runs.
    client.events.event_filter = lambda _: False
    if not directory.is_dir():
        raise HostError(f"cannot reach QEMU: there is no {directory}")
    connection = await _connect(client, str(directory / name))
    try:
        yield Control(client, connection)
    finally:
        with contextlib.suppress(QMPError, OSError, EOFError):
            await client.disconnect()


async def _connect(client: QMPClient, path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection.setblocking(False)
            await _reach(connection, path)
            await client.connect(connection)
    except TimeoutError:
        connection.close()
        raise HostError("QEMU does not answer") from None
    except (QMPError, OSError, EOFError) as error:
        connection.close()
        raise HostError(f"cannot reach QEMU: {error}") from error
    return connection


async def _reach(connection: socket.socket, path: str) -> None:
    """Connect as soon as somebody listens there, some 20 ms after QEMU's start; nobody tells."""
    while True:
        try:
            unix_sockets.connect(connection, path)
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            await asyncio.sleep(_PAUSE)
        else:
            return


class _Listener(EventListener):
    """Keeps no more than is read soon: the library's keeps all that was ever heard."""

    async def put(self, event: Message) -> None:
        """Keep an event that is of use, unless there are too many."""
        if self.accept(event) and self._queue.qsize() < _MOST_EVENTS:
            self._queue.put_nowait(event)


def _tells(event: Message) -> bool:
    """Say whether an event is of use: of errors of disks, those for which a guest was stopped."""
    data = event.get("data")
    return event["event"] != _IO_ERROR or (isinstance(data, dict) and data.get("action") == "stop")


class Control:
    """A connection to one QEMU."""

    def __init__(self, client: QMPClient, connection: socket.socket) -> None:
        self._client = client
        self._socket = connection

    async def execute(self, command: str, **arguments: Any) -> Any:
        """Give what a command returns.

        Raises `HostError` if QEMU refuses, `OutcomeUnknown` if it has not answered.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._client.execute(command, arguments or None)
        except ExecuteError as error:
            raise HostError(f"QEMU refuses {command}: {error}") from error
        except (ExecInterruptedError, TimeoutError) as error:
            raise OutcomeUnknown(f"QEMU has not answered {command}") from error
        except (QMPError, OSError, EOFError) as error:
            raise HostError(f"cannot tell QEMU {command}: {error}") from error

    async def load(self, state: int) -> None:
        """Let a QEMU that waits take its state from an inherited descriptor, and run."""
        await self._ignore_shared()
        await self.execute("migrate-incoming", uri=f"fd:{state}")

    async def save(self, state: int) -> None:
        """Stop the guest and write its state, without its memory, to a descriptor of ours."""
        await self._ignore_shared()
        # The library's own way needs a loop whose sockets are Python's.
        socket.send_fds(self._socket, [b" "], [state])
        await self.execute("getfd", fdname="state")
        await self.execute("migrate", uri="fd:state")
        while True:
            status = (await self.execute("query-migrate")).get("status")
            if status == "completed":
                return
            if status in ("failed", "cancelled"):
                raise HostError("QEMU could not save the state of a template")
            await asyncio.sleep(0.01)

    async def change_disk(self, name: str, number: int, disk: int, *, read_only: bool) -> None:
        """Put a disk of ours behind the device whose id is `name`; `number` is its own."""
        node = f"own-{name}"
        socket.send_fds(self._socket, [b" "], [disk])
        await self.execute("add-fd", **{"fdset-id": number})
        await self.execute("blockdev-add", **own_disk(node, number, read_only=read_only))
        path = f"/machine/peripheral/{name}"
        await self.execute("qom-set", path=path, property="drive", value=node)
        await self.execute("blockdev-del", **{"node-name": name})

    async def _ignore_shared(self) -> None:
        capability = {"capability": "x-ignore-shared", "state": True}
        await self.execute("migrate-set-capabilities", capabilities=[capability])

    async def console(self) -> bytes:
        """Take what the kernel has said on its console since it was last asked."""
        size = CONSOLE_SIZE
        said = await self.execute("ringbuf-read", device="console", size=size, format="base64")
        return base64.b64decode(str(said))

    async def lend_console(self, line: int) -> bytes:
        """Let what the kernel says go to a socket of ours, and what comes from there to it.

        Gives what was said before. Both are asked for at once: QEMU forgets what is said between.
        """
        socket.send_fds(self._socket, [b" "], [line])
        await self.execute("getfd", fdname="console")
        address = {"type": "fd", "data": {"str": "console"}}
        said, _ = await asyncio.gather(
            self.console(), self._change_console("socket", addr=address, server=False)
        )
        return said

    async def keep_console(self) -> None:
        """Let QEMU keep the last of it, if it does not."""
        for device in await self.execute("query-chardev"):
            if device.get("label") == "console" and device.get("filename") != "ringbuf":
                await self._change_console("ringbuf", size=CONSOLE_SIZE)

    async def _change_console(self, kind: str, **options: Any) -> None:
        backend = {"type": kind, "data": options}
        await self.execute("chardev-change", id="console", backend=backend)

    async def over(self, held_up: Callable[[], object]) -> str:
        """Return when the guest is over, and say how.

        QEMU stops a guest when the host's disk has no room for what it writes. `held_up` is called
        then, and the guest goes on as soon as there is some.
        """
        listener = _Listener(names=("SHUTDOWN", "GUEST_PANICKED", _IO_ERROR), event_filter=_tells)
        self._client.register_listener(listener)
        try:
            status = (await self.execute("query-status")).get("status")
            if status in ("shutdown", "guest-panicked"):
                return str(status)
            event = {"event": _IO_ERROR} if status == _HELD_UP else await listener.get()
            while event["event"] == _IO_ERROR:
                if await self._is_held_up():
                    held_up()
                    await asyncio.sleep(FULL_SECONDS)
                    await self._go_on()
                event = await listener.get()
        finally:
            self._client.remove_listener(listener)
        data = dict(event).get("data")
        return str(data.get("reason", "shutdown")) if isinstance(data, dict) else "shutdown"

    async def _is_held_up(self) -> bool:
        return bool((await self.execute("query-status")).get("status") == _HELD_UP)

    async def _go_on(self) -> None:
        if await self._is_held_up():
            await self.execute("cont")

    async def quit(self) -> None:
        """End QEMU at once."""
        with contextlib.suppress(HostError, OutcomeUnknown):
            await self.execute("quit")
