"""The name server of a network: dnsmasq(8) on the bridge's address.

It answers for the machines on the network and hands all else to the host's own resolvers. It
outlives the daemon, is taken over by the next one, and is started again when it ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import TYPE_CHECKING

import msgspec

from heft.errors import HeftError
from heft.host import whole_files
from heft.host.processes import ProcessId, ended, send_signal, spawn

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from heft.model.network import Endpoint

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.2
"""Between its end and its next start."""


class NameServer:
    """One dnsmasq, and the names it knows."""

    def __init__(self, directory: Path, bridge: str, address: str) -> None:
        self._hosts = directory / "hosts"
        self._identity = directory / "dnsmasq.json"
        self._directory = directory
        self._bridge = bridge
        self._address = address
        self._process: ProcessId | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._pidfd: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._names: dict[str, tuple[str, ...]] = {}

    def start(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Take over the one that runs, or start one; it knows these endpoints' names."""
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._names = {endpoint.address: endpoint.names for endpoint in endpoints}
        self._write()
        self._task = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        self._adopt()
        while True:
            try:
                if self._pidfd is None:
                    self._spawn()
                if self._pidfd is not None:
                    await ended(self._pidfd)
                log.warning("the name server on %s ended, and is started again", self._bridge)
            except HeftError as error:
                log.warning("no names on %s: %s", self._bridge, error)
            self._forget()
            await asyncio.sleep(PAUSE_SECONDS)

    def _forget(self) -> None:
        """Reap it, if this daemon started it, and let go of it."""
        if self._child is not None:
            self._child.wait()
            self._child = None
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _adopt(self) -> None:
        try:
            self._process = msgspec.json.decode(self._identity.read_bytes(), type=ProcessId)
        except (FileNotFoundError, msgspec.DecodeError):
            return
        self._pidfd = self._process.open()
        self._tell()

    def _spawn(self) -> None:
        self._child = spawn(self._command(), new_session=True)
        self._process = ProcessId.of(self._child.pid)
        if self._process is None:
            return self._forget()
        self._pidfd = self._process.open()
        whole_files.put(self._identity, msgspec.json.encode(self._process))
        return None

    def _command(self) -> tuple[str, ...]:
        return (
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--user=nobody",
            "--no-hosts",
            f"--addn-hosts={self._hosts}",
            f"--interface={self._bridge}",
            "--except-interface=lo",
            f"--listen-address={self._address}",
            "--bind-interfaces",
            "--no-dhcp-interface=" + self._bridge,
            "--cache-size=1000",
        )

    def add(self, endpoint: Endpoint) -> None:
        """Know an endpoint by its names."""
        self._names[endpoint.address] = endpoint.names
        self._write()
        self._tell()

    def remove(self, endpoint: Endpoint) -> None:
        """Forget an endpoint; no harm if it is not known."""
        if self._names.pop(endpoint.address, None) is not None:
            self._write()
            self._tell()

    def _write(self) -> None:
        lines = [f"{address}\t{' '.join(names)}\n" for address, names in self._names.items()]
        whole_files.put(self._hosts, "".join(lines).encode())

    def _tell(self) -> None:
        """Have it read its file again (dnsmasq(8), "NOTES", SIGHUP)."""
        if self._pidfd is not None:
            send_signal(self._pidfd, signal.SIGHUP)

    async def close(self) -> None:
        """Stop watching it; it runs on. Harmless when repeated."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        if self._child is not None:
            self._child.returncode = 0  # else subprocess complains that nobody waits for it
            self._child = None

    async def end(self) -> None:
        """End it, whoever watches it; harmless when repeated."""
        child = self._child
        await self.close()
        self._adopt()
        if self._pidfd is not None:
            send_signal(self._pidfd, signal.SIGTERM)
            await ended(self._pidfd)
            self._child = child
            self._forget()
        self._identity.unlink(missing_ok=True)
