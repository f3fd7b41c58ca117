"""Where Heft keeps its files: `data` outlives a boot of the host, `run` does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_DATA = Path("/var/lib/heft")
DEFAULT_RUN = Path("/run/heft")
DEFAULT_CONFIGURATION = Path("/etc/heft")
"""`registries.conf` and `certs.d`."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The directories of one daemon; two daemons on one host share none of them."""

    data: Path = DEFAULT_DATA
    run: Path = DEFAULT_RUN

    @property
    def database(self) -> Path:
        """The store (SQLite)."""
        return self.data / "heft.db"

    @property
    def images(self) -> Path:
        """Blobs and applied layers."""
        return self.data / "images"

    @property
    def volumes(self) -> Path:
        """One directory a named volume."""
        return self.data / "volumes"

    @property
    def machines(self) -> Path:
        """One directory a machine."""
        return self.data / "machines"

    @property
    def trash(self) -> Path:
        """What was renamed away and is being deleted; emptied at every start."""
        return self.data / "trash"

    @property
    def networks(self) -> Path:
        """Name tables and the name server's files, one directory a network."""
        return self.run / "networks"

    @property
    def user_namespaces(self) -> Path:
        """The pinned user namespaces of machines that run."""
        return self.run / "users"

    @property
    def socket(self) -> Path:
        """The API's Unix socket."""
        return self.run / "heft.sock"

    @property
    def lock(self) -> Path:
        """Held with flock(2) by the one daemon that owns `data`."""
        return self.data / "lock"

    def machine(self, machine_id: str) -> Path:
        """Keep here what belongs to the machine while it exists: upper, log, generated files."""
        return self.machines / machine_id

    def user_namespace(self, machine_id: str) -> Path:
        """Pin the machine's user namespace here while it runs."""
        return self.user_namespaces / machine_id

    @property
    def kits(self) -> Path:
        """Kernels, and what guests start with."""
        return self.data / "kits"

    @property
    def templates(self) -> Path:
        """Guests that others are restored from."""
        return self.data / "templates"

    @property
    def domains(self) -> Path:
        """Names the machines that may have a domain of Xen."""
        return self.run / "domains"

    @property
    def xen_hotplug(self) -> Path:
        """What Xen runs for a domain's devices: not below `run`, where nothing may be executed."""
        return self.data / "xen-hotplug"

    @property
    def runs(self) -> Path:
        """One directory a machine that runs."""
        return self.run / "machines"

    def running(self, machine_id: str) -> Path:
        """Keep here what belongs to one run of the machine: root mount, sockets, pid files."""
        return self.runs / machine_id
