"""docs/performance.md and its chart, from what was measured and nothing else."""

from pathlib import Path

from benchmarks.rows import Outcome, Row
from heft.cli import svg
from heft.cli.svg import LINE

BAR_WIDTH = 420
LABEL_WIDTH = 250
VALUE_WIDTH = 80
LABEL_LETTERS = 36
BOUND_AT = 0.8
"""Where in the width of the bars the bound is; the rest shows by how much it is missed."""
COLOURS = {"Heft": "#2a78d6", "other": "#8a8f98", "missed": "#c8452d"}


def write(directory: Path, page: str, drawing: str) -> None:
    """Write the page and the chart."""
    (directory / "performance.svg").write_text(drawing)
    (directory / "performance.md").write_text(page)


def text(found: Outcome, machine: dict[str, str], versions: dict[str, str]) -> str:
    """Give the page."""
    lines = [
        "# Performance",
        "",
        "Written by `sudo make bench`; no number here was typed in. All engines ran on one host in"
        " one run, their commands in turns; times are medians (and quartiles) after a warm-up, of"
        " whole commands where not said otherwise. What they keep is on a new ext4 for all of them,"
        " what they keep under /run in memory.",
        "",
        "| what | must be | is | Heft | beside it |",
        "|---|---|---|---|---|",
    ]
    for row in found.rows:
        missed = "" if row.met else f" **missed by {row.missed_by * 100:.0f} %**"
        lines.append(
            f"| {row.what} | {'≥' if row.at_least else '≤'} {_amount(row.bound, row.unit)} |"
            f" {_amount(row.value, row.unit)}{missed} | {row.heft} | {row.other} |"
        )
    lines += ["", "![Times of whole commands, and how near each number is to what it must be]"]
    lines[-1] += "(performance.svg)"
    lines += ["", "## Measured on", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += ["- " + ", ".join(f"{name} {value}" for name, value in versions.items()), ""]
    return "\n".join(lines)


def _amount(value: float, unit: str) -> str:
    if unit == "÷":
        return f"{value:.2f}"
    digits = 0 if value >= 100 else 2 if value < 1 else 1
    return f"{value:.{digits}f} {unit}"


def chart(found: Outcome) -> str:
    """Draw the times of whole commands, and each number as a part of its bound (SVG 1.1)."""
    times = [(name, sample.median) for name, sample in found.commands.items()]
    width = LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH
    parts, top = [], 6
    if times:
        longest = max(value for _, value in times)
        for name, value in times:
            colour = COLOURS["Heft" if "heft" in name.lower() else "other"]
            parts += _bar(top, name, value / longest, colour, f"{value:.0f} ms")
            top += LINE
        top += LINE
    parts += _bounds(top, found.rows)
    height = top + LINE * (len(found.rows) + 1) + 6
    return svg.document(parts, width, height)


def _bounds(top: int, rows: tuple[Row, ...]) -> list[str]:
    """Draw how much of its bound each number takes; the line is the bound."""
    parts = [svg.title(top, "of what it may be")]
    for number, row in enumerate(rows, 1):
        taken = row.bound / row.value if row.at_least else row.value / row.bound
        colour = COLOURS["Heft" if row.met else "missed"]
        name = row.what.replace("`", "").removesuffix(", Heft ÷ dockerd")
        label = name if len(name) <= LABEL_LETTERS else name[: LABEL_LETTERS - 1] + "…"
        shown = f"{taken * 100:.0f} %"
        parts += _bar(top + number * LINE, label, min(taken * BOUND_AT, 1), colour, shown)
    at = LABEL_WIDTH + BAR_WIDTH * BOUND_AT
    bottom = top + (len(rows) + 1) * LINE
    parts.append(f'<path d="M{at} {top + LINE}V{bottom}" stroke="#000" stroke-dasharray="3 3"/>')
    return parts


def _bar(top: int, label: str, part: float, colour: str, value: str) -> list[str]:
    return svg.bar(top, label, part, colour, value, left=LABEL_WIDTH, width=BAR_WIDTH)
