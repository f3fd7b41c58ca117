"""The numbers that Heft promises: what is measured, what must be, what came out."""

from dataclasses import dataclass

from benchmarks.crowd import Cost
from benchmarks.measure import Sample


@dataclass(frozen=True)
class Row:
    """One number."""

    what: str
    bound: float
    unit: str
    """`÷` for a ratio, else the unit of the bound."""
    value: float
    heft: str
    """What Heft took, and `other` what it is compared with, as text with units."""
    other: str = ""

    @property
    def met(self) -> bool:
        return self.value <= self.bound


@dataclass(frozen=True)
class Results:
    """Everything that one run has measured."""

    whole: dict[str, Sample]
    shares: dict[str, Sample]
    first_request: Sample
    imports: dict[str, Sample]
    heft: Cost
    docker: Cost
    podman: Cost
    restart: Sample
    restarted: int
    """Machines that ran meanwhile."""
    tar_mib: float


def rows(found: Results) -> list[Row]:
    """Give the rows in the order of the promises."""
    crun = found.shares["crun create"]
    start = found.shares["create and start"]
    other_memory = f"dockerd {found.docker.each:.1f}, podman {found.podman.each:.1f} MiB"
    return [
        _ratio(
            "`docker run --rm IMAGE true` on the default bridge, Heft ÷ dockerd",
            0.30,
            found.whole["docker → Heft, bridge"],
            found.whole["docker → dockerd, bridge"],
        ),
        _ratio(
            "`heft run --rm --network none IMAGE true` ÷ the same with podman",
            0.9,
            found.whole["heft, none"],
            found.whole["podman, none"],
        ),
        _ratio(
            "`docker run --rm --network none IMAGE true`, Heft ÷ dockerd",
            0.30,
            found.whole["docker → Heft, none"],
            found.whole["docker → dockerd, none"],
        ),
        Row(
            "the daemon's own share of a start: the requests create and start, less `crun create`",
            25,
            "ms",
            start.median - crun.median,
            _ms(start),
            f"crun {_ms(crun)}",
        ),
        Row(
            "resident memory of an idle machine, all of Heft's processes for it",
            2.5,
            "MiB",
            found.heft.each,
            f"{found.heft.each:.1f} MiB (a page that many map counted once:"
            f" {found.heft.each_shared:.1f})",
            other_memory,
        ),
        Row(
            f"the daemon at rest with {found.heft.machines} machines: memory",
            90,
            "MiB",
            found.heft.daemon,
            f"{found.heft.daemon:.0f} MiB",
            f"dockerd, containerd {found.docker.daemon:.0f} MiB",
        ),
        Row(
            f"the daemon at rest with {found.heft.machines} machines: processor",
            0.5,
            "%",
            found.heft.processor,
            f"{found.heft.processor:.2f} %",
            f"dockerd, containerd {found.docker.processor:.2f} %",
        ),
        _ratio(
            f"import of the Debian tar ({found.tar_mib:.0f} MiB), Heft ÷ dockerd",
            1.0,
            found.imports["docker → Heft"],
            found.imports["docker → dockerd"],
        ),
        Row(
            "from the start of the command `heft` to its first request",
            45,
            "ms",
            found.first_request.median,
            _ms(found.first_request),
        ),
        Row(
            f"a killed daemon's next one answers with {found.restarted} machines running after",
            2000,
            "ms",
            found.restart.median,
            _ms(found.restart),
        ),
    ]


def _ratio(what: str, bound: float, heft: Sample, other: Sample) -> Row:
    return Row(what, bound, "÷", heft.median / other.median, _ms(heft), _ms(other))


def _ms(sample: Sample) -> str:
    low, high = sample.quartiles
    return f"{sample.median:.0f} ms ({low:.0f}-{high:.0f})"
