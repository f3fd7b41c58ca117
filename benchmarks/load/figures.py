"""What a part of the load has shown."""

from dataclasses import dataclass, field

from benchmarks.load.footprint import Footprint


@dataclass(frozen=True)
class Figure:
    """One measured amount; `bound`, where there is one, is the most (or, negative, the least)."""

    what: str
    value: float
    unit: str
    bound: float | None = None

    @property
    def met(self) -> bool:
        """Say whether it is within its bound."""
        if self.bound is None:
            return True
        return self.value <= self.bound if self.bound >= 0 else self.value >= -self.bound


GROWTH = {
    "memory": 16.0,
    "descriptors": 0,
    "threads": 4,
    "mounts": 0,
    "cgroups": 0,
    "namespaces": 0,
    "links": 0,
    "rules": 0,
    "processes": 0,
    "disk": 5.0,
}
"""By how much each may have grown. Memory: what the allocator keeps of the
most machines there were at once; threads are made when needed, up
to their number; disk: the store's log, up to its size."""


@dataclass(frozen=True)
class Part:
    """One part of the load: what was done, and what is left of it."""

    title: str
    figures: tuple[Figure, ...]
    before: Footprint
    after: Footprint
    growth: dict[str, float] = field(default_factory=lambda: dict(GROWTH))

    @property
    def leaks(self) -> dict[str, float]:
        """Give what has grown by more than it may, and by how much."""
        grown = self.after.grown(self.before)
        return {name: more for name, more in grown.items() if more > self.growth[name]}

    @property
    def failures(self) -> list[str]:
        """Say what is not as it must be."""
        missed = [f"{f.what}: {f.value:.4g} {f.unit}" for f in self.figures if not f.met]
        return [*missed, *(f"{name} +{more:.4g}" for name, more in self.leaks.items())]
