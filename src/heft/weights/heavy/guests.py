"""How a machine's guest comes to be: from a spare, from a template, or cold.

What a weight has to know of the host for that (its QEMU, its control groups, whether KVM is usable)
is looked up once, when it is first needed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heft.errors import HostError, NotSupported
from heft.guest import architectures, kits, setup, shaping, shares
from heft.guest.setup import Disk, Surroundings
from heft.host import cgroups
from heft.host.cgroups import Group, Layout
from heft.weights.heavy import accelerators, facts
from heft.weights.heavy.accelerators import Accelerators
from heft.weights.heavy.boards import BOARDS
from heft.weights.heavy.templates import Templates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heft.guest.kits import Kit, Kits
    from heft.guest.shaping import Shape
    from heft.guest.shares import Shared
    from heft.weights.base import Launch, Resources
    from heft.weights.heavy.facts import HostFacts
    from heft.weights.heavy.kept_templates import Template

_log = logging.getLogger(__name__)

_ENTROPY = 64
_DISKS = (
    Disk("base", "base", "erofs", read_only=True),
    Disk("upper", "upper", "ext4"),
)
_MODULES = Disk("modules", "modules", "ext4", read_only=True)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a machine's QEMU is started with."""

    kit: Kit
    shape: Shape
    template: Template | None
    """None: it boots cold."""
    tsc_khz: int


class Guests:
    """The host, as far as guests need it."""

    def __init__(self, templates: Path, cgroup_parent: str, kits_: Kits) -> None:
        self._root = templates
        self._cgroup_parent = cgroup_parent
        self._kits = kits_
        self.server = shares.proxy(kits_.agent.parent / "heft-served.so")
        """What shows guests their volumes and binds."""
        self._facts: HostFacts | None = None
        self._layout: Layout | None = None
        self._templates: Templates | None = None
        self._accelerators: Accelerators | None = None

    async def describe(self) -> str:
        """Say what machines run on here. Raises `HeftError` where they cannot."""
        found = await self.facts()
        assert self._accelerators is not None
        chosen = await asyncio.to_thread(self._accelerators.known)
        if chosen is None:
            return f"{found.version}, KVM is tried by the first machine"
        return f"{found.version}, {chosen.accelerator} ({chosen.why})"

    async def why(self, shape: Shape) -> str:
        """Say why guests run on what they do, as far as it is known now."""
        if shape.architecture != architectures.NATIVE:
            return accelerators.FOREIGN
        if self._accelerators is None:
            return ""
        known = await asyncio.to_thread(self._accelerators.known)
        return known.why if known is not None and known.accelerator == shape.accelerator else ""

    async def facts(self) -> HostFacts:
        """Give what QEMU and processor are; look if need be."""
        if self._facts is None:
            found = await facts.look(self._kits.agent.parent)
            await self.groups()
            self._templates = Templates(self._root, found.version, found.tsc_khz)
            await asyncio.to_thread(self._templates.start)
            self._accelerators = Accelerators(self._root / "kvm.json", found.version)
            await self.collect()
            self._facts = found
        return self._facts

    async def collect(self) -> None:
        """Remove what was made for kits that are not there any more."""
        if self._templates is None or self._accelerators is None:
            return
        kits_ = await asyncio.to_thread(self._kits.fingerprints)
        await self._accelerators.collect(kits_)
        try:
            await self._templates.collect(kits_)
        except HostError as error:
            _log.warning("templates of no kit are left: %s", error)

    async def plan(self, launch: Launch) -> Plan:
        """Say how a machine's guest is started; make what is missing for it.

        Its kit is held for it from then on, until `release`. Raises `NotSupported` where that has
        no way to share files, and the machine has some; else as what is made.
        """
        kit, accelerator, tsc_khz = await self._ground(launch.kit, launch.id, _log.info)
        if not kit.shares_files and shares.shared_points(launch):
            raise NotSupported(
                f"the kernel of kit {kit.name} has no 9p, so no volumes and binds",
                hint=f"--kit {kits.DEFAULT}",
            )
        wanted = architectures.of_platform(launch.platform)
        if kit.architecture != wanted:
            raise NotSupported(
                f"kit {kit.name} is for linux/{kit.architecture.name}, not {launch.platform}",
                hint=f"--kit {wanted.kit}",
            )
        shape = shaping.shape(launch.resources, accelerator, kit.architecture.name)
        template: Template | None = None
        further = shares.shared_points(launch) or setup.loads_modules(launch)
        if not launch.cold_boot and (BOARDS[shape.architecture].rescans or not further):
            template, why = await self._template(kit, shape, _log.info, retry=False)
            if why:
                _log.warning("machines like %s boot cold: %s", shape, why)
        return Plan(kit, shape, template, tsc_khz)

    async def warm(
        self, kit: str, resources: Resources, report: Callable[[str], object], *, template: bool
    ) -> str:
        """Make what machines with a kit and limits start from; give why there is no template."""
        shaping.shape(resources, accelerators.TCG, architectures.of_kit(kit).name)
        holder = f"warm-{secrets.token_hex(4)}"
        try:
            found, accelerator, _ = await self._ground(kit, holder, report)
            if not template:
                return ""
            shape = shaping.shape(resources, accelerator, found.architecture.name)
            return (await self._template(found, shape, report))[1]
        finally:
            await self._kits.release(holder)

    async def _ground(
        self, name: str, holder: str, report: Callable[[str], object]
    ) -> tuple[Kit, str, int]:
        """Give a kit that is held, what its guests run on, and the speed of the host's clock."""
        found = await self.facts()
        facts.require(architectures.of_kit(name))
        kit = await self._kits.ensure(name or kits.DEFAULT, report, holder)
        assert self._templates is not None
        assert self._accelerators is not None
        chosen = await self._accelerators.choose(kit, self._templates, report)
        return kit, chosen.accelerator, found.tsc_khz

    async def release(self, launch: Launch) -> None:
        """Hear that a guest has read its kernel, or never will."""
        await self._kits.release(launch.id)

    async def _template(
        self, kit: Kit, shape: Shape, report: Callable[[str], object], *, retry: bool = True
    ) -> tuple[Template | None, str]:
        """Give the template of such machines, or why none can be made: they boot cold then."""
        assert self._templates is not None
        try:
            return await self._templates.ensure(kit, shape, report, retry=retry), ""
        except HostError as error:
            return None, str(error)

    async def groups(self) -> Layout:
        """Give the host's control groups; look if need be."""
        if self._layout is None:
            self._layout = await asyncio.to_thread(lambda: cgroups.ensure(cgroups.detect()))
        return self._layout

    def group(self, launch: Launch) -> Group:
        """Give the control group of a machine; only after `groups`."""
        assert self._layout is not None
        parent = launch.cgroup_parent or self._cgroup_parent
        return Group(self._layout, os.path.join("/", parent, launch.id))

    def close(self) -> None:
        """Let go of the templates; machines keep theirs."""
        if self._templates is not None:
            self._templates.close()


def surroundings(launch: Launch, shared: Shared) -> Surroundings:
    """Give what a guest is told of its host, with entropy of its own."""
    return Surroundings(
        disks=(*_DISKS, _MODULES) if setup.loads_modules(launch) else _DISKS,
        clock=time.time_ns(),
        entropy=secrets.token_bytes(_ENTROPY),
        shares=shared.shares,
        files=setup.generated_contents(launch),
    )
