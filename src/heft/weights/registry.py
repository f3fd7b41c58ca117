"""The weights that this Heft has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.weights.heavy.weight import HeavySettings, HeavyWeight
from heft.weights.light.weight import LightSettings, LightWeight
from heft.weights.medium.weight import MediumSettings, MediumWeight
from heft.weights.medium.xen.domains import Xen

if TYPE_CHECKING:
    from heft.guest.kits import Kits
    from heft.layout import Layout
    from heft.weights.base import Weight


def weights(
    layout: Layout, cgroup_parent: str, runtime: str, kits: Kits, *, spare_seconds: float
) -> dict[str, Weight]:
    """Make one of each; every machine's run has a directory of its own in `layout.runs`."""
    light = LightWeight(
        LightSettings(run=layout.runs, cgroup_parent=cgroup_parent, runtime=runtime)
    )
    heavy = HeavyWeight(
        HeavySettings(
            run=layout.runs,
            templates=layout.templates,
            cgroup_parent=cgroup_parent,
            spare_seconds=spare_seconds,
        ),
        kits,
    )
    settings = MediumSettings(layout.runs, cgroup_parent)
    medium = MediumWeight(settings, kits)
    xen = MediumWeight(settings, kits, Xen(layout.domains, layout.xen_hotplug))
    return {each.name: each for each in (light, medium, heavy, xen)}
