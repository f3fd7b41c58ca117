"""Where the API is served: a Unix socket, one that systemd opened, and TCP with mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from heft.api import tls
from heft.api.dispatch import Dispatcher
from heft.api.docker import (
    attach,
    containers,
    events,
    execs,
    files,
    images,
    lifecycle,
    logs,
    networks,
    refusals,
    registries,
    stats,
    system,
    usage,
    volumes,
)
from heft.api.native import consoles, disks, kits, machines, own
from heft.api.native import images as own_images
from heft.api.routes import Routes
from heft.errors import HostError

if TYPE_CHECKING:
    from pathlib import Path

    from heft.api.tls import TLSFiles
    from heft.engine.engine import Engine

BACKLOG = 1024
LONGEST_LINE = 1 << 16
"""Bytes of a request's line, or of one header: filters and build arguments are long."""
SHUTDOWN_SECONDS = 1.0
_HANDLERS = (
    attach,
    containers,
    events,
    execs,
    files,
    images,
    lifecycle,
    logs,
    networks,
    refusals,
    registries,
    stats,
    system,
    usage,
    volumes,
    consoles,
    disks,
    kits,
    machines,
    own,
    own_images,
)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where to serve. `socket` None: only on the descriptors that were passed."""

    socket: Path | None
    listen_fds: tuple[int, ...] = ()
    group: str = "heft"
    tcp: tuple[str, int] | None = None
    tls: TLSFiles | None = None


def routes() -> Routes:
    """Give the routes of all handlers."""
    table = Routes()
    for module in _HANDLERS:
        module.add_routes(table)
    return table


class Server:
    """Serves an engine until it is closed."""

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        self._settings = settings
        self._dispatcher = Dispatcher(engine, routes())
        self._http: web.Server | None = None
        self._listeners: list[asyncio.Server] = []
        self._relay: tls.Relay | None = None

    async def start(self) -> None:
        """Accept connections. Raises `HostError` where an address cannot be listened on."""
        self._http = http = web.Server(
            self._dispatcher,
            handler_cancellation=True,
            auto_decompress=False,
            access_log=None,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
        )
        loop = asyncio.get_running_loop()
        for listening in self._sockets():
            self._listeners.append(
                await loop.create_unix_server(http, sock=listening, backlog=BACKLOG)
            )
        if self._settings.tcp is not None:
            assert self._settings.tls is not None, "TCP only ever with mutual TLS"
            self._relay = tls.Relay(self._settings.tls.context(), http)
            await self._relay.start(*self._settings.tcp)

    def _sockets(self) -> list[socket.socket]:
        found = [socket.socket(fileno=descriptor) for descriptor in self._settings.listen_fds]
        for each in found:
            each.setblocking(False)
        if self._settings.socket is not None:
            found.append(unix_socket(self._settings.socket, self._settings.group))
        return found

    async def close(self) -> None:
        """Finish what was begun, end all answers, and stop listening."""
        for listener in self._listeners:
            listener.close()
        if self._relay is not None:
            await self._relay.close()
        await self._dispatcher.close()
        if self._http is not None:
            await self._http.shutdown(SHUTDOWN_SECONDS)
        if self._settings.socket is not None:
            self._settings.socket.unlink(missing_ok=True)


def unix_socket(path: Path, group: str) -> socket.socket:
    """Listen at a path; only root, and the group if the host has it, may connect.

    A socket that a killed daemon left there is replaced: who holds the lock owns the path.
    """
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        listening.setblocking(False)
        mask = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(mask)
        with contextlib.suppress(KeyError):
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
            path.chmod(0o660)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise HostError(f"cannot serve on {path}: {error.strerror or error}") from error
    return listening
