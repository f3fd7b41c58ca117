"""What one daemon is told when it starts."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from heft.engine.user_ranges import Remap
from heft.layout import DEFAULT_CONFIGURATION, Layout
from heft.networks.settings import NetworkSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that sets two daemons on one host apart, and the defaults they use."""

    layout: Layout = field(default_factory=Layout)
    cgroup_parent: str = "/heft"
    default_weight: str = "light"
    runtime: str = "crun"
    """The OCI runtime of light machines."""
    spare_seconds: float = 120.0
    """How long a guest is kept ready for the next heavy machine; 0: none is."""
    agent: Path = Path(sys.prefix) / "libexec" / "heft-agent"
    """The program that guests of other kernels start with (agent/)."""
    remap: Remap = field(default_factory=Remap)
    """Whose ids the users of machines are on the host."""
    configuration: Path = DEFAULT_CONFIGURATION
    """Where it says how registries are reached (`heft.images.registry`)."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
