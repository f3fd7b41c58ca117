"""One number each: what is measured, what must be, what came out."""

from dataclasses import dataclass

from benchmarks.measure import Sample


@dataclass(frozen=True)
class Row:
    """A line of the page's table."""

    what: str
    bound: float
    unit: str
    """`÷` for a ratio, else the unit of the bound and the value."""
    value: float
    heft: str
    """What Heft took, and `other` what it is compared with, as text with units."""
    other: str = ""
    at_least: bool = False
    """Whether more is better."""

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    @property
    def missed_by(self) -> float:
        """By what part of the bound it is missed; negative where it is met."""
        part = self.value / self.bound - 1
        return -part if self.at_least else part


@dataclass(frozen=True)
class Outcome:
    """What a group of measurements gives: lines for the table, and commands for the chart."""

    rows: tuple[Row, ...]
    commands: dict[str, Sample]


def ratio(what: str, bound: float, heft: Sample, other: Sample) -> Row:
    """Compare times of the same work."""
    return Row(what, bound, "÷", heft.median / other.median, ms(heft), ms(other))


def ms(sample: Sample) -> str:
    """Give median and quartiles, and of how many runs."""
    if len(sample.values) == 1:
        return f"{sample.median:.0f} ms (once)"
    low, high = sample.quartiles
    return f"{sample.median:.0f} ms ({low:.0f}-{high:.0f}, {len(sample.values)} runs)"
