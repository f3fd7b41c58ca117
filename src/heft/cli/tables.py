"""Lists: as a table, as JSON, by a template, or only ids.

A list is a row a thing, a row is a mapping of Docker's names of fields to text (or to a function,
for `{{.Label "key"}}`). `--format` is empty or `table` for the columns that belong to the list,
`table TEMPLATE` for others, `json`, or a template (docs.docker.com/engine/cli/formatting).
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    Row = dict[str, Any]

PADDING = 3
LEAST_WIDTH = 10
FORMAT_HELP = (
    "Format output using a custom template:\n"
    "'table':            Print output in table format with column headers (default)\n"
    "'table TEMPLATE':   Print output in table format using the given Go template\n"
    "'json':             Print in JSON format\n"
    "'TEMPLATE':         Print output using the given Go template"
)
VALUE_FORMAT_HELP = (
    "Format output using a custom template:\n"
    "'json':             Print in JSON format\n"
    "'TEMPLATE':         Print output using the given Go template"
)


class Listing:
    """How one kind of list looks: `headers` by field, and which `columns` it has by itself."""

    def __init__(self, headers: Mapping[str, str], columns: Sequence[str]) -> None:
        self.headers = headers
        self.columns = columns

    @staticmethod
    def is_plain(form: str) -> bool:
        """Say whether a format asks for nothing but the list's own columns."""
        return form.strip() in ("", "table")

    def text(self, rows: Iterable[Row], form: str = "") -> str:
        """Give the list in a format. Raises `Failure` for a template that cannot be read."""
        form = form.strip()
        if self.is_plain(form):
            return self._plain(rows)
        if form == "json":
            form = "{{json .}}"
            rows = [dict(sorted(row.items())) for row in rows]
        from heft.cli.template.evaluate import Template

        if not form.startswith("table"):
            template = Template(form)
            return "".join(f"{template.render(row)}\n" for row in rows)
        return self._table(form.removeprefix("table").lstrip(), rows)

    def _plain(self, rows: Iterable[Row]) -> str:
        head = [self.headers[column] for column in self.columns]
        return aligned([head, *([str(row[name]) for name in self.columns] for row in rows)])

    def _table(self, form: str, rows: Iterable[Row]) -> str:
        from heft.cli.template.evaluate import Template
        from heft.cli.template.functions import HEADER_FUNCTIONS

        heads = {**self.headers, "Label": lambda key: key.rpartition(".")[2]}
        template = Template(form)
        lines = [Template(form, HEADER_FUNCTIONS).render(heads)]
        lines += [template.render(row) for row in rows]
        return aligned([line.split("\t") for line in lines])

    def show(self, rows: Iterable[Row], form: str = "") -> None:
        """Print the list."""
        sys.stdout.write(self.text(rows, form))


def aligned(lines: Sequence[Sequence[str]], least: int = LEAST_WIDTH) -> str:
    """Give cells in columns, each at least so wide; the last of a line has no width."""
    widths: list[int] = []
    for cells in lines:
        widths += [least] * (len(cells) - 1 - len(widths))
        for number, cell in enumerate(cells[:-1]):
            if len(cell) + PADDING > widths[number]:
                widths[number] = len(cell) + PADDING
    return "".join(
        "".join(map(str.ljust, cells[:-1], widths)) + f"{cells[-1]}\n" for cells in lines
    )
