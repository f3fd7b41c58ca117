"""What the API tells of machines' files."""

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from heft.api.docker import files
from heft.model.files import Change, ChangeKind

if TYPE_CHECKING:
    from heft.api.call import Call


class Asked:
    """A request that notes what it is answered, piece by piece."""

    name = "box"

    def __init__(self, *found: Change) -> None:
        self.found = found
        self.pieces: list[bytes] = []
        self.engine = SimpleNamespace(contents=self)

    async def changes(self, _: str) -> tuple[Change, ...]:
        return self.found

    def json(self, value: object) -> None:
        self.pieces.append(json.dumps(value).encode())

    async def stream(self) -> "Asked":
        return self

    async def write(self, piece: bytes) -> None:
        self.pieces.append(piece)

    async def write_eof(self) -> None:
        self.pieces.append(b"")


@pytest.mark.parametrize("count", [0, 1, files.ROWS, files.ROWS + 1, 3 * files.ROWS])
async def test_changes_are_told_in_pieces(count: int) -> None:
    """Half a million at once would keep everybody else waiting for half a second."""
    paths = [f'/a"{number}' for number in range(count)]
    asked = Asked(*(Change(path, ChangeKind.ADDED) for path in paths))
    await files.changes(cast("Call", asked))
    told = json.loads(b"".join(asked.pieces))
    assert told == ([{"Path": path, "Kind": 1} for path in paths] or None)
    assert max(map(len, asked.pieces)) < 40 * files.ROWS
