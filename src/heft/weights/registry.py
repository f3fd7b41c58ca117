"""The weights that this Heft has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.weights.light.weight import LightSettings, LightWeight

if TYPE_CHECKING:
    from pathlib import Path

    from heft.weights.base import Weight


def weights(run: Path, cgroup_parent: str, runtime: str) -> dict[str, Weight]:
    """Make one of each; `run` is the directory in which every machine's run has its own."""
    light = LightWeight(LightSettings(run=run, cgroup_parent=cgroup_parent, runtime=runtime))
    return {light.name: light}
