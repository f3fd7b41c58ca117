"""The parts of a running daemon that a machine's life needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.engine import launch, links, own_users
from heft.errors import Conflict, NotSupported

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from heft.engine.events import Events
    from heft.engine.records import Records
    from heft.engine.settings import Settings
    from heft.engine.syslog.forwarding import Forwarding
    from heft.guest.kits import Kits
    from heft.host.trash import Trash
    from heft.images.catalog import Images
    from heft.model.machine import Machine
    from heft.networks.catalog import Networks
    from heft.volumes.catalog import Volumes
    from heft.weights.base import Launch, Weight


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that is there once a daemon."""

    settings: Settings
    records: Records
    images: Images
    networks: Networks
    volumes: Volumes
    events: Events
    weights: Mapping[str, Weight]
    kits: Kits
    trash: Trash
    forwarding: Forwarding
    capabilities: frozenset[str]
    """Those this daemon can give to a workload."""

    def weight(self, machine: Machine) -> Weight:
        """Give the weight that runs the machine."""
        try:
            return self.weights[machine.weight]
        except KeyError:
            raise NotSupported(
                f"this Heft has no weight {machine.weight}, which container {machine.id} needs"
            ) from None

    def launch(self, machine: Machine) -> Launch:
        """Give what the machine's weight needs to know, as things are now."""
        layout = self.settings.layout
        return launch.build(
            machine,
            launch.Place(
                directory=layout.machine(machine.id),
                run=layout.running(machine.id),
                layers=self.images.layer_paths(machine.layers),
                base=self.images.base(machine.layers) if self._wants_base(machine) else None,
                files=self._files(machine),
                cgroup_parent=self.settings.cgroup_parent,
                capabilities=self.capabilities,
                joined=self._joined(machine),
                env=links.environment(machine, links.of(self.records, machine))
                if machine.host_config.links
                else (),
                kit=self.weight(machine).kit(machine.platform),
                user_namespace=own_users.path(self, machine),
            ),
        )

    async def make_base(self, machine: Machine) -> None:
        """See to it that the machine's weight gets a base in `launch`, if it wants one.

        It can take seconds, the first time. Raises `NotSupported`, `NoSpace`, `HostError`.
        """
        if self._wants_base(machine):
            await self.images.ensure_base(machine.layers, lambda *_: None)

    def _wants_base(self, machine: Machine) -> bool:
        weight = self.weights.get(machine.weight)
        return weight is not None and weight.needs_base

    def _files(self, machine: Machine) -> Path:
        """Give the directory of the generated files: who shares a network shares them too."""
        seen = {machine.id}
        while True:
            mode, _, reference = machine.host_config.network_mode.partition(":")
            other = self.records.find(reference) if mode == "container" else None
            if other is None or other.id in seen:
                return self.settings.layout.machine(machine.id)
            seen.add(other.id)
            machine = other

    def _joined(self, machine: Machine) -> dict[str, Machine | None]:
        """Give the machines whose namespaces it joins, by reference."""
        host = machine.host_config
        joined = {}
        for mode in (host.network_mode, host.pid_mode, host.ipc_mode):
            name, _, reference = mode.partition(":")
            if name == "container":
                joined[reference] = self.records.find(reference)
        return joined

    def check_joined(self, machine: Machine) -> None:
        """Raise `NotFound` or `Conflict` where a machine to be joined is not there or not up."""
        host = machine.host_config
        for mode in (host.network_mode, host.pid_mode, host.ipc_mode):
            name, _, reference = mode.partition(":")
            if name != "container":
                continue
            other = self.records.resolve(reference)
            if other.id == machine.id:
                raise Conflict(f"cannot join own namespace: container {machine.id}")
            self.check_shares(other)
            if not other.is_up:
                raise Conflict(
                    f"cannot join namespace of a non running container: container {other.id}"
                    f" is {other.state}"
                )
        if host.ipc_mode.startswith("container:"):
            donor = self.records.resolve(host.ipc_mode.partition(":")[2])
            if donor.host_config.ipc_mode != "shareable":
                raise Conflict(
                    f"cannot join IPC of container {donor.id}: non-shareable IPC"
                    " (hint: use IpcMode:shareable for the donor container)"
                )
        links.check_running(self.records, machine)

    def check_shares(self, other: Machine) -> None:
        """Raise `Conflict` where a machine has no namespaces that another could be in.

        What there is of a guest on the host is its hypervisor, in part in the host's own
        namespaces: who joined these would be out of its confinement.
        """
        if self.weight(other).own_kernel:
            raise Conflict(
                f"cannot join namespace of container {other.name}: it is {other.weight}, its"
                " namespaces are in a kernel of its own",
                hint="give it a port or a network of both, or make it --weight light",
            )

    def tell(self, machine: Machine, action: str, **attributes: str) -> None:
        """Publish an event about the machine."""
        about = {**machine.config.labels, "image": machine.config.image, "name": machine.name}
        self.events.publish("container", action, machine.id, {**about, **attributes})
