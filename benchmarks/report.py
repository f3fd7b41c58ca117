"""docs/performance.md and its chart, from what was measured and nothing else."""

from html import escape
from pathlib import Path

from benchmarks.rows import Results, Row, rows

BAR_WIDTH = 420
LABEL_WIDTH = 230
LINE = 26
COLOURS = {"Heft": "#2a78d6", "other": "#8a8f98"}


def write(
    directory: Path,
    found: Results,
    machine: dict[str, str],
    versions: dict[str, str],
    rounds: int,
) -> str:
    """Write the page and the chart; give the page."""
    (directory / "performance.svg").write_text(chart(found))
    page = text(rows(found), machine, versions, rounds)
    (directory / "performance.md").write_text(page)
    return page


def text(numbers: list[Row], machine: dict[str, str], versions: dict[str, str], rounds: int) -> str:
    """Give the page."""
    lines = [
        "# Performance",
        "",
        "Written by `sudo make bench`; no number here was typed in. All engines ran on one host in"
        " one run, their commands in turns; times are medians (and quartiles) of"
        f" {rounds} runs after a warm-up, of whole commands where not said otherwise.",
        "",
        "| what | must be | is | Heft | beside it |",
        "|---|---|---|---|---|",
    ]
    for row in numbers:
        sign = "" if row.met else f" **missed by {(row.value / row.bound - 1) * 100:.0f} %**"
        lines.append(
            f"| {row.what} | ≤ {_amount(row.bound, row.unit)} |"
            f" {_amount(row.value, row.unit)}{sign} | {row.heft} | {row.other} |"
        )
    lines += ["", "![The times of whole commands](performance.svg)", "", "## Measured on", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += ["- " + ", ".join(f"{name} {value}" for name, value in versions.items()), ""]
    return "\n".join(lines)


def _amount(value: float, unit: str) -> str:
    if unit == "÷":
        return f"{value:.2f}"
    digits = 0 if value >= 100 else 2 if value < 1 else 1
    return f"{value:.{digits}f} {unit}"


def chart(found: Results) -> str:
    """Draw the times of whole commands as bars (SVG 1.1)."""
    bars = [(name, sample.median) for name, sample in found.whole.items()]
    scale = BAR_WIDTH / max(value for _, value in bars)
    height = LINE * len(bars) + 12
    width = LABEL_WIDTH + BAR_WIDTH + 80
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for number, (name, value) in enumerate(bars):
        top = 6 + number * LINE
        colour = COLOURS["Heft" if "heft" in name.lower() else "other"]
        parts += [
            f'<text x="{LABEL_WIDTH - 8}" y="{top + 16}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABEL_WIDTH}" y="{top + 3}" width="{value * scale:.1f}" '
            f'height="{LINE - 8}" fill="{colour}"/>',
            f'<text x="{LABEL_WIDTH + value * scale + 6:.1f}" y="{top + 16}">{value:.0f} ms</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
