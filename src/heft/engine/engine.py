"""The engine: all parts together, and the operations that concern more than one of them."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Self

from heft.engine import (
    capabilities,
    info,
    machine_disks,
    recovery,
    removal,
    rotation,
    user_ranges,
)
from heft.engine.contents import Contents
from heft.engine.events import Events
from heft.engine.execs import Execs
from heft.engine.guest_kits import GuestKits
from heft.engine.machines import Machines
from heft.engine.parts import Parts
from heft.engine.records import Records
from heft.engine.syslog.forwarding import Forwarding
from heft.engine.warming import Ahead
from heft.guest.kits import Kits
from heft.host.trash import Trash
from heft.images import platforms
from heft.images.catalog import Images, ImageUser
from heft.model.config import HostConfig
from heft.model.machine import State
from heft.networks.catalog import Networks
from heft.store.database import Database
from heft.volumes.catalog import Volumes
from heft.weights import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from heft.engine.machine_disks import Checked
    from heft.engine.settings import Settings
    from heft.images.catalog import Progress, Removed
    from heft.images.registry.credentials import Credentials
    from heft.model.image import Image
    from heft.model.volume import Volume
    from heft.weights.base import Availability


class Engine:
    """One daemon's whole state. Make it with `open`, end it with `close`."""

    def __init__(self, settings: Settings, parts: Parts, database: Database, kits: Kits) -> None:
        self.settings = settings
        self.images = parts.images
        self.networks = parts.networks
        self.volumes = parts.volumes
        self.events = parts.events
        self.execs = Execs(parts)
        self.machines = Machines(parts, self.execs)
        self.contents = Contents(parts, self.machines)
        self.kits = GuestKits(parts, kits)
        self.ahead = Ahead(parts)
        self.weights = parts.weights
        self._parts = parts
        self._database = database
        self._host = info.look_at_host()
        self._availability: dict[str, Availability] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Take over everything under the settings' directories.

        The caller holds the lock on them (`heft.host.lock`). When this returns, what was running
        is watched over, and what a killed daemon had half done is finished or undone.
        """
        layout = settings.layout
        events = Events()
        trash = Trash(layout.trash)
        trash.start()
        database = Database(layout.database)
        kits = Kits(layout.kits, settings.agent)
        await asyncio.to_thread(kits.start)
        weights = registry.weights(
            layout,
            settings.cgroup_parent,
            settings.runtime,
            kits,
            spare_seconds=settings.spare_seconds,
        )
        records = Records(database)
        parts = Parts(
            settings=settings,
            records=records,
            images=Images(
                layout.images,
                database,
                events.publisher("image"),
                trash,
                settings.configuration,
            ),
            networks=Networks(
                layout.networks, database, events.publisher("network"), settings.network
            ),
            volumes=Volumes(layout.volumes, database, events.publisher("volume"), trash),
            events=events,
            weights=weights,
            kits=kits,
            trash=trash,
            forwarding=Forwarding(layout, records),
            capabilities=capabilities.bounding_set(),
        )
        engine = cls(settings, parts, database, kits)
        await engine._start()
        return engine

    async def _start(self) -> None:
        user_ranges.choose(HostConfig(), self.settings.remap, ())  # the daemon's own default
        await self.probe_weights()
        await self.images.start()
        await self.volumes.start(recovery.volume_users(self._parts.records))
        self._parts.forwarding.resume()
        await recovery.recover(self._parts, self.machines)
        self._tasks.append(asyncio.create_task(rotation.keep_rotating(self._parts)))

    async def probe_weights(self) -> dict[str, Availability]:
        """Say which weights work here now, and of those that do not, why."""
        for name, weight in self.weights.items():
            self._availability[name] = await weight.probe()
        return self._availability

    async def tear_down(self) -> None:
        """Stop all machines and take away what Heft has made of the host's network."""
        running = [machine.id for machine in self.machines.list() if machine.is_up]
        await asyncio.gather(*(self.machines.stop(machine_id) for machine_id in running))
        await self.networks.teardown()

    async def close(self) -> None:
        """Stop serving; machines, names and published ports go on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._parts.forwarding.close()
        await self.machines.close()
        await self.execs.close()
        for weight in self.weights.values():
            await weight.close()
        await self.networks.close()
        await self.images.remote.close()
        await self._parts.trash.close()
        self._database.close()

    def info(self) -> info.Info:
        """Say what there is."""
        machines: Counter[State] = Counter(machine.state for machine in self.machines.list())
        root = self.settings.layout.data
        host = self._host
        return info.Info(
            id=hashlib.sha256(f"{host.name}:{root}".encode()).hexdigest()[:32],
            name=host.name,
            machines=dict(machines),
            images=len(self.images.list()),
            weights=self._availability,
            default_weight=self.settings.default_weight,
            remaps_users=self.settings.remap.by_default,
            cgroup_version=host.cgroup_version,
            root=str(root),
            kernel=host.kernel,
            operating_system=host.operating_system,
            architecture=host.architecture,
            cpus=host.cpus,
            memory=host.memory,
        )

    def probe(self, platform: str) -> Path:
        """Give where the program is that measures in machines of a platform, if it is there."""
        own = platforms.host_architecture()
        architecture = (platform or own).removeprefix("linux/").partition("/")[0]
        name = "heft-weigh" if architecture == own else f"heft-weigh-{architecture}"
        return self.settings.agent.with_name(name)

    def remove_image(self, reference: str, *, force: bool, noprune: bool) -> tuple[Removed, ...]:
        """Remove a name, or an image with its last name. Raises `Conflict` if it is in use."""
        return self.images.remove(
            reference, force=force, users=self._image_users(), prune_parents=not noprune
        )

    def _image_users(self) -> tuple[ImageUser, ...]:
        return tuple(
            ImageUser(machine.id, machine.image, machine.is_up, machine.layers)
            for machine in self._parts.records
        )

    async def check(
        self, *, repair: bool, known: Mapping[str, Credentials], progress: Progress
    ) -> Checked:
        """Check images and machines' disks, and repair what can be.

        `known` are credentials by registry. Raises `NoSpace`, `HostError`.
        """

        def users() -> tuple[ImageUser, ...]:
            return tuple(
                ImageUser(
                    machine.id,
                    machine.image,
                    machine.is_up or machine.state in (State.STARTING, State.RESTARTING),
                    machine.layers,
                )
                for machine in self._parts.records
            )

        images = await self.images.check(users, repair=repair, known=known, progress=progress)
        checked = await machine_disks.check(
            self._parts, self.machines, repair=repair, progress=progress
        )
        checked.found[:0] = images
        return checked

    def prune_images(self, keep: Callable[[Image], bool]) -> tuple[tuple[Removed, ...], int]:
        """Remove the images that no machine uses and `keep` does not want."""
        in_use = frozenset(machine.image for machine in self._parts.records)
        return self.images.prune(keep=keep, in_use=in_use)

    def remove_volume(self, name: str, *, force: bool = False) -> None:
        """Remove a volume. Raises `Conflict` if a machine mounts it."""
        self.volumes.remove(name, users=removal.volume_users(self._parts, name), force=force)

    async def prune_volumes(self, keep: Callable[[Volume], bool]) -> tuple[tuple[str, ...], int]:
        """Remove the volumes that no machine mounts and `keep` does not want."""
        used = self.volumes_in_use()
        names = [v.name for v in self.volumes.list() if v.name not in used and not keep(v)]
        sizes = await self.volumes.sizes(names)
        # Asked again: a machine may have been made meanwhile.
        return self.volumes.prune(keep=keep, in_use=self.volumes_in_use(), sizes=sizes)

    def volumes_in_use(self) -> frozenset[str]:
        """Give the names of the volumes that machines mount."""
        return frozenset(
            mount.volume
            for machine in self._parts.records
            for mount in machine.mounts
            if mount.volume
        )
