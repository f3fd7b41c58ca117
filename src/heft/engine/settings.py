"""What one daemon is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field

from heft.layout import Layout
from heft.networks.settings import NetworkSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that sets two daemons on one host apart, and the defaults they use."""

    layout: Layout = field(default_factory=Layout)
    cgroup_parent: str = "/heft"
    default_weight: str = "light"
    runtime: str = "crun"
    """The OCI runtime of light machines."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
