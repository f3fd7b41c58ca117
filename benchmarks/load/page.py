"""docs/load.md, from what was measured and nothing else."""

from dataclasses import asdict

from benchmarks.load.figures import Figure, Part

UNITS = {"memory": " MiB", "disk": " MiB"}


def text(parts: list[Part], machine: dict[str, str], arguments: str) -> str:
    """Give the page."""
    lines = [
        "# Under load",
        "",
        "Written by `sudo make load`; no number here was typed in. Client and daemon shared the"
        " host's processors. What must be is in brackets; what is not so is in bold.",
        "",
        "## What is left behind",
        "",
        "Counted when the part began and when it was over: the daemon's memory, descriptors and"
        " threads; the host's mounts, cgroups, network namespaces, links, lines of rules,"
        " processes; the disk under the daemon's directories.",
        "",
    ]
    kinds = list(asdict(parts[0].before))
    lines.append(f"| part | {' | '.join(kinds)} |")
    lines.append(f"|---|{'---|' * len(kinds)}")
    for part in parts:
        before, after = asdict(part.before), asdict(part.after)
        cells = []
        for kind in kinds:
            change = f"{before[kind]:g} → {after[kind]:g}{UNITS.get(kind, '')}"
            cells.append(f"**{change}**" if kind in part.leaks else change)
        lines.append(f"| {part.title} | {' | '.join(cells)} |")
    for part in parts:
        lines += ["", f"## {part.title}", "", "| what | is |", "|---|---|"]
        lines += [f"| {figure.what} | {shown(figure)} |" for figure in part.figures]
    lines += ["", "## Measured on", "", *(f"- {name}: {value}" for name, value in machine.items())]
    return "\n".join([*lines, f"- arguments: `{arguments or '(none)'}`", ""])


def shown(figure: Figure) -> str:
    """Give a figure's amount, and what it must be."""
    amount = f"{_number(figure.value)} {figure.unit}".strip()
    if not figure.met:
        amount = f"**{amount}**"
    if figure.bound is None:
        return amount
    sign = "≥" if figure.bound < 0 else "≤"
    return f"{amount} ({sign} {_number(abs(figure.bound))})"


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
