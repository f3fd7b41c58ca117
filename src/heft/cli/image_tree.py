"""Images and the layers that they share, drawn as a tree for people.

A branch is what stands on the layers of the line above it. A line is an image, or layers that
several images share and none ends with.
"""

from __future__ import annotations

from heft.cli import human
from heft.cli.tables import aligned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

HEAD = ["IMAGE", "IMAGE ID", "SIZE", "ADDED"]
_NONE = "<none>"


class _Node:
    """A layer on those above it; `images` are those that it is the topmost layer of."""

    def __init__(self) -> None:
        self.size = 0
        self.count = 0
        self.images: list[dict[str, Any]] = []
        self.children: dict[str, _Node] = {}

    def add(self, chain: str, size: int) -> _Node:
        child = self.children.setdefault(chain, _Node())
        child.size, child.count = size, 1
        return child

    def joined(self) -> _Node:
        """Give it with the layers above it up to the first image or branch, as one."""
        node = self
        while not node.images and len(node.children) == 1:
            (above,) = node.children.values()
            above.size, above.count = above.size + node.size, above.count + node.count
            node = above
        return node


def draw(
    images: Iterable[dict[str, Any]], layers: dict[str, list[dict[str, Any]]], *, whole: bool
) -> str:
    """Draw images as `/images/json` lists them, with their layers by id, from the lowest up."""
    root = _Node()
    for image in images:
        node = root
        for layer in layers.get(image["Id"], ()):
            node = node.add(layer["chain"], layer["size"])
        node.images.append(image)
    lines = list(_below(root, whole=whole, top=True))
    for image in root.images:  # of no layers: all that there is of a disk is its own
        size = human.size(image["Size"])
        lines.insert(0, [_name(image), _id(image, whole=whole), size, size])
    return aligned([HEAD, *lines])


def _below(node: _Node, *, whole: bool, top: bool = False) -> Iterator[list[str]]:
    """Give the lines of what stands on a layer; their branches are drawn unless it is the top."""
    children = [child.joined() for child in node.children.values()]
    for number, child in enumerate(children):
        last = number == len(children) - 1
        begin, go_on = ("", "") if top else ("└─ ", "   ") if last else ("├─ ", "│  ")
        for line in _lines(child, whole=whole):
            yield [begin + line[0], *line[1:]]
            begin = go_on
        for line in _below(child, whole=whole):
            yield [go_on + line[0], *line[1:]]


def _lines(node: _Node, *, whole: bool) -> Iterator[list[str]]:
    added = human.size(node.size)
    if not node.images:
        what = "1 shared layer" if node.count == 1 else f"{node.count} shared layers"
        yield [what, "", "", added]
    for image in node.images:
        yield [_name(image), _id(image, whole=whole), human.size(image["Size"]), added]
        added = human.size(0)  # an image of the same layers has nothing of its own


def _name(image: dict[str, Any]) -> str:
    return ", ".join(image["RepoTags"] or ()) or _NONE


def _id(image: dict[str, Any], *, whole: bool) -> str:
    return str(image["Id"]) if whole else human.short_id(image["Id"])
