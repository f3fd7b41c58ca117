"""Bar charts as SVG 1.1. Pure."""

from __future__ import annotations

from html import escape

LINE = 26
"""The height of one bar, and what is between it and the next."""
VALUE_WIDTH = 100


def bar(
    top: float, label: str, part: float, colour: str, value: str, *, left: int, width: int
) -> list[str]:
    """Draw a bar of a part (0 to 1) of the width, its label before it, its value behind it."""
    length = width * part
    return [
        f'<text x="{left - 8}" y="{top + 16}" text-anchor="end">{escape(label)}</text>',
        f'<rect x="{left}" y="{top + 3}" width="{length:.1f}" '
        f'height="{LINE - 8}" fill="{colour}"/>',
        f'<text x="{left + length + 6:.1f}" y="{top + 16}">{escape(value)}</text>',
    ]


def title(top: float, text: str) -> str:
    """Draw what stands above some bars."""
    return f'<text x="6" y="{top + 16}" font-weight="bold">{escape(text)}</text>'


def document(parts: list[str], width: float, height: float) -> str:
    """Give the whole drawing, on white."""
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    return "\n".join([*head, *parts, "</svg>", ""])
