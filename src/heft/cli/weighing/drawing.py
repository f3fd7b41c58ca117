"""The bars: on a terminal, as SVG, as a page of HTML. Pure."""

from __future__ import annotations

from html import escape

from heft.cli import svg
from heft.cli.weighing.figures import NATIVE, measured, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.weighing.figures import Column, Measure

LEFT, WIDTH = 150, 420
COLOURS = ("#8a8f98", "#2a78d6", "#2f9e62", "#c8452d", "#8a4fbf", "#c98a1b")
TERMINAL_BAR = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"


def lengths(measure: Measure, columns: list[Column]) -> list[tuple[Column, float, float]]:
    """Give each column's value and the part of the longest that its bar is; 0 to 1."""
    known = [(col, col.values[measure.name]) for col in columns if measure.name in col.values]
    longest = max((value for _, value in known), default=0.0) or 1.0
    return [(col, value, value / longest) for col, value in known]


def heading(measure: Measure) -> str:
    """Say what is drawn, and which way is good."""
    return f"{measure.title} ({'longer' if measure.more_is_better else 'shorter'} is better)"


def terminal(columns: list[Column]) -> str:
    """Draw with the block characters of Unicode."""
    most = max(len(column.name) for column in columns)
    lines = []
    for measure in measured(columns):
        lines.append(heading(measure))
        for column, value, part in lengths(measure, columns):
            eighths = max(1, round(part * TERMINAL_BAR * 8))
            drawn = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
            lines.append(f"  {column.name.ljust(most)}  {drawn} {measure.shown(value)}")
    return "".join(f"{line}\n" for line in lines)


def drawing(columns: list[Column], image: str, advice: str) -> str:
    """Draw it as SVG."""
    parts, top = [svg.title(6, f"{image} at every weight")], 6.0 + svg.LINE
    colours = {id(column): COLOURS[at % len(COLOURS)] for at, column in enumerate(columns)}
    for measure in measured(columns):
        parts.append(svg.title(top, heading(measure)))
        top += svg.LINE
        for column, value, part in lengths(measure, columns):
            colour, shown = colours[id(column)], measure.shown(value)
            parts += svg.bar(top, column.name, part, colour, shown, left=LEFT, width=WIDTH)
            top += svg.LINE
        top += svg.LINE / 2
    parts.append(f"<desc>{escape(advice)}</desc>")
    return svg.document(parts, LEFT + WIDTH + svg.VALUE_WIDTH, top)


def page(columns: list[Column], image: str, advice: str) -> str:
    """Give table, bars and advice as one page of HTML, which needs nothing else."""
    rows = table(columns)
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows[1:]
    )
    notes = "".join(f"<li>{escape(line)}</li>\n" for line in remarks(columns))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f"<title>{escape(image)} at every weight</title>\n"
        "<style>body{font-family:sans-serif;margin:2em}td,th{padding:.2em 1em;text-align:right}"
        "td:first-child{text-align:left}tr{border-bottom:1px solid #ddd}"
        "table{border-collapse:collapse}</style></head><body>\n"
        f"<h1>{escape(image)} at every weight</h1>\n<p>{escape(advice)}</p>\n"
        f"<table><tr>{head}</tr>\n{body}</table>\n<ul>\n{notes}</ul>\n"
        f"{drawing(columns, image, advice)}</body></html>\n"
    )


def remarks(columns: list[Column]) -> list[str]:
    """Say what each weight is here, or why it could not be measured."""
    return [
        f"{col.name}: not here: {col.why}" if col.why else f"{col.name}: {col.detail}"
        for col in columns
        if (col.why or col.detail) and (col.weight != NATIVE or col.why)
    ]
